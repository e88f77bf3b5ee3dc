"""The fields of COCO entries: each of the right type, by a conversion that is stated here, or
refused.

Whole entries are the business of `coco.py`, and ids that of `coco_ids.py`.
"""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import numpy.typing as npt

_FLAGS = {
    **dict.fromkeys(("0", "0.0", "false", "no", "", "none", "null", "nan"), False),
    **dict.fromkeys(("1", "1.0", "true", "yes"), True),
}


def flag(value: Any) -> bool:
    """Return a yes or no: a boolean, 0 or 1, or a text of one; null and NaN are a no.

    Raises:
        ValueError: For everything else.
    """
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return False
    if isinstance(value, str) and value.strip().lower() in _FLAGS:
        return _FLAGS[value.strip().lower()]
    if isinstance(value, (bool, int, float)) and value in (0, 1):
        return bool(value)
    raise ValueError(f"flag {str(value)[:40]!r}, expected 0 or 1")


def pixels(value: Any) -> int:
    """Return a declared side in pixels, a whole number or a text of one; 0, none declared, for all
    else.
    """
    try:
        side = number(value)
    except ValueError:
        return 0
    return int(side) if 0 < side < 1 << 30 and side == int(side) else 0


def number(value: Any) -> float:
    """Return a number, or a text of one, as a float.

    Raises:
        ValueError: If it is neither.
    """
    if isinstance(value, str) and "_" not in value:
        return float(value)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ValueError(f"{str(value)[:40]!r} is no number")
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf


def area(value: Any) -> float:
    """Return an area, NaN where none is given that could be one."""
    try:
        return number(value)
    except ValueError:
        return math.nan


def box(value: Any) -> list[float]:
    """Return a box of four numbers (x, y, width, height); a text of such a list, as tables have it,
    is read.

    Raises:
        ValueError: If it is not four numbers.
    """
    if isinstance(value, str):
        value = json.loads(value)
    if not isinstance(value, list) or len(value) != 4:
        raise ValueError("not four numbers")
    return [number(one) for one in value]


def class_name(value: Any) -> str:
    """Return a class's name: text, or a number as text.

    Raises:
        ValueError: If it is something else, blank, or half a surrogate pair, which no file can
            hold.
    """
    if isinstance(value, bool) or not isinstance(value, (str, int, float)) or value != value:
        raise ValueError(f"name {str(value)[:40]!r}, expected a text")
    name = str(value)
    name.encode()
    if not name.strip():
        raise ValueError("an empty name")
    return name


def outline_extent(value: Any) -> list[float]:
    """Return the upright box (x, y, width, height) around outlines or a run-length encoded mask.

    Args:
        value: COCO's `segmentation`: lists of x, y, x, y, ...; one such list; or `{"size": [height,
            width], "counts": ...}` with counts as numbers or compressed text, column by column from
            no to yes.

    Raises:
        ValueError: If it is none of them, or empty.
    """
    if isinstance(value, dict):
        return _mask_extent(value)
    if not isinstance(value, list) or not value:
        raise ValueError("no box and no outline")
    outlines = value if isinstance(value[0], list) else [value]
    points: list[list[float]] = []
    for outline in outlines:
        if not isinstance(outline, list) or len(outline) < 4 or len(outline) % 2:
            raise ValueError("an outline that is not pairs of numbers")
        numbers = [number(one) for one in outline]
        points += [list(pair) for pair in zip(numbers[::2], numbers[1::2], strict=True)]
    corners = np.array(points)  # (P, 2): x, y
    low, high = corners.min(axis=0), corners.max(axis=0)
    return [*low.tolist(), *(high - low).tolist()]


def _mask_extent(mask: dict[str, Any]) -> list[float]:
    size, counts = mask.get("size"), mask.get("counts")
    if not isinstance(size, list) or len(size) != 2 or not all(map(pixels, size)):
        raise ValueError("a mask without its size")
    height, width = map(pixels, size)
    runs = _runs(counts) if isinstance(counts, str) else counts
    if not isinstance(runs, list) or not all(type(run) is int and run >= 0 for run in runs):
        raise ValueError("a mask without counts")
    if sum(runs) != height * width:
        raise ValueError(f"a mask of {sum(runs)} pixels, its size says {height * width}")
    ends: npt.NDArray[np.int64] = np.cumsum(np.array(runs, np.int64))
    first, last = ends[:-1:2], ends[1::2] - 1  # the first and last pixel of each run of the object
    solid = last >= first
    first, last = first[solid], last[solid]
    if not len(first):
        raise ValueError("an empty mask")
    left, right = int(first.min()) // height, int(last.max()) // height
    if (first // height != last // height).any():  # a run that goes over to the next column
        top, bottom = 0, height - 1
    else:
        top, bottom = int((first % height).min()), int((last % height).max())
    return [float(left), float(top), float(right - left + 1), float(bottom - top + 1)]


def _runs(text: str) -> list[int]:
    """Decode compressed counts: five bits a character, lowest first; from the third on,
    differences.
    """
    runs: list[int] = []
    at = 0
    while at < len(text):
        value = shift = 0
        more = True
        while more:
            if at == len(text) or not 0 <= (bits := ord(text[at]) - 48) < 64 or shift > 60:
                raise ValueError("a mask whose counts are cut or no counts")
            value |= (bits & 31) << shift
            more = bool(bits & 32)
            at, shift = at + 1, shift + 5
            if not more and bits & 16:
                value -= 1 << shift
        runs.append(value + runs[-2] if len(runs) > 2 else value)
    return runs
