"""LabelMe: a JSON file for each picture, with shapes of points in pixels.

Rectangles are boxes; polygons, circles and masks give their extent, which is counted.
"""

from __future__ import annotations

import hashlib
import math
from pathlib import Path
from typing import Any

from data_tools.core.archives import bytes_of, read_file
from data_tools.core.errors import DataError
from data_tools.sources.coco_fields import class_name
from data_tools.sources.defects import DefectLog
from data_tools.sources.image_files import SourceSplit, digest_of, require_folder
from data_tools.sources.listing import list_files
from data_tools.sources.named_boxes import Labelled, NamedBox, Pictures, extent, split_of
from data_tools.sources.named_fields import json_content, points, side
from data_tools.sources.settings import SplitSettings

_LARGEST = 256 << 20
"""A file may hold its picture as text."""


def read_labelme(
    root: Path, split: SplitSettings, log: DefectLog, key: str, *, whole_folder: bool
) -> SourceSplit:
    """Read one split of LabelMe's files.

    Args:
        root: The data set's folder.
        split: Folder of the JSON files and folder of the pictures.
        log: Where defects go.
        key: Setting that named the folders, for messages.
        whole_folder: All pictures of the folder belong to the split.

    Raises:
        DataError: If a folder is missing or holds no file of LabelMe.
    """
    folder = root / split.annotations
    require_folder(folder, f"{key}.annotations={split.annotations}")
    pictures = Pictures(root, split, log, key)
    entries, contents = [], []
    hidden = log if folder != pictures.folder else None
    for name in list_files(folder, (".json",), hidden, split.annotations):
        where = f"{split.annotations}/{name}"
        try:
            if bytes_of(folder / name) > _LARGEST:
                raise ValueError(f"larger than {_LARGEST >> 20} MiB")
            data = read_file(folder / name)
            contents += [name.encode(errors="surrogateescape"), hashlib.sha256(data).digest()]
            content = json_content(data)
        except (OSError, ValueError) as error:
            log.add("unreadable_annotation", where, str(error))
            pictures.speak_for(name[:-5])
            continue
        if not isinstance(content, dict) or not isinstance(content.get("shapes"), list):
            log.add("unreadable_annotation", where, "no file of LabelMe: it has no list `shapes`")
            pictures.speak_for(name[:-5])
            continue
        written = content.get("imagePath")
        written = written if isinstance(written, str) and written.strip() else name[:-5] + ".jpg"
        # imagePath is relative to the JSON file: `../images/a.jpg` is usual.
        written = written.replace("\\", "/").lstrip("./")
        relative = f"{name.rpartition('/')[0]}/{written}".lstrip("/")
        entry = Labelled(
            relative if relative in pictures.files else written,
            where,
            side(content.get("imageHeight")),
            side(content.get("imageWidth")),
        )
        for shape in content["shapes"]:
            _add(shape, entry, log)
        entries.append(entry)
    if not contents and not log.defects:
        raise DataError(f"{folder}: no JSON file ({key}.annotations={split.annotations}).")
    digests = {split.annotations: digest_of(contents)}
    return split_of(entries, pictures, digests, log, whole_folder=whole_folder)


def _add(shape: Any, entry: Labelled, log: DefectLog) -> None:
    try:
        if not isinstance(shape, dict):
            raise ValueError("a shape is no object")
        name, kind = class_name(shape.get("label")), shape.get("shape_type") or "polygon"
        corners = points(shape.get("points"))
        if kind == "circle":
            (cx, cy), (x, y) = corners
            radius = math.hypot(x - cx, y - cy)
            box = [cy - radius, cx - radius, cy + radius, cx + radius]
        elif kind in ("rectangle", "polygon", "mask", "rotation", "oriented_rectangle"):
            box = extent(corners)
        else:
            raise ValueError(f"a {kind} has no box")
    except ValueError as error:
        log.add("malformed_box", entry.where, str(error))
        entry.lost += 1
        return
    if kind != "rectangle" and log.add("extent_taken", entry.where, f"{kind} {name!r}") != "keep":
        entry.lost += 1
        return
    entry.boxes.append(NamedBox(name.strip(), box))
