"""What the lines of YOLO's label files are: boxes, polygons, boxes with key points, or oriented
boxes.

They look alike, so all lines of a split are judged together. Which files there are is `yolo.py`'s
matter.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from data_tools.core.boxes import yxyx_from_cyxhw
from data_tools.core.errors import DataError

_SLACK = 1e-3
_LARGEST_SHARE = 2.0
"""Outlines of objects that the picture cuts stick out a little; beyond this the numbers are others,
pixels for instance, which clipping would turn into boxes as large as the picture."""


@dataclass(frozen=True)
class Line:
    """One line: class number, the numbers behind it, where it stands."""

    label: int
    values: list[float]
    where: str


def parse_line(text: str, where: str) -> Line:
    """Read the numbers of a line, with decimal points or commas.

    Raises:
        ValueError: If one is no number, or there are fewer than four behind the class.
    """
    words = text.split()
    if "_" in text or not words[0].lstrip("+-").isdigit() or not words[0].isascii():
        raise ValueError("expected a class number and numbers")
    values = [float(word.replace(",", ".")) for word in words[1:]]
    if len(values) < 4:
        raise ValueError("expected 4 numbers or a polygon")
    return Line(int(words[0]), values, where)


def kind_of_lines(lines: Iterable[Line], key_points: tuple[int, int] | None, wanted: str) -> str:
    """Tell what the lines of a split are that have more than four numbers.

    Args:
        lines: All lines of the split.
        key_points: `kpt_shape` of data.yaml: number of key points, numbers of each.
        wanted: `box`, `polygon` or `pose` to have it so, `auto` to find out.

    Returns:
        `box`, `polygon` or `pose`.

    Raises:
        DataError: If they are oriented boxes, or could be key points as well as polygons.
    """
    if wanted != "auto":
        return wanted
    if key_points is not None:
        return "pose"
    long = [line for line in lines if len(line.values) > 5]
    counts = Counter(len(line.values) for line in long)
    # Outlines differ in their number of points; key points and corners never do.
    if len(counts) != 1 or not long:
        return "polygon"
    (count,) = counts
    values = np.array([line.values for line in long], np.float64)
    example = f"{long[0].where}: {count} numbers behind the class, as in each of {len(long)} lines"
    if _visibilities(values) or (_within_boxes(values) and count >= 6):
        raise DataError(
            f"{example}: they can be a box and key points. Say it by kpt_shape in data.yaml "
            "(dataset.names_file), or with dataset.yolo_lines=pose; dataset.yolo_lines=polygon if "
            "they are outlines."
        )
    if count == 6 and _tracked(values):
        raise DataError(
            f"{example}: the last is a whole number, as a tracker writes a box, its score and its "
            "track. dataset.yolo_lines=box takes the box; dataset.yolo_lines=polygon if they are "
            "triangles."
        )
    if count == 8 and _oriented(values):
        raise DataError(
            f"{example}: they are oriented boxes (four corners of a turned rectangle), which the "
            "detectors here cannot learn. dataset.yolo_lines=polygon takes the upright extent of "
            "each."
        )
    return "polygon"


def _visibilities(values: np.ndarray) -> bool:
    """Whether the numbers behind the box are x, y, visibility: (L, C) -> yes or no."""
    if (values.shape[1] - 4) % 3:
        return False
    flags = values[:, 6::3]
    return bool(np.isin(flags, (0, 1, 2)).all()) and bool((flags == 2).any() or values.shape[1] % 2)


def _tracked(values: np.ndarray) -> bool:
    """Whether the numbers are a box within the picture, a score and a whole number: (L, 6) -> yes
    or no.
    """
    scores, tracks = values[:, 4], values[:, 5]
    whole = bool((tracks == np.rint(tracks)).all())
    return whole and bool(((scores >= 0) & (scores <= 1)).all()) and _boxes_fit(values)


def _boxes_fit(values: np.ndarray) -> bool:
    centre, size = values[:, :2], values[:, 2:4]
    return bool((np.abs(centre - 0.5) + size / 2 <= 0.5 + 1e-2).all())


def _within_boxes(values: np.ndarray) -> bool:
    """Whether all points lie in the box that the first four numbers would be: (L, C) -> yes or
    no.
    """
    if values.shape[1] % 2:
        return False
    centre, size = values[:, None, :2], values[:, None, 2:4]
    points = values[:, 4:].reshape(len(values), -1, 2)
    missing = (points == 0).all(axis=2)
    inside = (np.abs(points - centre) <= size / 2 + _SLACK).all(axis=2)
    return bool(_boxes_fit(values) and (inside | missing).all() and not missing.all())


def _oriented(values: np.ndarray) -> bool:
    """Whether each line is a parallelogram, as turned rectangles are, and one is not upright."""
    corners = values.reshape(len(values), 4, 2)
    crossing = np.abs(corners[:, 0] + corners[:, 2] - corners[:, 1] - corners[:, 3]).max(axis=1)
    upright = np.abs(np.diff(corners, axis=1)).min(axis=2).max(axis=1) <= _SLACK
    return bool((crossing <= 4 * _SLACK).all() and not upright.all())


def box_of_line(
    values: Sequence[float], kind: str, key_points: tuple[int, int] | None
) -> list[float]:
    """Return the box of a line, `[y1, x1, y2, x2]` relative.

    Args:
        values: The numbers behind the class, at least four.
        kind: What lines with more than four numbers are.
        key_points: `kpt_shape` where it is known.

    Raises:
        ValueError: If there are more or fewer numbers than such a line has.
    """
    count = len(values)
    pose = kind == "pose"
    if pose and key_points is not None and count != 4:
        expected = 4 + key_points[0] * key_points[1]
        if count != expected:
            raise ValueError(f"expected 4 numbers, or {expected} as kpt_shape has it; got {count}")
    tracked = kind == "box" and count == 6 and values[5].is_integer()
    if kind == "box" and count not in (4, 5) and not tracked:
        raise ValueError(f"expected 4 numbers, got {count}")
    if (count == 5 or tracked) and not 0 <= values[4] <= 1:
        raise ValueError(f"expected a score, 0..1, behind the box; got {values[4]:g}")
    if count in (4, 5) or pose or tracked:
        cx, cy, width, height = values[:4]
        box: list[float] = yxyx_from_cyxhw(np.array([cy, cx, height, width])).tolist()
        return box
    if count % 2:
        raise ValueError(f"expected 4 numbers or a polygon's x and y; got {count} numbers")
    if max(values) > _LARGEST_SHARE or min(values) < 1 - _LARGEST_SHARE:
        raise ValueError("expected a polygon in shares of the picture's sides, 0..1")
    xs, ys = values[::2], values[1::2]
    return [min(ys), min(xs), max(ys), max(xs)]
