"""Outlines in Pascal VOC's XML: what tools write in place of a box, or with one.

An object with a `<bndbox>` has its box there; what is here counts where there is none.
"""

from __future__ import annotations

import math
import re
from typing import Any

from data_tools.sources.named_boxes import Point, extent, turned_extent
from data_tools.sources.named_fields import number

_KINDS = ("polygon", "robndbox", "segmentation")
"""Elements that hold an outline: of Supervisely, Roboflow, V7 and the LabelMe of the web; a turned
box of roLabelImg.
"""

_COORDINATE = re.compile(r"([xy])(\d+)")


def outline_box(element: Any) -> tuple[str, list[float]] | None:
    """Return the extent of an object's outlines: what they are, and `[xmin, ymin, xmax, ymax]`.

    Several outlines of an object are its parts, as what stands before it hides the rest.

    Args:
        element: The `<object>`.

    Returns:
        None if it has no outline.

    Raises:
        ValueError: If one cannot be read.
    """
    outlines = [child for child in element if child.tag in _KINDS]
    if not outlines:
        return None
    boxes = [_turned(one) if one.tag == "robndbox" else extent(_points(one)) for one in outlines]
    corners = [(x, y) for y1, x1, y2, x2 in boxes for x, y in ((x1, y1), (x2, y2))]
    y1, x1, y2, x2 = extent(corners)
    return str(outlines[0].tag), [x1, y1, x2, y2]


def _turned(box: Any) -> list[float]:
    """Extent of `<cx> <cy> <w> <h> <angle>`, the angle in radians."""
    values = [number((box.findtext(key) or "").strip()) for key in ("cx", "cy", "w", "h", "angle")]
    cx, cy, width, height, angle = values
    if not all(map(math.isfinite, values)) or width <= 0 or height <= 0:
        raise ValueError(f"robndbox: cx, cy, w, h, angle = {values}")
    if abs(angle) > 2 * math.pi + 1e-3:
        raise ValueError(f"robndbox: angle {angle:g} is no angle in radians (0..6.28)")
    box = [cy - height / 2, cx - width / 2, cy + height / 2, cx + width / 2]
    return turned_extent(box, math.degrees(angle), (cx, cy))


def _points(outline: Any) -> list[Point]:
    """Points as `<x1> <y1> <x2> ...`, `<pt><x> <y></pt>`, `<point x= y=>` or a list of numbers."""
    named: dict[int, dict[str, float]] = {}
    nested: list[Point] = []
    for child in outline.iter():
        key = _COORDINATE.fullmatch(str(child.tag))
        if key:
            named.setdefault(int(key[2]), {})[key[1]] = number((child.text or "").strip())
        elif child.find("x") is not None and child.find("y") is not None:
            nested.append((_of(child, "x"), _of(child, "y")))
        elif child.get("x") is not None and child.get("y") is not None:
            nested.append((number(child.get("x")), number(child.get("y"))))
    if named and any(len(pair) != 2 for pair in named.values()):
        raise ValueError(f"{outline.tag}: an x without its y")
    points = [(pair["x"], pair["y"]) for _, pair in sorted(named.items())] + nested
    if not points:
        flat = [number(text) for text in re.split(r"[\s,;()\[\]]+", outline.text or "") if text]
        if len(flat) % 2:
            raise ValueError(f"{outline.tag}: an x without its y")
        points = list(zip(flat[::2], flat[1::2], strict=True))
    if len(points) < 3:
        raise ValueError(f"{outline.tag}: fewer than three points")
    return points


def _of(element: Any, key: str) -> float:
    return number((element.findtext(key) or "").strip())
