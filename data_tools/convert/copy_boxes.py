"""Whether two copies of a picture have the same boxes.

Which pictures are copies is found in `images/copies.py`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from data_tools.core.boxes import iou

_MOST_PX = 1.0
"""Edges of boxes on the same pixels: tools count from 0 or from 1, and round."""

_LEAST_OVERLAP = 0.7
"""Boxes on pictures that are nearly equal: edges may have been cut or scaled."""


def box_difference(
    boxes_rel: npt.NDArray[np.float64],
    labels: Sequence[object],
    others_rel: npt.NDArray[np.float64],
    other_labels: Sequence[object],
    size_px: tuple[int, int] | None,
) -> str:
    """Say in what the boxes of two copies differ.

    Each box is paired with the one that it overlaps most, the best pairs first.

    Args:
        boxes_rel: (N, 4) `[y1, x1, y2, x2]` in 0..1 of the picture.
        labels: N classes.
        others_rel: (M, 4) boxes of the other copy.
        other_labels: Their M classes.
        size_px: Height and width where the pixels are equal: then edges may differ by one pixel;
            None where the pictures are nearly equal: then boxes must overlap by 0.7.

    Returns:
        A few words; empty if the boxes are the same.
    """
    if len(boxes_rel) != len(others_rel):
        return f"{len(boxes_rel)} boxes here, {len(others_rel)} there"
    overlaps = iou(boxes_rel, others_rel)
    left = overlaps.copy()
    least, moved = 1.0, False
    for _ in range(len(boxes_rel)):
        here, there = np.unravel_index(int(left.argmax()), left.shape)
        if labels[int(here)] != other_labels[int(there)]:
            return f"the classes differ: {labels[int(here)]} here, {other_labels[int(there)]} there"
        least = min(least, float(overlaps[here, there]))
        edges = np.abs(boxes_rel[here] - others_rel[there])
        moved |= size_px is not None and bool((edges * np.array(size_px * 2) > _MOST_PX).any())
        left[here], left[:, there] = -1, -1
    if moved or (size_px is None and least < _LEAST_OVERLAP):
        return f"the boxes differ: they overlap by {least:.2f}"
    return ""
