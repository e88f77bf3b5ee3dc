"""`dataset.group=column:NAME`: the group of each image from a column of the annotations, for
instance the patient or the product, where names of files do not tell.

What a cut does with groups is `fractions.py`'s matter.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from data_tools.core.errors import DataError, SettingError
from data_tools.sources.csv_boxes import FILE_COLUMNS, csv_rows, csv_text
from data_tools.sources.image_files import safe_name
from data_tools.sources.jsonstream import parse, read_lists
from data_tools.sources.picture_names import PictureNames

PREFIX = "column:"

KINDS = ("coco", "csv", "open_images")
"""Layouts whose images have columns."""


def column_keys(path: Path, kind: str, group: str, file_names: Sequence[str]) -> list[str]:
    """Return the group of each image: what stands in a column of the annotations.

    An image without a value is a group of its own.

    Args:
        path: The annotation file.
        kind: The layout, one of `KINDS`.
        group: `column:NAME`: for COCO a field of the entries of `images`, else a column.
        file_names: Paths relative to the folder of the images.

    Raises:
        SettingError: If the layout has no columns, there is no such one, or none has a value.
        DataError: If an image has two values.
    """
    column = group.removeprefix(PREFIX)
    if kind not in KINDS:
        raise SettingError(
            f"dataset.group={group}: dataset.kind={kind} has no columns; {', '.join(KINDS)} have. "
            "Give a regular expression for the names of the files."
        )
    read = _of_coco if kind == "coco" else _of_csv
    names = PictureNames(file_names)
    values: dict[str, str] = {}
    for written, value in read(path, column, group):
        matches = names.find(written) or names.find(written.replace("\\", "/").rsplit("/", 1)[-1])
        if len(matches) != 1 or not value:
            continue
        before = values.setdefault(matches[0], value)
        if before != value:
            raise DataError(
                f"{path}: {column} of image {matches[0]} is {before!r} and {value!r}: it cannot be "
                f"on two sides of a cut (dataset.group={group}). Mend the file."
            )
    if file_names and not values:
        raise SettingError(
            f"dataset.group={group}: {path} has no value of it for any of the {len(file_names)} "
            f"images, such as {file_names[0]}."
        )
    # No path begins with a slash: an image on its own is never another one's group.
    return [f"={values[name]}" if name in values else f"/{name}" for name in file_names]


def _of_coco(path: Path, column: str, group: str) -> Iterable[tuple[str, str]]:
    seen: set[str] = set()
    values = []
    for raw in read_lists(path, ("images",)).entries.get("images", []):
        try:
            entry = parse(raw)
        except (ValueError, RecursionError):
            continue  # reported where the images are read
        if not isinstance(entry, dict):
            continue
        seen |= {key for key in entry if isinstance(key, str)}
        name = safe_name(entry.get("file_name"))
        if name is not None and column in entry:
            values.append((name, _text(entry[column])))
    _require(column, seen, path, group)
    return values


def _of_csv(path: Path, column: str, group: str) -> Iterable[tuple[str, str]]:
    rows = csv_rows(csv_text(path), path)
    header = [cell.strip() for cell in next(rows, (0, []))[1]]
    _require(column, header, path, group)
    lowered = [cell.lower() for cell in header]
    files = [lowered.index(name) for name in FILE_COLUMNS if name in lowered]
    if not files:
        raise DataError(f"{path}: no column of its first line is that of the file names.")
    index = header.index(column)
    for _, cells in rows:
        if len(cells) > max(index, files[0]):
            yield cells[files[0]].strip(), cells[index].strip()


def _text(value: Any) -> str:
    if value is None:
        return ""
    return value.strip() if isinstance(value, str) else json.dumps(value, sort_keys=True)


def _require(column: str, known: Iterable[str], path: Path, group: str) -> None:
    names = sorted(set(known))
    if column not in names:
        raise SettingError(
            f"dataset.group={group}: {path} has no column {column!r}; it has {', '.join(names)}."
        )
