"""What every optimizer does alike: all weights as one vector, moved or left as they are.

The rules are in `momentum.py` and `adamw.py`; who has which state is in `optimizer.py`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from mindspore import Parameter, ParameterTuple, Tensor, nn, ops
from numpy.typing import NDArray

from training.learning.flat import Layout, joined
from training.learning.settings import OptimSettings
from training.learning.weight_groups import decay_of, factor_of

Arrays = dict[str, NDArray[Any]]


class Update(nn.Cell):
    """Moves weights along their gradients, all as one vector; a subclass has the rule and its
    state.

    Nothing in it branches: both outcomes are computed and one is taken, so a card need not wait for
    the host to decide.

    Args:
        weights: The weights.
        optim: The optimizer settings.
        state: The optimizer's state by name, that of the weights among it.
    """

    def __init__(
        self,
        weights: Sequence[Parameter],
        optim: OptimSettings,
        state: Mapping[str, NDArray[Any]],
    ) -> None:
        super().__init__(auto_prefix=False)
        self.weights = ParameterTuple(weights)
        self.layout = Layout([p.shape for p in weights])
        # The weights once more, end to end: joining them anew would take a kernel for each.
        self.copy = Parameter(Tensor(self.joined_weights()), name="weights", requires_grad=False)
        sizes = self.layout.sizes
        self.decay: Any = per_element([decay_of(p.name, optim) for p in weights], sizes, "decays")
        self.factor: Any = per_element(
            [factor_of(p.name, optim) for p in weights], sizes, "factors"
        )

    def construct(self, gradient: Tensor, scale: Tensor, rate: Tensor, finite: Tensor) -> Tensor:
        """Move every weight along `scale` times its gradient, or none at all; return the rate.

        Args:
            gradient: (total size,) gradients, end to end.
            scale: () what they are multiplied by.
            rate: () learning rate.
            finite: () bool; False leaves weights and state as they are.
        """
        weights = self.copy * 1.0
        moved = self.moved(weights, gradient * scale, rate, finite)
        kept = ops.select(finite, moved, weights)
        ops.assign(self.copy, kept)
        self.layout.put(self.weights, kept)
        return rate

    def moved(self, weights: Tensor, gradient: Tensor, rate: Tensor, finite: Tensor) -> Tensor:
        """Return where the weights go; take the new state if `finite`.

        Args:
            weights: (total size,) weights, end to end.
            gradient: (total size,) their gradients.
            rate: () learning rate.
            finite: () bool.
        """
        raise NotImplementedError

    @staticmethod
    def first_state(weight: Parameter) -> Arrays:
        """Return the state of a weight before its first update, by name."""
        raise NotImplementedError

    def state(self) -> Arrays:
        """Return the state of the weights as it is now, by name."""
        raise NotImplementedError

    def take_state(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Take over a state by name."""
        raise NotImplementedError

    def take(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Take over a state by name, and the weights as they are now."""
        self.take_state(state)
        ops.assign(self.copy, Tensor(self.joined_weights()))

    def joined_weights(self) -> NDArray[np.float32]:
        """Return the weights as they are now, end to end."""
        return joined({p.name: p.asnumpy() for p in self.weights}, [p.name for p in self.weights])


def per_element(values: Sequence[float], sizes: Sequence[int], name: str) -> float | Parameter:
    """Return one number for all elements, or where tensors differ a vector with each one's."""
    if len(set(values)) == 1:
        return values[0]
    flat = np.repeat(np.asarray(values, np.float32), sizes)
    return Parameter(Tensor(flat), name=name, requires_grad=False)
