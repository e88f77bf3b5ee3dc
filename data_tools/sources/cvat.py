"""CVAT's XML: "for images", pictures with their shapes, and "for video", tracks of shapes over
frames.

Boxes that are not turned are boxes; what is turned, outlined or masked gives its extent, which is
counted.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import Any

from data_tools.core.archives import bytes_of, read_file
from data_tools.core.errors import DataError
from data_tools.sources.coco_fields import flag
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
from data_tools.sources.named_fields import number, side, whole_number
from data_tools.sources.safe_xml import XmlError, parse_xml
from data_tools.sources.settings import SplitSettings

_LARGEST = 1 << 30
_MOST_ELEMENTS = 20_000_000
_SHAPES = ("box", "polygon", "polyline", "points", "ellipse", "mask", "cuboid", "skeleton")
_NO_SHAPES = ("tag", "attribute")
"""What shapes may come with: labels of a whole picture or track."""


def read_cvat(
    root: Path, split: SplitSettings, log: DefectLog, key: str, *, whole_folder: bool
) -> SourceSplit:
    """Read one split of a CVAT export.

    Args:
        root: The data set's folder.
        split: The XML file and the folder of the pictures (frames, for a video).
        log: Where defects go.
        key: Setting that named them, for messages.
        whole_folder: All pictures of the folder belong to the split.

    Raises:
        DataError: If a file or folder is missing, or the file is none of CVAT's.
    """
    path = root / split.annotations
    require_file(path, f"{key}.annotations={split.annotations}")
    pictures = Pictures(root, split, log, key)
    if bytes_of(path) > _LARGEST:
        raise DataError(f"{path}: larger than {_LARGEST >> 30} GiB. Export the jobs one by one.")
    data = read_file(path)
    try:
        tree = parse_xml(data, _MOST_ELEMENTS, _LARGEST)
    except XmlError as error:
        raise DataError(f"{path}: no XML of CVAT ({error}).") from error
    if tree.tag != "annotations":
        raise DataError(f"{path}: its root is <{tree.tag}>; CVAT's is <annotations>.")
    tracks = tree.findall("track")
    if tracks:
        for image in tree.findall("image"):
            what = "an <image> among <track>s: a file is of images or of a video"
            log.add("malformed_entry", f"{split.annotations}: {image.get('name')}", what)
        entries = _frames(tree, tracks, pictures, split.annotations, log)
    else:
        entries = [_image(image, split.annotations, log) for image in tree.findall("image")]
    if not entries:
        raise DataError(f"{path}: it has neither <image> nor <track>.")
    digests = {split.annotations: hashlib.sha256(data).hexdigest()}
    return split_of(entries, pictures, digests, log, whole_folder=whole_folder and not tracks)


def _image(image: Any, file: str, log: DefectLog) -> Labelled:
    name = image.get("name") or ""
    where = f"{file}: {name}"
    entry = Labelled(name, where, side(image.get("height")), side(image.get("width")))
    for shape in image:
        _add(shape, shape.get("label") or "", entry, log)
    return entry


def _frames(
    tree: Any, tracks: list[Any], pictures: Pictures, file: str, log: DefectLog
) -> list[Labelled]:
    """The frames of a video: each picture is the frame whose number its name ends in."""
    numbered: dict[int, str] = {}
    for name in pictures.files:
        digits = re.search(r"(\d+)\.[^.]*$", name)
        if digits is not None:
            numbered.setdefault(int(digits[1]), name)
    height = side(tree.findtext(".//original_size/height"))
    width = side(tree.findtext(".//original_size/width"))
    entries = {
        frame: Labelled(name, f"{file}: frame {frame}", height, width)
        for frame, name in numbered.items()
    }
    for track in tracks:
        for shape in track:
            where = f"{file}: frame {shape.get('frame')}"
            if _is_other(shape, where, log):
                continue
            try:
                frame, outside = whole_number(shape.get("frame")), flag(shape.get("outside"))
            except ValueError as error:
                log.add("malformed_entry", where, f"{shape.tag} {track.get('label')!r}: {error}")
                continue
            if outside:
                continue
            if frame not in entries:
                log.add("unknown_image", f"{file}: frame {frame}", "no picture's name ends in it")
                continue
            _add(shape, track.get("label") or "", entries[frame], log)
    return list(entries.values())


def _add(shape: Any, name: str, entry: Labelled, log: DefectLog) -> None:
    if _is_other(shape, entry.where, log):
        entry.lost += shape.tag not in _NO_SHAPES
        return
    try:
        if not name.strip():
            raise ValueError("a shape without a label")
        box, plain = _box(shape)
    except (TypeError, ValueError) as error:
        log.add("malformed_box", entry.where, f"{shape.tag} {name!r}: {error}")
        entry.lost += 1
        return
    if not plain and log.add("extent_taken", entry.where, f"{shape.tag} {name!r}") != "keep":
        entry.lost += 1
        return
    entry.boxes.append(NamedBox(name.strip(), box))


def _is_other(shape: Any, where: str, log: DefectLog) -> bool:
    """Whether an element is no shape; one that is nothing of CVAT's is reported."""
    if shape.tag in _SHAPES:
        return False
    if shape.tag not in _NO_SHAPES:
        log.add("malformed_box", where, f"a <{shape.tag}> is none of CVAT's shapes")
    return True


def _box(shape: Any) -> tuple[list[float], bool]:
    """The shape's box `[y1, x1, y2, x2]`, and whether it is one, rather than an extent."""
    turn = number(shape.get("rotation") or 0)
    if shape.tag == "box":
        box = [number(shape.get(side_)) for side_ in ("ytl", "xtl", "ybr", "xbr")]
        centre = (box[1] + box[3]) / 2, (box[0] + box[2]) / 2
        return (turned_extent(box, turn, centre), False) if turn % 360 else (box, True)
    if shape.tag == "polygon":
        pairs = [pair.split(",") for pair in (shape.get("points") or "").split(";") if pair.strip()]
        return extent([(number(x), number(y)) for x, y in pairs]), False
    if shape.tag == "ellipse":
        cx, cy, rx, ry = (number(shape.get(k)) for k in ("cx", "cy", "rx", "ry"))
        return ellipse_extent(cx, cy, rx, ry, turn), False
    if shape.tag == "mask":
        left, top, width, height = (
            number(shape.get(k)) for k in ("left", "top", "width", "height")
        )
        return [top, left, top + height, left + width], False
    raise ValueError(f"a {shape.tag} has no box")
