"""The sizes of the feature maps that carry default boxes, for a network and an input size.

Each network of `zoo/` knows its own; default boxes are laid over them in `anchors.py`.
"""

from __future__ import annotations

import importlib

from training.nets.settings import ModelSettings


def feature_sizes(model: ModelSettings) -> list[tuple[int, int]]:
    """Height and width of the feature maps that carry default boxes, first level first."""
    module = importlib.import_module(f"training.nets.zoo.{model.name}")
    height, width = model.image_size
    return list(zip(module.feature_sides(height), module.feature_sides(width), strict=True))
