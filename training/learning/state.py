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
from training.checkpoints.weight_files import PREFIX
from training.learning.loss_scale import LossScale
from training.learning.optimizer import Optimizer
from training.learning.statistics import NormShares
from training.learning.weight_average import WeightAverage

Arrays = dict[str, NDArray[Any]]


@dataclass
class TrainState:
    """The cells whose parameters make up a run.

    Attributes:
        network: The detector that trains.
        optimizer: Holds its state of each weight, such as moments.
        scaler: Holds the loss scale.
        average: The moving average of the weights, or None.
        norms: How far batch-norm statistics are corrected, or None if they are not.
    """

    network: nn.Cell
    optimizer: Optimizer
    scaler: LossScale
    average: WeightAverage | None
    norms: NormShares | None = None

    def detector_weights(self) -> Arrays:
        """Return the weights that evaluation uses, averages if there are any, by published name."""
        averages = {}
        if self.average is not None:
            averages = self.average.read()
        return {
            PREFIX + p.name: averages[p.name] if p.name in averages else p.asnumpy()
            for p in self.network.get_parameters()
        }

    def rest(self) -> Arrays:
        """Return everything except `detector_weights` that the next step depends on."""
        arrays = self.optimizer.read()
        arrays |= {p.name: p.asnumpy() for p in (self.scaler.scale, self.scaler.good)}
        if self.norms is not None:
            arrays |= self.norms.read()
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
        parameters = {p.name: p for p in self.network.get_parameters()}
        prefix = PREFIX if self.average is None else "raw."
        targets = {prefix + name: p for name, p in parameters.items()}
        targets |= {p.name: p for p in (self.scaler.scale, self.scaler.good)}
        vectors = {name: array.shape for name, array in self.optimizer.read().items()}
        if self.norms is not None:
            vectors |= {name: share.shape for name, share in self.norms.read().items()}
        if self.average is not None:
            vectors |= {PREFIX + name: p.shape for name, p in parameters.items()}
        source = {**rest, **weights}
        differences = sorted((set(targets) | set(vectors)) ^ set(source))
        if differences:
            raise CheckpointError(
                f"the checkpoint's state does not fit this run: {len(differences)} names differ, "
                f"such as {differences[:3]}. Was it saved with another optim.name, ema or "
                "norm_correction? Use those, or start from its weights with checkpoint=FILE and "
                "another output."
            )
        for name, shape in vectors.items():
            check_shape(name, shape, source[name])
        for name, target in targets.items():
            assign(target, source[name])
        self.optimizer.write(source)
        if self.norms is not None:
            self.norms.write(source)
        if self.average is not None:
            self.average.write({name: source[PREFIX + name] for name in parameters})


def assign(target: Parameter, value: NDArray[Any]) -> None:
    """Copy an array into a parameter, in place, so that compiled graphs see it.

    Raises:
        CheckpointError: If the shapes differ.
    """
    check_shape(target.name, target.shape, value)
    ops.assign(target, Tensor(np.array(value), target.dtype))


def check_shape(name: str, shape: Sequence[int], value: NDArray[Any]) -> None:
    """Compare the shape of an array with what this run has.

    Raises:
        CheckpointError: If they differ.
    """
    if tuple(shape) != tuple(value.shape):
        raise CheckpointError(
            f"{name}: shape {tuple(value.shape)} in the checkpoint, {tuple(shape)} in this run. "
            "It is of another model: use that model's settings."
        )


def copy_weights(arrays: Mapping[str, NDArray[Any]], network: nn.Cell) -> None:
    """Copy published weights into a second network, for instance the one that evaluates.

    Args:
        arrays: Weights by published name, all of them.
        network: The network; its parameters change in place.
    """
    for parameter in network.get_parameters():
        assign(parameter, arrays[PREFIX + parameter.name])


def flatten(arrays: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
    """Lay arrays end to end as one float32 vector."""
    return np.concatenate([np.asarray(a, np.float32).ravel() for a in arrays])
