"""Momentum and Nesterov's form of it, with weight decay added to the gradient.

What it shares with AdamW is in `update.py`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from mindspore import Parameter, Tensor, ops
from numpy.typing import NDArray

from training.learning.flat import joined
from training.learning.settings import OptimSettings
from training.learning.update import Arrays, Update


class MomentumUpdate(Update):
    """Momentum or Nesterov, with weight decay and a rate factor for each weight.

    v <- momentum v + (g + decay w);  w <- w - rate v  (Nesterov: w <- w - rate (g + decay w +
    momentum v)).

    Every element goes through the operations that it would go through in a tensor of its own: the
    bits are those of MindSpore's `ApplyMomentum`, tensor by tensor
    (`tests/training/learning/test_optimizer.py`).
    """

    def __init__(
        self,
        weights: Sequence[Parameter],
        optim: OptimSettings,
        state: Mapping[str, NDArray[Any]],
    ) -> None:
        super().__init__(weights, optim, state)
        self.names = [moment_name(p) for p in weights]
        first = joined(state, self.names)
        self.moment = Parameter(Tensor(first), name="moments", requires_grad=False)
        self.momentum = float(optim.momentum)
        self.nesterov = optim.nesterov

    def moved(self, weights: Tensor, gradient: Tensor, rate: Tensor, finite: Tensor) -> Tensor:
        """Return where the weights go; take the new moments if `finite`.

        Args:
            weights: (P,) float32, all elements of all weights end to end.
            gradient: (P,) float32.
            rate: () learning rate.
            finite: () bool.
        """
        slope = gradient + self.decay * weights
        before = self.moment * 1.0
        velocity = self.momentum * before + slope
        step = slope + self.momentum * velocity if self.nesterov else velocity
        ops.assign(self.moment, ops.select(finite, velocity, before))
        return weights - rate * self.factor * step

    @staticmethod
    def first_state(weight: Parameter) -> Arrays:
        """Return a moment of zeros."""
        return {moment_name(weight): np.zeros(weight.shape, np.float32)}

    def state(self) -> Arrays:
        """Return the moments by name."""
        return self.layout.arrays(self.names, self.moment.asnumpy())

    def take_state(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Take over moments by name."""
        ops.assign(self.moment, Tensor(joined(state, self.names)))


def moment_name(parameter: Parameter) -> str:
    """Return the name of a weight's moment in a checkpoint."""
    return f"moments.{parameter.name}"
