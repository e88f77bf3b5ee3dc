"""Default boxes: where they sit and how large they are, from the settings alone (NumPy).

Matching and encoding are in `training/boxes/codec.py`; the feature map sizes come from the
network's file.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from data_tools.core.errors import SettingError
from training.nets.feature_maps import feature_sizes
from training.nets.settings import AnchorSettings, ModelSettings

SMALLEST_BOX = 0.1
"""Side of the square box that a first level without aspect ratios starts with, relative."""

FARTHEST_CENTRE = 1.05
"""The published steps are rounded up, so a level's last centre may lie just outside the image."""


@dataclass(frozen=True)
class Level:
    """One feature map and its default boxes.

    Attributes:
        height: Rows of the feature map.
        width: Columns of the feature map.
        step_y: Pixels between the rows' centres.
        step_x: Pixels between the columns' centres.
        sizes_hw_rel: (K, 2) float64 heights and widths of the K boxes of a cell, relative.
    """

    height: int
    width: int
    step_y: float
    step_x: float
    sizes_hw_rel: npt.NDArray[np.float64]

    @property
    def num_boxes(self) -> int:
        """Default boxes on this level."""
        return self.height * self.width * len(self.sizes_hw_rel)


def default_boxes(model: ModelSettings) -> npt.NDArray[np.float32]:
    """All default boxes of a network, in the order of its outputs.

    Args:
        model: The network's settings.

    Returns:
        (A, 4) float32 `[cy, cx, h, w]`, relative to the image: level by level, row by row, column
        by column, box by box.
    """
    height, width = model.image_size
    parts = []
    for level in levels(model):
        cy = (np.arange(level.height) + 0.5) * level.step_y / height
        cx = (np.arange(level.width) + 0.5) * level.step_x / width
        boxes = np.empty((level.height, level.width, len(level.sizes_hw_rel), 4))
        boxes[..., 0] = cy[:, None, None]
        boxes[..., 1] = cx[None, :, None]
        boxes[..., 2:] = level.sizes_hw_rel
        parts.append(boxes.reshape(-1, 4))
    return np.concatenate(parts).astype(np.float32)


def levels(model: ModelSettings) -> list[Level]:
    """The feature maps of a network with the boxes of a cell on each.

    Raises:
        SettingError: If the settings name another number of levels than the network has, or steps
            that put boxes outside the image.
    """
    anchors = model.anchors
    height, width = model.image_size
    maps = feature_sizes(model)
    if len(maps) != len(anchors.aspect_ratios):
        raise SettingError(
            f"model.anchors.aspect_ratios has {len(anchors.aspect_ratios)} lists, but "
            f"{model.name} has {len(maps)} feature maps: give one list for each."
        )
    if min(min(size) for size in maps) < 1:
        raise SettingError(
            f"model.image_size={list(model.image_size)} is too small for {model.name}: its feature "
            f"maps would be {maps}."
        )
    result = []
    for index, (rows, columns) in enumerate(maps):
        if anchors.steps:
            step_y = step_x = float(anchors.steps[index])
        else:
            step_y, step_x = height / rows, width / columns
        last = max((rows - 0.5) * step_y / height, (columns - 0.5) * step_x / width)
        if last > FARTHEST_CENTRE:
            raise SettingError(
                f"model.anchors.steps[{index}]={anchors.steps[index]:g} puts boxes outside the "
                f"{height}x{width} image: level {index} has {rows}x{columns} cells. "
                "Use model.anchors.steps=[] to spread the boxes evenly."
            )
        if anchors.kind == "octaves":
            sizes = _octave_sizes(anchors, index) * [step_y / height, step_x / width]
        else:
            sizes = _scale_sizes(anchors, index)
        result.append(Level(rows, columns, step_y, step_x, sizes))
    return result


def boxes_per_cell(anchors: AnchorSettings) -> list[int]:
    """How many default boxes a cell has, level by level."""
    if anchors.kind == "octaves":
        return [len(ratios) * anchors.per_octave for ratios in anchors.aspect_ratios]
    return [len(_scale_sizes(anchors, i)) for i in range(len(anchors.aspect_ratios))]


def _scale_sizes(anchors: AnchorSettings, index: int) -> npt.NDArray[np.float64]:
    """(K, 2) relative sizes of one level: the square, each ratio lying and standing, a larger
    square.
    """
    count = len(anchors.aspect_ratios)
    if anchors.scales:
        scales = list(anchors.scales)
    else:
        rate = (anchors.max_scale - anchors.min_scale) / max(count - 1, 1)
        scales = [anchors.min_scale + rate * i for i in range(count)] + [1.0]
    scale, following = scales[index], scales[index + 1]
    ratios = list(anchors.aspect_ratios[index])
    if not ratios:
        long, short = scale * math.sqrt(2), scale / math.sqrt(2)
        return np.array([(SMALLEST_BOX, SMALLEST_BOX), (short, long), (long, short)])
    square, larger = (scale,) * 2, (math.sqrt(scale * following),) * 2
    sizes = []
    for ratio in ratios:
        long, short = scale * math.sqrt(ratio), scale / math.sqrt(ratio)
        sizes += [(short, long), (long, short)]
    second = anchors.larger_square == "second"
    sizes = [square, larger, *sizes] if second else [square, *sizes, larger]
    return np.minimum(sizes, anchors.largest or np.inf)


def _octave_sizes(anchors: AnchorSettings, index: int) -> npt.NDArray[np.float64]:
    """(K, 2) sizes in steps of one level: for every ratio, the sizes of an octave."""
    sizes = []
    for ratio in anchors.aspect_ratios[index]:
        for i in range(anchors.per_octave):
            size = anchors.base * 2.0 ** (i / anchors.per_octave)
            sizes.append((size / math.sqrt(ratio), size * math.sqrt(ratio)))
    return np.array(sizes)
