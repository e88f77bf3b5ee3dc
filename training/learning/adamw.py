"""AdamW: steps as long as the rate says, whatever the size of a gradient, and decoupled decay.

What it shares with momentum is in `update.py`.
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

KINDS = ("moment1", "moment2", "moment_shares")
"""Names in a checkpoint are KIND.NAME of the weight: two moments, and the (2,) shares below."""


class AdamWUpdate(Update):
    """Adam with decoupled weight decay and bias correction.

    m <- b1 m + (1 - b1) g;  v <- b2 v + (1 - b2) g^2;
    w <- w - rate (m / (1 - b1^n) / (sqrt(v / (1 - b2^n)) + eps) + decay w)

    after the weight's n-th update (Kingma and Ba, arXiv:1412.6980; Loshchilov and Hutter,
    arXiv:1711.05101, whose schedule multiplier and rate are one number here, as in the usual
    implementations). A weight's factor (`optim.lr_factors`) multiplies its rate, so its decay too.

    The corrections are carried as what they are, the sum of the shares that gradients have in a
    moment: c <- b c + (1 - b) from 0 is 1 - b^n without a power, in float32 exact to its last
    digits from the first update on (1 - 0.999^1 by a float32 power has four digits). An update that
    is left out does not count. Weights that thaw later begin with shares of 0; as long as all
    weights have had the same updates, one number serves them all.
    """

    def __init__(
        self,
        weights: Sequence[Parameter],
        optim: OptimSettings,
        state: Mapping[str, NDArray[Any]],
    ) -> None:
        super().__init__(weights, optim, state)
        self.names = [[f"{kind}.{p.name}" for p in weights] for kind in KINDS]
        first, second, share1, share2 = self.vectors(state)
        self.first = Parameter(Tensor(first), name="moments1", requires_grad=False)
        self.second = Parameter(Tensor(second), name="moments2", requires_grad=False)
        self.share1 = Parameter(Tensor(share1), name="shares1", requires_grad=False)
        self.share2 = Parameter(Tensor(share2), name="shares2", requires_grad=False)
        self.beta1, self.beta2 = (float(beta) for beta in optim.betas)
        self.rest1, self.rest2 = 1.0 - self.beta1, 1.0 - self.beta2
        self.eps = float(optim.eps)

    def moved(self, weights: Tensor, gradient: Tensor, rate: Tensor, finite: Tensor) -> Tensor:
        """Return where the weights go; take the new moments and shares if `finite`.

        Args:
            weights: (P,) float32, all elements of all weights end to end.
            gradient: (P,) float32.
            rate: () learning rate.
            finite: () bool.
        """
        first, second = self.first * 1.0, self.second * 1.0
        share1, share2 = self.share1 * 1.0, self.share2 * 1.0
        new1 = self.beta1 * first + self.rest1 * gradient
        new2 = self.beta2 * second + self.rest2 * ops.square(gradient)
        more1 = self.beta1 * share1 + self.rest1
        more2 = self.beta2 * share2 + self.rest2
        step = new1 / more1 / (ops.sqrt(new2 / more2) + self.eps)
        ops.assign(self.first, ops.select(finite, new1, first))
        ops.assign(self.second, ops.select(finite, new2, second))
        ops.assign(self.share1, ops.select(finite, more1, share1))
        ops.assign(self.share2, ops.select(finite, more2, share2))
        return weights - rate * self.factor * (step + self.decay * weights)

    @staticmethod
    def first_state(weight: Parameter) -> Arrays:
        """Return moments and shares of zeros."""
        shapes = (weight.shape, weight.shape, (2,))
        return {
            f"{kind}.{weight.name}": np.zeros(shape, np.float32)
            for kind, shape in zip(KINDS, shapes, strict=True)
        }

    def vectors(self, state: Mapping[str, NDArray[Any]]) -> tuple[NDArray[np.float32], ...]:
        """Return both moments end to end, and the shares: one each, or each element's where weights
        differ.
        """
        shares = np.stack([np.asarray(state[name], np.float32) for name in self.names[2]])
        if (shares == shares[0]).all():
            shares = shares[:1]
        else:
            shares = np.repeat(shares, self.layout.sizes, axis=0)
        moments = (joined(state, self.names[0]), joined(state, self.names[1]))
        return (*moments, shares[:, 0].copy(), shares[:, 1].copy())

    def state(self) -> Arrays:
        """Return moments and shares by name."""
        arrays = self.layout.arrays(self.names[0], self.first.asnumpy())
        arrays |= self.layout.arrays(self.names[1], self.second.asnumpy())
        shares = np.stack((self.share1.asnumpy(), self.share2.asnumpy()), 1)
        starts = np.cumsum([0, *self.layout.sizes[:-1]])
        for name, start in zip(self.names[2], starts, strict=True):
            arrays[name] = shares[start if len(shares) > 1 else 0].copy()
        return arrays

    def take_state(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Take over moments and shares by name.

        Raises:
            ValueError: If shares differ between weights and did not when this cell was built.
        """
        values = self.vectors(state)
        if values[2].size > self.share1.size:
            raise ValueError("shares of moments differ now: build the update anew")
        for target, value in zip(
            (self.first, self.second, self.share1, self.share2), values, strict=True
        ):
            ops.assign(target, Tensor(np.broadcast_to(value, target.shape).copy()))
