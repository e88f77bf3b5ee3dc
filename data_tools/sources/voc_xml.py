"""One XML file of Pascal VOC's layout: its picture's name and size, and its objects.

Which files belong to a split, and where the pictures are, is the matter of
`data_tools/sources/voc.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from data_tools.sources.coco_fields import flag
from data_tools.sources.defects import DefectLog
from data_tools.sources.named_fields import number
from data_tools.sources.safe_xml import XmlError, parse_xml
from data_tools.sources.voc_outlines import outline_box

_NO_SIDE = 1 << 31
"""No image has this many pixels on a side."""

_MOST_ELEMENTS = 500_000
_SIDES = ("xmin", "ymin", "xmax", "ymax")


@dataclass(frozen=True)
class VocObject:
    """One box: class name, `[xmin, ymin, xmax, ymax]` as written, VOC's flag."""

    name: str
    corners: list[float]
    difficult: bool


def parse_voc(data: bytes, xml_name: str, log: DefectLog) -> Any:
    """Parse a file to its `<annotation>`; None, with a line in the log, if it is none."""
    try:
        tree = parse_xml(data, _MOST_ELEMENTS)
    except XmlError as error:
        log.add("unreadable_annotation", xml_name, str(error))
        return None
    if tree.tag == "annotation":
        return tree
    log.add("unreadable_annotation", xml_name, f"its root is <{tree.tag}>, not <annotation>")
    return None


def declared_size(tree: Any) -> tuple[int, int]:
    """Declared height and width; 0, 0 where there is no sensible one (some tools write zeros)."""
    try:
        height = int(number(tree.findtext("size/height") or 0))
        width = int(number(tree.findtext("size/width") or 0))
    except (ValueError, OverflowError):
        return 0, 0
    return (height, width) if 0 < height < _NO_SIDE and 0 < width < _NO_SIDE else (0, 0)


def objects_of(tree: Any, xml_name: str, log: DefectLog) -> tuple[list[VocObject], int]:
    """Return the objects of a file, and how many boxes were left out, each with a line in the
    log.
    """
    result: list[VocObject] = []
    lost = 0
    read = set()
    for element in tree.findall("object"):
        # An empty <bndbox/> with an outline is none.
        boxes = [box for box in element.findall("bndbox") if len(box) or box.attrib]
        # A part (head, hand) has a box of its own, which is none of the object's.
        read |= {id(box) for box in element.iter("bndbox")}
        names = [(name.text or "").strip() for name in element.findall("name")]
        names = [name for name in names if name]
        if len(names) != 1:
            detail = (
                f"an object with the names {', '.join(names)}"
                if names
                else "an object without a name"
            )
            for _ in boxes or [None]:
                log.add("malformed_entry", xml_name, detail)
                lost += 1
            continue
        try:
            difficult = flag(element.findtext("difficult"))
            deleted = flag(element.findtext("deleted"))
        except ValueError as error:
            for _ in boxes or [None]:
                log.add("malformed_entry", xml_name, f"{names[0]}: difficult or deleted: {error}")
                lost += 1
            continue
        if deleted:  # by its annotator, in the LabelMe of the web: no loss, but worth a line
            log.add("malformed_entry", xml_name, f"{names[0]}: marked as <deleted>")
            continue
        # Some tools write all boxes of a class into one object: each is an object.
        for box in boxes or [None]:
            corners = (
                _corners(box, names[0], xml_name, log)
                if box is not None
                else _extent(element, names[0], xml_name, log)
            )
            if corners is None:
                lost += 1
            else:
                result.append(VocObject(names[0], corners, difficult))
    for parent in tree.iter():
        for box in parent:
            if _is_box(box) and id(box) not in read:
                log.add(
                    "malformed_entry",
                    xml_name,
                    f"a <{box.tag}> within <{parent.tag}>; VOC has it within <annotation><object>",
                )
                lost += 1
    return result, lost


def _is_box(element: Any) -> bool:
    return isinstance(element.tag, str) and element.tag.lower() in ("bndbox", "boundingbox")


def _extent(element: Any, name: str, xml_name: str, log: DefectLog) -> list[float] | None:
    """Corners around the outlines of an object without a box."""
    try:
        outline = outline_box(element)
    except ValueError as error:
        log.add("malformed_box", xml_name, f"{name}: {error}")
        return None
    if outline is None:
        return _corners(None, name, xml_name, log)
    kept = log.add("extent_taken", xml_name, f"{outline[0]} {name!r}") == "keep"
    return outline[1] if kept else None


def _corners(box: Any, name: str, xml_name: str, log: DefectLog) -> list[float] | None:
    texts = [
        [side.text or "" for side in box.findall(key)] if box is not None else [] for key in _SIDES
    ]
    try:
        return [_number(values) for values in texts]
    except ValueError:
        written = [values[0] if len(values) == 1 else (values or None) for values in texts]
        log.add("malformed_box", xml_name, f"{name}: xmin, ymin, xmax, ymax = {written}")
        return None


def _number(texts: list[str]) -> float:
    (text,) = texts
    return number(text)
