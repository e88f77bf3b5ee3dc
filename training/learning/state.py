"""The trainer's live state as named arrays and back: what a checkpoint must hold, no file formats.

Names: weights carry their published names (with `network.`); the rest is prefixed by what it is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from mindspore import Parameter, Tensor, nn, ops
from numpy.typing import NDArray

from data_tools.core.errors import CheckpointError
from training.learning.loss_scale import LossScale
from training.learning.optimizer import Momentum, WeightAverage

Arrays = dict[str, NDArray[Any]]
PUBLISHED_PREFIX = "network."


@dataclass
class TrainState:
    """The cells whose parameters make up a run.

    Attributes:
        network: The detector that trains.
        optimizer: Holds the moments.
        scaler: Holds the loss scale.
        average: The moving average of the weights, or None.
    """

    network: nn.Cell
    optimizer: Momentum
    scaler: LossScale
    average: WeightAverage | None

    def detector_weights(self) -> Arrays:
        """Return the weights that evaluation uses, averages if there are any, by published name."""
        averages = {}
        if self.average is not None:
            pairs = zip(self.average.tracked, self.average.averages)
            averages = {live.name: average for live, average in pairs}
        return {
            PUBLISHED_PREFIX + p.name: averages.get(p.name, p).asnumpy()
            for p in self.network.get_parameters()
        }

    def rest(self) -> Arrays:
        """Return everything beside `detector_weights` that the next step depends on."""
        arrays = {m.name: m.asnumpy() for m in self.optimizer.moments}
        arrays |= {p.name: p.asnumpy() for p in (self.scaler.scale, self.scaler.good)}
        if self.average is not None:
            arrays |= {f"raw.{p.name}": p.asnumpy() for p in self.network.get_parameters()}
        return arrays

    def load(self, weights: Mapping[str, NDArray[Any]], rest: Mapping[str, NDArray[Any]]) -> None:
        """Take over a checkpoint's arrays. Call it before the first step is compiled.

        Args:
            weights: What `detector_weights` returned.
            rest: What `rest` returned.

        Raises:
            CheckpointError: If an array is missing, left over, or has another shape.
        """
        targets = {m.name: m for m in self.optimizer.moments}
        targets |= {p.name: p for p in (self.scaler.scale, self.scaler.good)}
        source = dict(rest)
        if self.average is None:
            for p in self.network.get_parameters():
                targets[PUBLISHED_PREFIX + p.name] = p
        else:
            for live, average in zip(self.average.tracked, self.average.averages):
                targets[PUBLISHED_PREFIX + live.name] = average
            targets |= {f"raw.{p.name}": p for p in self.network.get_parameters()}
        source |= weights
        differences = sorted(set(targets) ^ set(source))
        if differences:
            raise CheckpointError(
                f"the checkpoint's state does not fit this run: {len(differences)} names differ, "
                f"such as {differences[:3]}. Was it saved with another optimizer or ema setting? "
                "Use those, or start from its weights with checkpoint=FILE and another output."
            )
        for name, target in targets.items():
            assign(target, source[name])


def statistics_of(network: nn.Cell) -> list[Parameter]:
    """Return the parameters of a network that its forward pass moves by itself."""
    return [
        p for p in network.get_parameters() if p.name.endswith(("moving_mean", "moving_variance"))
    ]


def assign(target: Parameter, value: NDArray[Any]) -> None:
    """Copy an array into a parameter, in place, so that compiled graphs see it.

    Raises:
        CheckpointError: If the shapes differ.
    """
    if tuple(target.shape) != tuple(value.shape):
        raise CheckpointError(
            f"{target.name}: shape {tuple(value.shape)} in the checkpoint, "
            f"{tuple(target.shape)} in this run. It is of another model: use that model's settings."
        )
    ops.assign(target, Tensor(np.array(value), target.dtype))


def copy_weights(arrays: Mapping[str, NDArray[Any]], network: nn.Cell) -> None:
    """Copy published weights into a second network, for instance the one that evaluates.

    Args:
        arrays: Weights by published name, all of them.
        network: The network; its parameters change in place.
    """
    for parameter in network.get_parameters():
        assign(parameter, arrays[PUBLISHED_PREFIX + parameter.name])


def flatten(arrays: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
    """Lay arrays end to end as one float32 vector."""
    return np.concatenate([np.asarray(a, np.float32).ravel() for a in arrays])
