"""Anybody's detections from a file: COCO results, also in a wrapper, with float ids or names in
place of ids.

The strict format that this project writes is `detection_table.py`'s; scoring is `scoring.py`'s
matter.
"""

from __future__ import annotations

import math
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from data_tools.core.errors import DataError
from data_tools.core.files import neighbours
from data_tools.core.json_dataclass import read_json, shown
from training.evaluation.detection_table import DetectionTable
from training.evaluation.ground_truth import GroundTruth

_WRAPPERS = ("annotations", "detections", "predictions", "results")
_IMAGE_FIELDS = ("image_id", "file_name", "image_name")
_CLASS_FIELDS = ("category_id", "category_name", "category", "class", "label")
_EXPECTED = (
    "Expected COCO results: a list of objects with image_id, category_id, bbox [x, y, width, "
    "height] in pixels and score (or such a list under 'annotations')"
)


def read_foreign_results(path: str | Path, truth: GroundTruth) -> DetectionTable:
    """Read detections of the images of a ground truth.

    Ids may be whole floats or digits; an image may be given by its file name, a class by its name.
    A wrapper that lists `images` or `categories` says what its own ids mean.

    Args:
        path: JSON file.
        truth: What the ids and names refer to.

    Returns:
        The detections sorted by image; within an image in the file's order.

    Raises:
        DataError: If the file is missing or an entry is none; the message names the first such
            entry.
    """
    try:
        content = read_json(Path(path))
    except OSError as error:
        absent = neighbours(Path(path)) if isinstance(error, FileNotFoundError) else ""
        raise DataError(f"detections={path}: cannot be read ({error.strerror}).{absent}") from error
    except ValueError as error:
        raise DataError(f"detections={path}: not JSON ({error}). {_EXPECTED}.") from error
    own: dict[str, Any] = {}
    if isinstance(content, dict):
        own = content
        lists = [content[key] for key in _WRAPPERS if isinstance(content.get(key), list)]
        if len(lists) != 1:
            raise DataError(
                f"detections={path}: an object with the keys {sorted(content)[:8]}, of which "
                f"{'none' if not lists else 'several'} can be the detections. {_EXPECTED}."
            )
        content = lists[0]
    if not isinstance(content, list):
        raise DataError(f"detections={path}: {shown(content)}. {_EXPECTED}.")
    images = _ImageIds(truth, _own_names(own.get("images"), "file_name"))
    classes = _ClassIds(truth, _own_names(own.get("categories"), "name"))
    image_id = np.empty(len(content), np.int64)
    category_id = np.empty(len(content), np.int64)
    boxes, score = np.empty((len(content), 4)), np.empty(len(content))
    for k, entry in enumerate(content):
        try:
            if not isinstance(entry, dict):
                raise ValueError(f"{shown(entry)}, expected an object")
            image_id[k] = images.id_of(_field(entry, _IMAGE_FIELDS))
            category_id[k] = classes.id_of(_field(entry, _CLASS_FIELDS))
            boxes[k] = _box(_field(entry, ("bbox",)))
            score[k] = _number(_field(entry, ("score",)), "score")
        except ValueError as error:
            raise DataError(f"detections={path}: entry {k}: {error}. {_EXPECTED}.") from error
    order = np.argsort(image_id, kind="stable")
    return DetectionTable(image_id[order], category_id[order], boxes[order], score[order])


def _own_names(entries: Any, key: str) -> dict[int, str]:
    """Return the names that a wrapper's list gives to ids of its own; none where it has no list."""
    names = {}
    for entry in entries if isinstance(entries, list) else ():
        if isinstance(entry, dict) and isinstance(entry.get(key), str):
            number = _whole(entry.get("id"))
            if number is not None:
                names[number] = entry[key]
    return names


def _field(entry: dict[str, Any], names: tuple[str, ...]) -> Any:
    for name in names:
        if entry.get(name) is not None:
            return entry[name]
    raise ValueError(f"no {names[0]} (it has {sorted(map(str, entry))[:8]})")


def _number(value: Any, what: str) -> float:
    if isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < 1e15:
        return float(value)  # a number that is not finite fails the comparison
    raise ValueError(f"{what}={shown(value)}, expected a finite number")


def _box(value: Any) -> list[float]:
    if not isinstance(value, list) or len(value) != 4:
        raise ValueError(f"bbox={shown(value)}, expected four numbers")
    box = [_number(v, "bbox") for v in value]
    if box[2] < 0 or box[3] < 0:
        raise ValueError(f"bbox={shown(value)}, expected a width and a height of 0 or more")
    return box


def _whole(value: Any) -> int | None:
    """Return the integer that a value stands for, None if it is none."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return value
    if isinstance(value, float):
        return int(value) if math.isfinite(value) and value == int(value) else None
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 19:
        return int(value)
    return None


class _ImageIds:
    """Finds an image by its id or, if a text is no id, by its file name with or without folder and
    ending.
    """

    def __init__(self, truth: GroundTruth, own_names: dict[int, str]) -> None:
        self.ids = set(truth.image_ids.tolist())
        self.own_names = own_names
        self.by_name: dict[str, set[int]] = {}
        for number, name in zip(truth.image_ids.tolist(), truth.file_names, strict=True):
            path = PurePosixPath(name)
            for key in {name, path.name, path.stem, str(path.with_suffix(""))} if name else ():
                self.by_name.setdefault(key, set()).add(number)

    def id_of(self, value: Any) -> int:
        if isinstance(value, str) and value in self.by_name:
            named = self.by_name[value]
            if len(named) == 1:
                return next(iter(named))
            raise ValueError(f"image_id={shown(value)} is the name of {len(named)} images")
        number = _whole(value)
        # The file's own list says which image is meant, if the set has one of that name.
        meant = self.by_name.get(self.own_names.get(number, ""), ()) if number is not None else ()
        if len(meant) == 1:
            return next(iter(meant))
        if number is None or number not in self.ids:
            raise ValueError(
                f"image_id={shown(value)} is no image of the data set ({len(self.ids)} images)"
            )
        return number


class _ClassIds:
    """Finds a category by its id or its name."""

    def __init__(self, truth: GroundTruth, own_names: dict[int, str]) -> None:
        self.ids = set(truth.category_ids.tolist())
        self.own_names = own_names
        self.names = truth.names
        self.by_name: dict[str, list[int]] = {}
        for number, name in zip(truth.category_ids.tolist(), truth.names, strict=True):
            self.by_name.setdefault(name, []).append(number)

    def id_of(self, value: Any) -> int:
        if isinstance(value, str) and value in self.by_name:
            known_id = self.by_name[value]
            if len(known_id) == 1:
                return known_id[0]
            raise ValueError(f"class {shown(value)} is the name of {len(known_id)} categories")
        number = _whole(value)
        meant = self.by_name.get(self.own_names.get(number, ""), ()) if number is not None else ()
        if len(meant) == 1:
            return meant[0]
        if number is None or number not in self.ids:
            known = ", ".join(
                f"{n} {name!r}"
                for n, name in list(zip(sorted(self.ids), self.names, strict=True))[:8]
            )
            raise ValueError(
                f"category_id={shown(value)} is no class of the data set ({known}, ...)"
            )
        return number
