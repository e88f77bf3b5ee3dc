"""The global norm of gradients that lie end to end in one vector, in the two ways that suit CPU and
card.

What is done with it - the finite check, clipping - is in `step.py`.
"""

from __future__ import annotations

from mindspore import Tensor, nn, ops

from training.learning.flat import Layout


class NormByTensor(nn.Cell):
    """The global norm as the sum of each tensor's own sum of squares: for CPU, which adds in order.

    Args:
        layout: Where each tensor lies.
    """

    def __init__(self, layout: Layout) -> None:
        super().__init__(auto_prefix=False)
        self.layout, self.each = layout, ops.HyperMap()

    def construct(self, flat: Tensor, factor: Tensor) -> Tensor:
        """Return the norm of `factor` times the vector: ()."""
        pieces = self.layout.cut(flat)
        return ops.sqrt(ops.addn(self.each(ops.partial(square_sum, factor), pieces)))


class NormOfVector(nn.Cell):
    """The global norm in one sum: for a card, whose sums are trees and whose kernels are to be
    few.
    """

    def construct(self, flat: Tensor, factor: Tensor) -> Tensor:
        """Return the norm of `factor` times the vector: ()."""
        return ops.sqrt(square_sum(factor, flat))


def square_sum(factor: Tensor, gradient: Tensor) -> Tensor:
    """Return the squared norm of a gradient times `factor`."""
    return ops.square(gradient * factor).sum()
