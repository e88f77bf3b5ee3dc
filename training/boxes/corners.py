"""Corners of the default boxes, rounded as the published tools round them.

Where the boxes sit is `nets/anchors.py`; matching is `codec.py`.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from data_tools.core.boxes import yxyx_from_cyxhw
from training.nets.anchors import Level, levels
from training.nets.settings import AnchorSettings, ModelSettings

Single = np.float32


def default_corners(model: ModelSettings) -> npt.NDArray[np.float32]:
    """Corners of all default boxes, in the order of the network's outputs.

    A box often overlaps several anchors equally but for the last bit, and that bit decides which of
    them is its best anchor. So the arithmetic is that of the published tools: `scales` in double
    precision relative to the image, `octaves` in single precision in pixels.

    Args:
        model: The network's settings.

    Returns:
        (A, 4) float32 yxyx, relative to the image.
    """
    height, width = model.image_size
    parts = []
    for index, level in enumerate(levels(model)):
        if model.anchors.kind == "octaves":
            corners = _octave_corners(model.anchors, index, level)
            corners /= np.array([height, width, height, width], Single)
        else:
            corners = _scale_corners(level, height, width)
        parts.append(corners.reshape(-1, 4))
    return np.concatenate(parts)


def _scale_corners(level: Level, height: int, width: int) -> npt.NDArray[np.float32]:
    # (rows, columns, shapes, 4)
    boxes = np.empty((level.height, level.width, len(level.sizes_hw_rel), 4))
    boxes[..., 0] = ((np.arange(level.height) + 0.5) / (height / level.step_y))[:, None, None]
    boxes[..., 1] = ((np.arange(level.width) + 0.5) / (width / level.step_x))[None, :, None]
    boxes[..., 2:] = level.sizes_hw_rel
    return yxyx_from_cyxhw(boxes).astype(Single)


def _octave_corners(anchors: AnchorSettings, index: int, level: Level) -> npt.NDArray[np.float32]:
    sizes = 2.0 ** (np.arange(anchors.per_octave) / anchors.per_octave)  # (octaves,)
    # (ratios, octaves) each
    size, ratio = np.meshgrid(sizes.astype(Single), np.array(anchors.aspect_ratios[index], Single))
    root = np.sqrt(ratio.reshape(-1))  # (shapes,), shapes = ratios * octaves
    # (shapes,)
    half_h = Single(0.5) * (size.reshape(-1) / root * Single(anchors.base * level.step_y))
    half_w = Single(0.5) * (size.reshape(-1) * root * Single(anchors.base * level.step_x))
    # (rows,)
    cy = np.arange(level.height, dtype=Single) * Single(level.step_y) + Single(level.step_y / 2)
    # (columns,)
    cx = np.arange(level.width, dtype=Single) * Single(level.step_x) + Single(level.step_x / 2)
    # (rows, columns, shapes, 4)
    corners = np.empty((level.height, level.width, len(root), 4), Single)
    corners[..., 0] = cy[:, None, None] - half_h
    corners[..., 1] = cx[None, :, None] - half_w
    corners[..., 2] = cy[:, None, None] + half_h
    corners[..., 3] = cx[None, :, None] + half_w
    return corners
