"""Weights and pictures that two libraries can make alike: each value from (name, seed), NumPy only.

Used by the tests, and by `make_donor_goldens.py` next to it in an environment that has the other
libraries.
"""

from __future__ import annotations

import math
import zlib

import numpy as np


def uniform(name: str, shape: tuple[int, ...], low: float, high: float) -> np.ndarray:
    """float32 numbers between low and high that depend on the name alone."""
    rng = np.random.Generator(np.random.Philox(key=[19, zlib.crc32(name.encode())]))
    return (low + (high - low) * rng.random(shape)).astype(np.float32)


def fill(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """A weight's values, of a size that keeps the maps of a deep network neither tiny nor huge."""
    leaf = name.rpartition(".")[2]
    if leaf == "num_batches_tracked":
        return np.array(7, np.int64)
    if leaf in ("running_var", "moving_variance"):
        return uniform(name, shape, 0.5, 1.5)
    if leaf in ("running_mean", "moving_mean", "beta", "bias"):
        return uniform(name, shape, -0.2, 0.2)
    if leaf == "scale_weight":
        return uniform(name, shape, 16.0, 24.0)
    if len(shape) == 1 and (".bn3." in name or name.startswith("backbone.features.")):
        return uniform(
            name, shape, 0.2, 0.4
        )  # before additions, lest a residual network's maps grow and grow
    if len(shape) == 1:  # weight or gamma of a batch norm
        return uniform(name, shape, 0.8, 1.2)
    bound = math.sqrt(6 / max(1, int(np.prod(shape[1:]))))
    if name == "backbone.features.0.weight":  # of SSD300, which sees pixels of up to 150
        bound *= 0.02
    return uniform(name, shape, -bound, bound)


def picture(height: int, width: int) -> np.ndarray:
    """(H, W, 3) uint8 RGB: smooth blobs, so that detections differ from place to place."""
    y, x = np.mgrid[0:height, 0:width] / max(height, width)
    waves = [
        np.sin(7 * x + 3 * k) + np.cos(9 * y - 2 * k) + np.sin(23 * x * y + k) for k in range(3)
    ]
    noise = uniform("picture", (height, width, 3), -20, 20)
    return np.clip(128 + 35 * np.stack(waves, -1) + noise, 0, 255).astype(np.uint8)


def sample(values: np.ndarray, count: int = 96) -> np.ndarray:
    """Values at fixed places of an array, spread over all of it."""
    flat = np.asarray(values, np.float32).reshape(-1)
    return flat[np.linspace(0, flat.size - 1, count).astype(int)]
