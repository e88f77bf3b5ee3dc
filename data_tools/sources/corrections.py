"""Corrections of a raw data set from a file: images and boxes that go, classes and boxes that
change, boxes that come.

`eval.py` writes such a file (`suspects.csv`); `read.py` knows nothing of it, so the raw files stay
as they are.
"""

from __future__ import annotations

import csv
import hashlib
import io
import math
from collections import defaultdict
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from data_tools.core.errors import DataError
from data_tools.core.json_dataclass import shown
from data_tools.core.words import from_csv_cell
from data_tools.sources.classes import ClassMap
from data_tools.sources.defects import DefectLog
from data_tools.sources.image_files import read_text, require_file
from data_tools.sources.raw_split import RawDataset, RawSplit
from data_tools.sources.table import SampleTable

ACTIONS = ("keep", "drop", "drop_image", "class", "box", "add")
KIND = "corrected"

COLUMNS = (
    "action", "split", "image", "annotation_id", "class", "x", "y", "w", "h", "image_width",
    "image_height",
)  # fmt: skip
"""Columns of a file of corrections; any others are not looked at. `split` may be empty for all
splits."""


@dataclass
class Correction:
    """One line of the file.

    Args:
        line: Its number, from 1.
        action: One of `ACTIONS`.
        split: Split it is meant for; empty for all.
        image: File name of the image, with or without folder and ending, or its id.
        annotation_id: The box; None where the action needs none.
        class_name: New class, for `class` and `add`.
        xywh: New box in pixels, for `box` and `add`.
        size: Width and height of the image that `xywh` refers to; 0 for the raw image's.
        used: It was applied.
    """

    line: int
    action: str
    split: str
    image: str
    annotation_id: int | None = None
    class_name: str = ""
    xywh: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0)
    size: tuple[float, float] = (0.0, 0.0)
    used: bool = False


def apply_corrections(raw: RawDataset, file: str) -> RawDataset:
    """Apply a file of corrections to a raw data set; every change is a line of its report.

    A file without the columns `action` and `image` names an image to leave out on every line.

    Args:
        raw: The data set.
        file: CSV; empty for none.

    Raises:
        DataError: If the file cannot be read, a line is wrong, or names what the set does not have.
    """
    if not file:
        return raw
    path = Path(file).expanduser()
    require_file(path, f"exclude={file}")
    text = read_text(path)
    corrections = read_corrections(text, path)
    digest = hashlib.sha256(text.encode()).hexdigest()
    by_split: dict[str, list[Correction]] = defaultdict(list)
    for entry in corrections:
        by_split[entry.split].append(entry)
    splits = []
    for split in raw.splits:
        entries = [*by_split[""], *by_split[split.name]]
        splits.append(_correct_split(split, entries, raw.classes, path, digest))
    known = {"", *(split.name for split in raw.splits)}
    # A split that is not read this time keeps its corrections for another.
    unused = [e for e in corrections if not e.used and e.action != "keep" and e.split in known]
    if unused:
        lines = ", ".join(
            f"line {e.line} (image {shown(e.image)}"
            + (f", annotation {e.annotation_id})" if e.annotation_id is not None else ")")
            for e in unused[:5]
        )
        raise DataError(
            f"exclude={file}: {len(unused)} of its {len(corrections)} lines name no image or box "
            f"of the data set: {lines}. It belongs to another data set or split, or was applied "
            "already."
        )
    return replace(raw, splits=tuple(splits))


def read_corrections(text: str, path: Path) -> list[Correction]:
    """Parse a file of corrections.

    Raises:
        DataError: Naming the line and what is wrong with it.
    """
    rows = list(csv.reader(io.StringIO(text)))
    header = [name.strip() for name in rows[0]] if rows else []
    if not {"action", "image"} <= set(header):
        names = [(k, line.strip()) for k, line in enumerate(text.splitlines(), 1)]
        return [Correction(k, "drop_image", "", name) for k, name in names if name]
    corrections = []
    for number, row in enumerate(rows[1:], 2):
        if not any(cell.strip() for cell in row):
            continue
        values = dict(zip(header, (from_csv_cell(cell.strip()) for cell in row), strict=False))
        try:
            corrections.append(_parse(number, values))
        except ValueError as error:
            raise DataError(f"{path}: line {number}: {error}.") from error
    return corrections


def _parse(number: int, values: dict[str, str]) -> Correction:
    action, image = values.get("action", ""), values.get("image", "")
    if action not in ACTIONS:
        raise ValueError(f"action={shown(action)}, expected one of {', '.join(ACTIONS)}")
    if not image:
        raise ValueError("no image")
    entry = Correction(number, action, values.get("split", ""), image)
    if action in ("drop", "class", "box"):
        text = values.get("annotation_id", "")
        if not text.lstrip("-").isdigit() or len(text) > 18:
            raise ValueError(f"annotation_id={shown(text)}, expected the id of a box")
        entry.annotation_id = int(text)
    if action in ("class", "add"):
        entry.class_name = values.get("class", "")
        if not entry.class_name:
            raise ValueError(f"action={action} needs a class")
    if action in ("box", "add"):
        x, y, w, h = (_number(values, name) for name in "xywh")
        if w <= 0 or h <= 0:
            raise ValueError(f"w={w:g} h={h:g}, expected a box with an area")
        entry.xywh = (x, y, w, h)
        if values.get("image_width") and values.get("image_height"):
            entry.size = (_number(values, "image_width"), _number(values, "image_height"))
    return entry


def _number(values: dict[str, str], name: str) -> float:
    try:
        number = float(values.get(name, ""))
    except ValueError:
        number = math.nan
    if not abs(number) < 1e9:
        raise ValueError(f"{name}={shown(values.get(name, ''))}, expected a number")
    return number


def _correct_split(
    split: RawSplit,
    entries: list[Correction],
    classes: ClassMap,
    path: Path,
    digest: str,
) -> RawSplit:
    table, log = split.table, DefectLog({})
    images = _images_by_name(table)
    first_annotation = {int(a): k for k, a in enumerate(table.annotation_ids)}
    image_of_box = table.image_of_box()
    boxes, category_ids = table.boxes_yxyx_px.copy(), table.category_ids.copy()
    areas = table.areas_px.copy()
    keep_box, keep_image = np.ones(len(category_ids), bool), np.ones(len(table), bool)
    added: dict[int, list[tuple[np.ndarray, int]]] = defaultdict(list)
    ids = {c.name: c.category_id for c in classes.classes}
    for entry in entries:
        rows = images.get(entry.image, [])
        if entry.action == "keep" or not rows:
            continue
        if len(rows) > 1:
            raise DataError(
                f"{path}: line {entry.line}: image {shown(entry.image)} is the name of "
                f"{len(rows)} images of {split.name}. Give it with its folder."
            )
        i, k = rows[0], -1
        if entry.annotation_id is not None:
            k = first_annotation.get(entry.annotation_id, -1)
            if k < 0 or image_of_box[k] != i:
                continue
        if entry.class_name and entry.class_name not in ids:
            raise DataError(
                f"{path}: line {entry.line}: class {shown(entry.class_name)} is none of the set's: "
                f"{', '.join(list(ids)[:12])}."
            )
        entry.used = True
        skipped = entry.action in ("drop", "drop_image")
        log.add(
            KIND,
            path.name,
            f"line {entry.line}: {entry.action}",
            image_id=int(table.image_ids[i]),
            annotation_id=entry.annotation_id,
            action="skip" if skipped else "fix",
        )
        if entry.action == "drop_image":
            keep_image[i] = False
        elif entry.action == "drop":
            keep_box[k] = False
        elif entry.action == "class":
            category_ids[k] = ids[entry.class_name]
        else:
            corners = _corners(entry, table, i, path)
            if entry.action == "add":
                added[i].append((corners, ids[entry.class_name]))
            else:
                boxes[k] = corners
                areas[k] = np.prod(corners[2:] - corners[:2])
    if not log.defects:
        return split
    table = replace(table, boxes_yxyx_px=boxes, category_ids=category_ids, areas_px=areas)
    table = _with_added(table.keep_boxes(keep_box), added)
    num_added = sum(map(len, added.values()))
    return replace(
        split,
        table=table.take(np.flatnonzero(keep_image)),
        defects=(*split.defects, *log.defects),
        digests={**split.digests, f"exclude={path.name}": digest},
        found={**split.found, "boxes": split.found["boxes"] + num_added},
    )


def _images_by_name(table: SampleTable) -> dict[str, list[int]]:
    images: dict[str, list[int]] = defaultdict(list)
    for k, name in enumerate(table.file_names):
        base = name.rsplit("/", 1)[-1]
        for form in {name, base, base.rsplit(".", 1)[0], str(int(table.image_ids[k]))}:
            images[form].append(k)
    for k, name in enumerate(table.file_names):
        images[name] = [k]  # a whole name is never doubtful
    return images


def _corners(entry: Correction, table: SampleTable, index: int, path: Path) -> np.ndarray:
    """Return the new box of a correction as the table has its boxes."""
    x, y, w, h = entry.xywh
    corners = np.array([y, x, y + h, x + w])
    width, height = entry.size
    target = (float(table.widths[index]), float(table.heights[index]))
    if table.relative:
        if not width or not height:
            raise DataError(
                f"{path}: line {entry.line}: the raw boxes are relative, so the line needs "
                "image_width and image_height."
            )
        target = (1.0, 1.0)
    elif not width or not height or not all(target):
        return corners
    elif abs(width / height - target[0] / target[1]) > 0.01 * width / height:
        raise DataError(
            f"{path}: line {entry.line}: the image is {target[0]:g} x {target[1]:g}, the line says "
            f"{width:g} x {height:g}: it was turned or cut at conversion, so the box cannot be put "
            "back."
        )
    scale = np.array([target[1] / height, target[0] / width])
    return np.asarray(corners * np.tile(scale, 2))


def _with_added(table: SampleTable, added: dict[int, list[tuple[np.ndarray, int]]]) -> SampleTable:
    """Put new boxes behind those of their images, with ids of their own."""
    if not added:
        return table
    at = np.concatenate([[table.offsets[i + 1]] * len(new) for i, new in sorted(added.items())])
    new = [entry for _, entries in sorted(added.items()) for entry in entries]
    corners = np.stack([box for box, _ in new])
    number = int(table.annotation_ids.max(initial=0))
    counts = np.diff(table.offsets)
    for i, entries in added.items():
        counts[i] += len(entries)
    no = np.zeros(len(new), bool)
    areas = np.prod(corners[:, 2:] - corners[:, :2], axis=1)
    return replace(
        table,
        offsets=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
        boxes_yxyx_px=np.insert(table.boxes_yxyx_px, at, corners, axis=0),
        category_ids=np.insert(table.category_ids, at, [c for _, c in new]),
        iscrowd=np.insert(table.iscrowd, at, no),
        difficult=np.insert(table.difficult, at, no),
        areas_px=np.insert(table.areas_px, at, areas),
        annotation_ids=np.insert(table.annotation_ids, at, number + 1 + np.arange(len(new))),
    )
