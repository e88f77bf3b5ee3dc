"""Batch-norm statistics around a step that is left out: kept before it, put back after it.

The forward pass has already moved them when it turns out that something is not finite (`step.py`).
"""

from __future__ import annotations

from collections.abc import Sequence

from mindspore import Parameter, ParameterTuple, Tensor, nn, ops

from training.learning.flat import Layout


class Statistics(nn.Cell):
    """The statistics of a network, and a copy of them as the last good step left them.

    Args:
        live: Parameters that the forward pass moves by itself, at least one.
    """

    def __init__(self, live: Sequence[Parameter]) -> None:
        super().__init__(auto_prefix=False)
        self.live = ParameterTuple(live)
        self.layout = Layout([p.shape for p in live])
        first = self.layout.join(tuple(live))
        self.last_good = Parameter(Tensor(first.asnumpy()), name="last_good", requires_grad=False)

    def keep(self) -> Tensor:
        """Copy the statistics, before a step."""
        return ops.assign(self.last_good, self.layout.join(self.live))

    def restore(self) -> Tensor:
        """Put the copy back, after a step that was left out."""
        kept = self.last_good * 1.0
        self.layout.put(self.live, kept)
        return kept

    def settle(self, finite: Tensor) -> Tensor:
        """Keep the statistics if the step was finite, else put the copy back; all on the device.

        It takes a kernel for each statistic, so only steps whose results nobody reads in between do
        it.
        """
        kept = ops.select(finite, self.layout.join(self.live), self.last_good * 1.0)
        self.layout.put(self.live, kept)
        return ops.assign(self.last_good, kept)
