"""Label Studio's JSON and JSON-MIN: tasks with regions in percent of the picture's size.

Rectangles are boxes; what is turned or outlined gives its extent, which is counted.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import msgspec

from data_tools.core.archives import bytes_of, read_file
from data_tools.core.errors import DataError
from data_tools.sources.defects import DefectLog
from data_tools.sources.image_files import SourceSplit, require_file
from data_tools.sources.named_boxes import (
    Labelled,
    NamedBox,
    Pictures,
    ellipse_extent,
    extent,
    number,
    side,
    split_of,
    turned_extent,
)
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
    if bytes_of(path) > _LARGEST:
        raise DataError(f"{path}: larger than {_LARGEST >> 30} GiB. Export it in parts.")
    data = read_file(path)
    try:
        tasks = msgspec.json.decode(data.removeprefix(b"\xef\xbb\xbf"))
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: no JSON ({error}).") from error
    if not isinstance(tasks, list):
        raise DataError(
            f"{path}: Label Studio's JSON is a list of tasks. Export as JSON or JSON-MIN."
        )
    entries = []
    for position, task in enumerate(tasks):
        entry = _task(task, f"{split.annotations}: task {position + 1}", log)
        if entry is not None:
            entries.append(entry)
    digests = {split.annotations: hashlib.sha256(data).hexdigest()}
    return split_of(entries, pictures, digests, log, whole_folder=whole_folder)


def _task(task: Any, where: str, log: DefectLog) -> Labelled | None:
    if not isinstance(task, dict):
        log.add("unreadable_annotation", where, "a task is no object")
        return None
    data = task["data"] if isinstance(task.get("data"), dict) else task
    written = next(
        (data[k] for k in ("image", "img", "picture") if isinstance(data.get(k), str)), ""
    )
    written = written or next(
        (v for v in data.values() if isinstance(v, str) and "." in v.rsplit("/", 1)[-1]), ""
    )
    if not written:
        log.add("unreadable_annotation", where, "the task names no picture")
        return None
    entry = Labelled(written, where)
    if "annotations" in task:
        done = [a for a in task["annotations"] or [] if isinstance(a, dict)]
        done = [a for a in done if not a.get("was_cancelled")]
        done.sort(key=lambda a: not a.get("ground_truth"))
        for other in done[1:]:
            detail = f"annotation {other.get('id')} of the same task; the first is taken"
            log.add("duplicate_annotation", where, detail)
        if not done:
            return (
                None
                if log.add("missing_annotation", where, "the task is not done") != "keep"
                else entry
            )
        regions = done[0].get("result") or []
    else:
        regions = next((v for v in task.values() if isinstance(v, list)), [])
    for region in regions:
        _add(region, entry, log)
    return entry


def _add(region: Any, entry: Labelled, log: DefectLog) -> None:
    if not isinstance(region, dict):
        log.add("malformed_box", entry.where, "a region is no object")
        entry.lost += 1
        return
    value = region["value"] if isinstance(region.get("value"), dict) else region
    kind = next((k for k in value if k.endswith("labels") and isinstance(value[k], list)), "")
    if not kind:
        return  # a choice, a text or a relation: nothing that has a position
    try:
        width, height = side(region.get("original_width")), side(region.get("original_height"))
        if not (width and height):
            raise ValueError("without original_width and original_height")
        entry.width, entry.height = width, height
        box, plain = _box(kind, value, width, height)
        names = [name for name in value[kind] if isinstance(name, str) and name.strip()]
        if len(names) != 1:
            raise ValueError(f"{len(names)} labels")
    except (KeyError, TypeError, ValueError) as error:
        log.add("malformed_box", entry.where, f"{kind}: {error}")
        entry.lost += 1
        return
    if not plain and log.add("extent_taken", entry.where, f"{kind} {names[0]!r}") != "keep":
        entry.lost += 1
        return
    entry.boxes.append(NamedBox(names[0].strip(), box))


def _box(kind: str, value: dict[str, Any], width: int, height: int) -> tuple[list[float], bool]:
    """The region's box in pixels, and whether it is one, rather than an extent."""
    across, down = width / 100, height / 100
    turn = number(value.get("rotation") or 0)
    if kind == "rectanglelabels":
        x, y = number(value["x"]) * across, number(value["y"]) * down
        box = [y, x, y + number(value["height"]) * down, x + number(value["width"]) * across]
        # Label Studio turns a rectangle about its upper left corner.
        return (turned_extent(box, turn, (x, y)), False) if turn % 360 else (box, True)
    if kind == "polygonlabels":
        points = [(number(x) * across, number(y) * down) for x, y in value["points"]]
        return extent(points), False
    if kind == "ellipselabels":
        numbers = [number(value[k]) for k in ("x", "y", "radiusX", "radiusY")]
        x, y, rx, ry = (
            numbers[0] * across,
            numbers[1] * down,
            numbers[2] * across,
            numbers[3] * down,
        )
        return ellipse_extent(x, y, rx, ry, turn), False
    raise ValueError("it has no box")
