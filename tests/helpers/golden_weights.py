"""The weights and inputs behind the golden numbers, made again; and the golden numbers
themselves.
"""

from __future__ import annotations

import json
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

GOLDEN_DIR = Path(__file__).resolve().parents[1] / "golden"
PUBLISHED = ("ssd300", "ssd_mobilenet_v1", "ssd_vgg16", "ssd_mobilenet_v1_fpn", "ssd_resnet50_fpn")


def golden(name: str) -> dict[str, npt.NDArray[Any]]:
    """The golden arrays of a model."""
    with np.load(GOLDEN_DIR / f"{name}_seed0.npz") as file:
        return dict(file)


def golden_parameters(name: str) -> list[list[Any]]:
    """`[name, shape, requires_grad]` of every parameter of a published checkpoint, in order."""
    return json.loads((GOLDEN_DIR / f"{name}_parameters.json").read_text())


def golden_weights(name: str, seed: int = 0) -> dict[str, npt.NDArray[np.float32]]:
    """Every weight as the golden numbers were made with, under the full published names."""
    return {n: golden_weight(n, tuple(shape), seed) for n, shape, _ in golden_parameters(name)}


def golden_weight(name: str, shape: tuple[int, ...], seed: int) -> npt.NDArray[np.float32]:
    """One weight: a function of its full name and the seed."""
    rng = np.random.default_rng(zlib.crc32(name.encode()) + seed)
    z = rng.standard_normal(shape).astype(np.float32)
    leaf = name.rsplit(".", 1)[1]
    if leaf == "gamma":
        z = 1 + 0.1 * z
    elif leaf == "moving_variance":
        z = 1 + 0.1 * np.abs(z)
    elif leaf in ("beta", "moving_mean", "bias"):
        z = 0.1 * z
    elif len(shape) > 1:
        z = z * np.sqrt(1 / np.prod(shape[1:]))
    return z.astype(np.float32)


def golden_input(image_size: list[int], seed: int = 0) -> npt.NDArray[np.float32]:
    """The input image (1, 3, H, W)."""
    rng = np.random.default_rng(seed + 7)
    return rng.standard_normal((1, 3, *image_size)).astype(np.float32)


def golden_loss_inputs(
    name: str, image_size: list[int], num_anchors: int, seed: int = 0
) -> tuple[npt.NDArray[np.float32], ...]:
    """Predictions and targets of the golden loss: loc, logits, loc_targets, labels."""
    rng = np.random.default_rng(seed + 7)
    rng.standard_normal((1, 3, *image_size))
    numbers = golden(name)
    loc_targets = np.zeros((2, num_anchors, 4), np.float32)
    labels = np.zeros((2, num_anchors), np.int32)
    for _ in range(6):
        n = rng.integers(1, 12)
        rng.random((n, 2)), rng.random((n, 2)), rng.integers(1, 81, (n, 1))
    for k in range(2):
        positive = numbers[f"enc{k}_pos"]
        loc_targets[k, positive] = numbers[f"enc{k}_loc"]
        labels[k, positive] = numbers[f"enc{k}_label"]
    loc = rng.standard_normal((2, num_anchors, 4)).astype(np.float32) * np.float32(0.5)
    logits = (rng.standard_normal((2, num_anchors, 81)) - 4).astype(np.float32)
    return loc, logits, loc_targets, labels
