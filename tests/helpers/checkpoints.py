"""Checkpoints for the tests: small detectors with cards, and the published trainer's files."""

from __future__ import annotations

import dataclasses
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import mindspore as ms
import numpy as np

from data_tools.core.files import sha256_of_file
from tests.helpers.eval_fixtures import CLASSES
from training.checkpoints.checkpoint import Card
from training.checkpoints.signatures import signature
from training.checkpoints.store import CheckpointStore
from training.checkpoints.weight_files import Weights, save_weights
from training.nets.build import build_network
from training.nets.settings import ModelSettings, model_settings


def write_checkpoint(
    path: Path, size: int = 64, card: bool = True, network: Any = None
) -> ModelSettings:
    """Write a detector of the shapes classes; by default a tiny one with random weights."""
    path.parent.mkdir(parents=True, exist_ok=True)
    model: ModelSettings = model_settings("ssd_tiny", image_size=[size, size])
    if network is None:
        network = build_network(model, len(CLASSES) + 1, seed=1)
    model = network.model
    save_weights(network, path)
    if card:
        Card(
            step=1,
            epoch=0,
            seed=1,
            model=dataclasses.asdict(model),
            num_classes=len(CLASSES) + 1,
            classes=[dataclasses.asdict(c) for c in CLASSES],
            data_fingerprint="f" * 64,
            files={path.name: sha256_of_file(path)},
        ).write(path.with_suffix(".json"))
    return model


def random_weights(name: str, num_classes: int) -> Weights:
    """Random weights of a model, without building it for that class count."""
    found = signature(name)
    rng = np.random.default_rng(0)
    weights: Weights = {}
    for parameter, shape in found.shapes.items():
        if fnmatchcase(parameter, found.class_head):
            shape = (shape[0] // found.num_classes * num_classes, *shape[1:])
        weights[parameter] = rng.standard_normal(shape).astype(np.float32)
    return weights


def write_trainer_file(weights: Weights, path: Path) -> None:
    """A checkpoint as the published trainer saves it: weights, moments, counters."""
    rows = [{"name": f"network.{n}", "data": ms.Tensor(w)} for n, w in weights.items()]
    rows += [
        {"name": f"moments.network.{n}", "data": ms.Tensor(w * 0)}
        for n, w in weights.items()
        if not n.rsplit(".", 1)[1].startswith("moving")
    ]
    rows += [
        {"name": "global_step", "data": ms.Tensor(np.array([7], np.int32))},
        {"name": "learning_rate", "data": ms.Tensor(np.zeros(9, np.float32))},
        {"name": "momentum", "data": ms.Tensor(np.float32(0.9))},
    ]
    ms.save_checkpoint(rows, str(path))


def require_same_end(run: Path, other: Path, step: int) -> dict[str, Any]:
    """Fail unless two runs have the same weights and state after a step, to the bit.

    Returns:
        The state of the first, name to array.
    """
    ends = [CheckpointStore(folder / "checkpoints", 9).open(step).read() for folder in (run, other)]
    for expected, got in zip(*ends, strict=True):
        assert got.keys() == expected.keys()
        for name, array in expected.items():
            np.testing.assert_array_equal(got[name], array, err_msg=name)
    return dict(ends[0][1])
