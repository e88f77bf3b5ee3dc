"""The moving average of the weights, which evaluation uses (`optim.ema`).

How much of the old average an update keeps is in `schedule.py`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mindspore import Parameter, ParameterTuple, Tensor, nn, ops
from numpy.typing import NDArray

from training.learning.flat import Layout, joined

Arrays = dict[str, NDArray[Any]]


class WeightAverage(nn.Cell):
    """Exponential moving average of weights and of batch-norm statistics, all as one vector.

    Args:
        tracked: The parameters to average; their averages start as a copy of each.
    """

    def __init__(self, tracked: Sequence[Parameter]) -> None:
        super().__init__(auto_prefix=False)
        self.tracked = ParameterTuple(tracked)
        self.names = [p.name for p in tracked]
        self.layout = Layout([p.shape for p in tracked])
        first = joined({p.name: p.asnumpy() for p in tracked}, self.names)
        self.average = Parameter(Tensor(first), name="ema", requires_grad=False)

    def construct(self, decay: Tensor, finite: Tensor) -> Tensor:
        """Move every average towards its parameter, or none: a <- a + (1 - decay) (w - a)."""
        live = self.layout.join(self.tracked)
        before = self.average * 1.0
        moved = before + (1.0 - decay) * (live - before)
        ops.assign(self.average, ops.select(finite, moved, before))
        return decay

    def read(self) -> Arrays:
        """Return the averages by the names of their parameters."""
        return self.layout.arrays(self.names, self.average.asnumpy())

    def write(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Take over averages by the names of their parameters, all of them."""
        ops.assign(self.average, Tensor(joined(arrays, self.names)))

    def restart(self) -> None:
        """Begin anew at what the parameters are now."""
        self.write({p.name: p.asnumpy() for p in self.tracked})
