"""A detector of two convolutions and a batch for it, small enough to compile in a second."""

from __future__ import annotations

from typing import Any

import mindspore as ms
import numpy as np
from mindspore import Tensor, nn, ops

from training.learning.gradient_norm import NormByTensor
from training.learning.loss_scale import LossScale
from training.learning.losses import build_loss
from training.learning.optimizer import Optimizer
from training.learning.reduce import Reduce
from training.learning.settings import LossSettings, OptimSettings
from training.learning.state import TrainState
from training.learning.statistics import NormShares, Statistics, statistics_of
from training.learning.step import Apply, Gradients, StepFunction, build_step
from training.learning.weight_average import WeightAverage
from training.learning.weight_groups import trainable
from training.nets.normalize import Normalize

CLASSES = 4
ANCHORS = 16


class Toy(nn.Cell):
    """(N, 3, 16, 16) -> regression (N, 16, 4) and logits (N, 16, 4)."""

    def __init__(self, norm: bool = True) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3, 2, pad_mode="same")
        self.norm = nn.BatchNorm2d(4) if norm else nn.Identity()
        self.loc = nn.Conv2d(4, 4, 3, 2, pad_mode="same", has_bias=True)
        self.cls = nn.Conv2d(4, CLASSES, 3, 2, pad_mode="same", has_bias=True)

    def construct(self, x: Tensor) -> tuple[Tensor, Tensor]:
        hidden = ops.relu(self.norm(self.stem(x)))
        loc = ops.transpose(self.loc(hidden), (0, 2, 3, 1)).reshape((x.shape[0], -1, 4))
        cls = ops.transpose(self.cls(hidden), (0, 2, 3, 1)).reshape((x.shape[0], -1, CLASSES))
        return loc, cls


def toy_batch(seed: int = 0, size: int = 4, positives: bool = True) -> tuple[Any, Any, Any]:
    """Random images, targets and labels."""
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 256, (size, 3, 16, 16)).astype(np.uint8)
    targets = rng.standard_normal((size, ANCHORS, 4)).astype(np.float32)
    labels = rng.integers(-1, CLASSES if positives else 1, (size, ANCHORS)).astype(np.int32)
    return images, targets, labels


def toy_state(optim: OptimSettings, *, norm: bool = True, scaled: bool = False) -> TrainState:
    """The same first weights every time."""
    ms.set_seed(3)
    network = Toy(norm).set_train(True)
    for parameter in network.trainable_params():
        if parameter.name.endswith("weight"):
            rng = np.random.default_rng(len(parameter.name))
            value = 0.1 * rng.standard_normal(parameter.shape).astype(np.float32)
            ops.assign(parameter, Tensor(value))
    average = WeightAverage(list(network.get_parameters())) if optim.ema else None
    scaler = LossScale(256.0, 3, active=scaled)
    optimizer = Optimizer(list(network.trainable_params()), optim)
    norms = NormShares(network) if optim.norm_correction else None
    return TrainState(network, optimizer, scaler, average, norms)


def toy_step(state: TrainState, optim: OptimSettings, *, guard: bool = False) -> StepFunction:
    """Compile-ready step of a toy."""
    alone = guard and state.norms is None
    statistics = Statistics(statistics_of(state.network)) if alone else None
    return build_step(*toy_cells(state, optim), optim.accumulate, statistics)


def toy_cells(
    state: TrainState, optim: OptimSettings, *, guard: bool = False
) -> tuple[Gradients, Apply]:
    """The cells of a toy's step."""
    chosen = trainable(list(state.optimizer.weights), optim.freeze)
    gradients = Gradients(
        state.network, Normalize([120.0] * 3, [60.0] * 3), build_loss(LossSettings()), chosen
    )
    reduce = Reduce([p.shape for p in chosen], 1, 128)
    settling = Statistics(statistics_of(state.network)) if guard else None
    if state.norms is not None:
        settling = state.norms.cell(optim.accumulate)
    apply = Apply(
        state.optimizer.update_of(chosen),
        reduce,
        state.scaler,
        state.average,
        optim.clip_norm,
        NormByTensor(reduce.layout),
        settling,
    )
    return gradients, apply


def snapshot(state: TrainState) -> dict[str, np.ndarray]:
    """Every array of a state by name."""
    # On CPU `asnumpy` shares the memory that the next step writes to.
    arrays = {**state.detector_weights(), **state.rest()}
    return {name: array.copy() for name, array in arrays.items()}
