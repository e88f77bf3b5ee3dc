"""The networks: settings, layers, heads, default boxes, and `build_network`, which makes one by name.

Losses are in `training/learning/losses.py`, weights from files in `training/checkpoints/`.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from data_tools.fields import require
from training.nets.settings import ModelSettings

if TYPE_CHECKING:
    from training.nets.ssd import SSD


def build_network(model: ModelSettings, num_classes: int, *, seed: int = 0) -> SSD:
    """Make a detector with random first weights, in inference mode.

    Args:
        model: Which network, its image size, normalisation and default boxes.
        num_classes: Classes including background, C + 1.
        seed: The first weights are a pure function of (seed, parameter name).

    Returns:
        A Cell. Input (N, 3, H, W) float32 normalised RGB. Output: raw regression (N, A, 4) and class
        scores (N, A, num_classes), logits once `set_train(True)`. Parameters bear the published
        names without the leading `network.`.
    """
    from training.nets.initialize import initialize

    require(
        type(num_classes) is int and num_classes >= 2,
        "num_classes",
        num_classes,
        "a count with the background, 2 or more",
    )

    module = importlib.import_module(f"training.nets.zoo.{model.name}")
    network: SSD = module.build(model, num_classes)
    initialize(network, model, seed)
    return network.set_train(False)


def feature_sizes(model: ModelSettings) -> list[tuple[int, int]]:
    """Height and width of the feature maps that carry default boxes, first level first."""
    module = importlib.import_module(f"training.nets.zoo.{model.name}")
    height, width = model.image_size
    return list(zip(module.feature_sides(height), module.feature_sides(width), strict=True))
