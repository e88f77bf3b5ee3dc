"""The trials of the published crop, compiled: the first crop that passes.

What passes, and why it is kept as published, is told in `windows.py`.
"""

from __future__ import annotations

from math import floor

import numpy as np
import numpy.typing as npt

from data_tools.core.compiled import compiled


@compiled()
def first_crop(
    canvas: tuple[int, int, int, int],
    boxes_yxyx_px: npt.NDArray[np.float32],
    draws: npt.NDArray[np.float64],
    scale: tuple[float, float],
    aspect: tuple[float, float],
    least: float,
    most: float,
) -> tuple[int, int, int, int]:
    """Try crops until one passes; overlaps are float32, as `windows.iou_with` has them.

    Args:
        canvas: top, left, bottom, right of what is cropped.
        boxes_yxyx_px: (N, 4).
        draws: (T, 4) numbers in 0..1, a crop each: width, height, left, top.
        scale: Smallest and largest side of a crop, of the canvas's.
        aspect: Flattest and tallest crop, height over width.
        least: Overlap below which a box spoils a crop, unless ...
        most: ... no box overlaps by more than this.

    Returns:
        top, left, bottom, right of the first crop that passes, or of the canvas.
    """
    rows, columns = canvas[2] - canvas[0], canvas[3] - canvas[1]
    zero = np.float32(0)
    for t in range(draws.shape[0]):
        width = (scale[0] + draws[t, 0] * (scale[1] - scale[0])) * columns
        height = (scale[0] + draws[t, 1] * (scale[1] - scale[0])) * rows
        if not aspect[0] <= height / width <= aspect[1]:
            continue
        x = canvas[1] + draws[t, 2] * (columns - width)
        y = canvas[0] + draws[t, 3] * (rows - height)
        top, left = floor(y), floor(x)
        bottom, right = floor(y + height), floor(x + width)
        if bottom - top < 1 or right - left < 1:
            continue
        own = np.float32((bottom - top) * (right - left))
        y1, x1 = np.float32(top), np.float32(left)
        y2, x2 = np.float32(bottom), np.float32(right)
        lowest, highest = np.float32(np.inf), zero
        kept = False
        for n in range(boxes_yxyx_px.shape[0]):
            box = boxes_yxyx_px[n]
            tall = max(min(box[2], y2) - max(box[0], y1), zero)
            wide = max(min(box[3], x2) - max(box[1], x1), zero)
            shared = tall * wide
            overlap = shared / ((box[2] - box[0]) * (box[3] - box[1]) + own - shared)
            if overlap > zero:
                lowest, highest = min(lowest, overlap), max(highest, overlap)
                middle_y, middle_x = box[0] + box[2], box[1] + box[3]
                kept |= 2 * top < middle_y < 2 * bottom and 2 * left < middle_x < 2 * right
        if kept and not (lowest < least and highest > most):
            return top, left, bottom, right
    return canvas
