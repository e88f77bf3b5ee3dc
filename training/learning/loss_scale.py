"""The dynamic loss scale of half precision.

Whether a step was finite is decided in `step.py`.
"""

from __future__ import annotations

import math

import mindspore as ms
from mindspore import Parameter, Tensor, nn, ops

SCALE_FLOOR = 2.0**-14
"""Below this the scale is not to blame for what is not finite."""

POSITIVES_PER_IMAGE = 64
"""Four times what COCO's images have: at random weights the loss of the negatives weighs more than
theirs.

It need not be exact, since the scale finds its size by itself. With 16, ssd300's first step
overflowed."""


def share_of(images: int) -> float:
    """Return what the loss sum of a batch is multiplied by in addition to the scale.

    A sum over a batch is hundreds of times the loss that a scale is chosen for. Its true divisor,
    the positives of all ranks, is known only after the all-reduce, so the number to expect stands
    in. Of the global batch: what half precision rounds is then the same on one device and on many,
    and whether a batch is cut into parts. A power of two: it changes no bit of a gradient that is
    not rounded away.

    Args:
        images: Images of a step on all devices.

    >>> share_of(1), share_of(32)
    (0.015625, 0.00048828125)
    """
    return 2.0 ** -round(math.log2(POSITIVES_PER_IMAGE * images))


class LossScale(nn.Cell):
    """Dynamic loss scale for half precision; constant 1 when it is off.

    Args:
        first: Initial scale.
        window: Good steps in a row after which it doubles.
        active: False keeps the scale at 1.
        share: A constant in addition to the scale, see `share_of`; without effect when it is off.
    """

    def __init__(self, first: float, window: int, active: bool, share: float = 1.0) -> None:
        super().__init__(auto_prefix=False)
        self.share = share if active else 1.0
        self.active, self.window = active, float(window)
        self.scale = Parameter(Tensor(first if active else 1.0, ms.float32), name="loss_scale")
        self.good = Parameter(Tensor(0.0, ms.float32), name="loss_scale_good_steps")

    def factor(self) -> Tensor:
        """Return what the loss sum is multiplied by, and the gradients are divided by: ()
        float32.
        """
        return self.scale * self.share

    def adjust(self, finite: Tensor) -> None:
        """Halve after an overflow, double after `window` good steps in a row."""
        good = ops.select(finite, self.good + 1.0, ops.zeros_like(self.good))
        full = good >= self.window
        grown = ops.select(full, self.scale * 2.0, self.scale)
        shrunk = ops.maximum(self.scale * 0.5, Tensor(SCALE_FLOOR, ms.float32))
        ops.assign(self.scale, ops.select(finite, grown, shrunk))
        ops.assign(self.good, ops.select(full, ops.zeros_like(good), good))
