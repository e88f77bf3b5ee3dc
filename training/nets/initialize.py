"""First weights of a network: a pure function of (seed, parameter name), the same everywhere.

Reading weights from files is `training/checkpoints/weight_files.py`'s business.
"""

from __future__ import annotations

import math
import zlib
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from training.nets.settings import ModelSettings

if TYPE_CHECKING:
    from training.nets.ssd import SSD

PUBLISHED_SIGMA = 0.02
"""Deviation of the published first weights, cut at two deviations."""

LAST_SIGMA = 0.01
"""Deviation of first weights in layers that start near nothing (arXiv:1708.02002, 4.1)."""


def initialize(network: SSD, model: ModelSettings, seed: int) -> None:
    """Set every trainable weight of a network that has not been compiled yet.

    Convolutions get random weights by `model.init`, biases 0, batch norm 1 and 0. With
    `model.head_prior` the biases of the class head make every object class start at that score and
    background at one minus it. With `model.box_bins` boxes start near the default boxes' size.

    Args:
        network: The network.
        model: Its settings.
        seed: With the parameter's name, the key of its random numbers.
    """
    import mindspore as ms

    for parameter in network.trainable_params():
        name, shape = parameter.name, tuple(parameter.shape)
        if name.endswith((".gamma", ".beta")):
            continue
        if name.endswith(".bias"):
            values = np.zeros(shape, np.float32)
            if model.head_prior and fnmatchcase(name, network.class_head):
                values = _prior_bias(shape[0], network.num_classes, model.head_prior)
            elif model.box_bins and fnmatchcase(name, network.box_head):
                values = _bins_bias(shape[0], model)
        else:
            rng = np.random.Generator(np.random.Philox(key=[seed, zlib.crc32(name.encode())]))
            if any(fnmatchcase(name, pattern) for pattern in network.last_layers):
                values = rng.standard_normal(shape, dtype=np.float32) * np.float32(LAST_SIGMA)
            else:
                values = random_weight(model.init, shape, rng)
        parameter.set_data(ms.Tensor(values))


def random_weight(
    kind: str, shape: tuple[int, ...], rng: np.random.Generator
) -> npt.NDArray[np.float32]:
    """Random values of a convolution weight (out, in, height, width).

    Args:
        kind: `published`: truncated normal, sigma 0.02. `he`: normal with variance 2 / fan-out,
            where the fan-out of a depthwise filter is its own size.
        shape: The weight's shape.
        rng: The source of randomness.

    Returns:
        float32 values of that shape.
    """
    if kind == "published":
        values = rng.standard_normal(shape, dtype=np.float32)
        outside = np.abs(values) > 2
        while outside.any():
            values[outside] = rng.standard_normal(int(outside.sum()), dtype=np.float32)
            outside = np.abs(values) > 2
        return values * np.float32(PUBLISHED_SIGMA)
    fan_out = int(np.prod(shape[2:])) * (1 if shape[1] == 1 else shape[0])
    return rng.standard_normal(shape, dtype=np.float32) * np.float32(math.sqrt(2 / fan_out))


def _prior_bias(size: int, num_classes: int, prior: float) -> npt.NDArray[np.float32]:
    """Biases (size,) of a class head: log odds of `prior`, and of its opposite for background."""
    odds = math.log(prior / (1 - prior))
    bias = np.full(size, odds, np.float32)
    bias[::num_classes] = -odds
    return bias


def _bins_bias(size: int, model: ModelSettings) -> npt.NDArray[np.float32]:
    """Biases (size,) of a head of bins: the fewer, the farther from half a default box's side."""
    half = model.anchors.base / 2
    bias = -np.abs(np.arange(model.box_bins, dtype=np.float32) - np.float32(half))
    return np.tile(bias, size // model.box_bins)
