"""Label Studio's JSON and JSON-MIN: tasks with regions in percent of the picture's size.

Rectangles are boxes; what is turned or outlined gives its extent, which is counted.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from data_tools.core.archives import bytes_of, read_file
from data_tools.core.errors import DataError
from data_tools.sources.brush_mask import brush_extent
from data_tools.sources.coco_fields import class_name, flag
from data_tools.sources.defects import DefectLog
from data_tools.sources.image_files import SourceSplit, require_file
from data_tools.sources.named_boxes import (
    Labelled,
    NamedBox,
    Pictures,
    ellipse_extent,
    extent,
    split_of,
    turned_extent,
)
from data_tools.sources.named_fields import json_content, number, points, side
from data_tools.sources.settings import SplitSettings

_LARGEST = 1 << 30


def read_label_studio(
    root: Path, split: SplitSettings, log: DefectLog, key: str, *, whole_folder: bool
) -> SourceSplit:
    """Read one split of a Label Studio export.

    Args:
        root: The data set's folder.
        split: The JSON file and the folder of the pictures.
        log: Where defects go.
        key: Setting that named them, for messages.
        whole_folder: All pictures of the folder belong to the split.

    Raises:
        DataError: If a file or folder is missing, or the file is none of Label Studio's.
    """
    path = root / split.annotations
    require_file(path, f"{key}.annotations={split.annotations}")
    pictures = Pictures(root, split, log, key)
    data, tasks = read_tasks(path)
    entries = []
    annotated = set()
    for position, task in enumerate(tasks):
        where = f"{split.annotations}: task {position + 1}"
        one_task = _key_in_json_min(task)
        if one_task in annotated:
            number = one_task[0]
            log.add("duplicate_annotation", where, f"of task {number} again; the first is taken")
            continue
        entry = _task(task, where, pictures, log)
        if entry is not None:
            entries.append(entry)
            annotated |= {one_task} if one_task[0] else set()
    digests = {split.annotations: hashlib.sha256(data).hexdigest()}
    return split_of(entries, pictures, digests, log, whole_folder=whole_folder)


def read_tasks(path: Path) -> tuple[bytes, list[Any]]:
    """Read an export: its bytes and its tasks.

    Raises:
        DataError: If it is none, or too large.
    """
    if bytes_of(path) > _LARGEST:
        raise DataError(f"{path}: larger than {_LARGEST >> 30} GiB. Export it in parts.")
    data = read_file(path)
    try:
        tasks = json_content(data)
    except ValueError as error:
        raise DataError(f"{path}: no JSON ({error}).") from error
    if not isinstance(tasks, list):
        raise DataError(
            f"{path}: Label Studio's JSON is a list of tasks. Export as JSON or JSON-MIN."
        )
    return data, tasks


def written_name(task: Any) -> str:
    """The name that a task has for its picture; empty if it has none."""
    if not isinstance(task, dict):
        return ""
    data = task["data"] if isinstance(task.get("data"), dict) else task
    named = (data[k] for k in ("image", "img", "picture") if isinstance(data.get(k), str))
    others = (v for v in data.values() if isinstance(v, str) and "." in v.rsplit("/", 1)[-1])
    return next(named, "") or next(others, "")


def _key_in_json_min(task: Any) -> tuple[str, str]:
    """The id and the picture of a task; without an id where it holds all annotations itself.

    JSON-MIN has an entry for each annotation of a task, not for each task.
    """
    if not isinstance(task, dict) or "annotations" in task or task.get("id") is None:
        return "", ""
    return str(task["id"]), written_name(task)


def _task(task: Any, where: str, pictures: Pictures, log: DefectLog) -> Labelled | None:
    if not isinstance(task, dict):
        log.add("unreadable_annotation", where, "a task is no object")
        return None
    written = written_name(task)
    if not written:
        log.add("unreadable_annotation", where, "the task names no picture")
        return None
    entry = Labelled(written, where)
    try:
        regions = _regions(task, where, log)
    except ValueError as error:
        log.add("unreadable_annotation", where, str(error))
        pictures.speak_for(written)
        return None
    if regions is None:
        if log.add("missing_annotation", where, "the task is not done") == "keep":
            return entry
        pictures.speak_for(written)
        return None
    labelled = {
        str(r["id"]) for r in regions if isinstance(r, dict) and "id" in r and _label_key(_value(r))
    }
    for region in regions:
        _add(region, entry, labelled, log)
    return entry


def _regions(task: dict[str, Any], where: str, log: DefectLog) -> list[Any] | None:
    """The regions of a task, None if nobody has annotated it.

    Raises:
        ValueError: If they are no list.
    """
    if "annotations" not in task:  # JSON-MIN: the regions stand in the task itself
        lists = [value for value in task.values() if isinstance(value, list)]
        return next((v for v in lists if any(isinstance(r, dict) for r in v)), [])
    done = task["annotations"] or []
    if not isinstance(done, list) or not all(isinstance(one, dict) for one in done):
        raise ValueError(f"annotations {str(done)[:40]!r} are no list of objects")
    done = [one for one in done if not flag(one.get("was_cancelled"))]
    done.sort(key=lambda one: not flag(one.get("ground_truth")))
    for other in done[1:]:
        detail = f"annotation {other.get('id')} of the same task; the first is taken"
        log.add("duplicate_annotation", where, detail)
    if not done:
        return None
    regions = done[0].get("result") or []
    if not isinstance(regions, list):
        raise ValueError(f"result {str(regions)[:40]!r} is no list")
    return regions


def _value(region: dict[str, Any]) -> dict[str, Any]:
    value = region.get("value")
    return value if isinstance(value, dict) else region


def _label_key(value: dict[str, Any]) -> str:
    return next((key for key in value if key.endswith("labels")), "")


def _add(region: Any, entry: Labelled, labelled: set[str], log: DefectLog) -> None:
    try:
        if not isinstance(region, dict):
            raise ValueError("a region is no object")
        value = _value(region)
        key = _label_key(value)
        if not key:
            # A choice, a text or a relation has no extent of its own; neither has the bare shape
            # that `Rectangle` and `Labels` in one template write besides the labelled one.
            if str(region.get("id")) in labelled or not _shape("labels", value):
                return
            raise ValueError("a region without a label")
        width, height = side(region.get("original_width")), side(region.get("original_height"))
        if not (width and height):
            raise ValueError("without original_width and original_height")
        if entry.width and (width, height) != (entry.width, entry.height):
            raise ValueError(f"of a picture of {width} x {height}, others of another size")
        names = value[key]
        if not isinstance(names, list) or len(names) != 1:
            raise ValueError(f"{key} {str(names)[:40]!r}, expected a list of one")
        name = class_name(names[0])
        box, plain = _box(_shape(key, value), value, width, height)
        entry.width, entry.height = width, height
    except (KeyError, ValueError) as error:
        missing = f"no field {error}" if isinstance(error, KeyError) else str(error)
        log.add("malformed_box", entry.where, missing)
        entry.lost += 1
        return
    if not plain and log.add("extent_taken", entry.where, f"{key} {name!r}") != "keep":
        entry.lost += 1
        return
    entry.boxes.append(NamedBox(name.strip(), box))


def _shape(key: str, value: dict[str, Any]) -> str:
    """What a region's shape is: by the name of its labels, or by its fields where that is bare."""
    if key != "labels":
        return key.removesuffix("labels")
    fields = {"points": "polygon", "radiusX": "ellipse", "height": "rectangle"}
    return next((shape for field, shape in fields.items() if field in value), "")


def _box(shape: str, value: dict[str, Any], width: int, height: int) -> tuple[list[float], bool]:
    """The region's box in pixels, and whether it is one, rather than an extent."""
    across, down = width / 100, height / 100
    turn = number(value.get("rotation") or 0)
    if shape == "rectangle":
        x, y = number(value["x"]) * across, number(value["y"]) * down
        box = [y, x, y + number(value["height"]) * down, x + number(value["width"]) * across]
        # Label Studio turns a rectangle about its upper left corner.
        return (turned_extent(box, turn, (x, y)), False) if turn % 360 else (box, True)
    if shape == "polygon":
        return extent([(x * across, y * down) for x, y in points(value["points"])]), False
    if shape == "ellipse":
        numbers = [number(value[k]) for k in ("x", "y", "radiusX", "radiusY")]
        x, y, rx, ry = (
            numbers[0] * across,
            numbers[1] * down,
            numbers[2] * across,
            numbers[3] * down,
        )
        return ellipse_extent(x, y, rx, ry, turn), False
    if shape == "brush":
        return brush_extent(value["rle"], height, width), False
    raise ValueError(f"a {shape or 'label'} has no box")
