"""The dynamic loss scale of half precision.

Whether a step was finite is decided in `step.py`.
"""

from __future__ import annotations

import mindspore as ms
from mindspore import Parameter, Tensor, nn, ops

SCALE_FLOOR = 2.0**-14
"""Below this the scale is not to blame for what is not finite."""


class LossScale(nn.Cell):
    """Dynamic loss scale for half precision; constant 1 when it is off.

    Args:
        first: Initial scale.
        window: Good steps in a row after which it doubles.
        active: False keeps the scale at 1.
    """

    def __init__(self, first: float, window: int, active: bool) -> None:
        super().__init__(auto_prefix=False)
        self.active, self.window = active, float(window)
        self.scale = Parameter(Tensor(first if active else 1.0, ms.float32), name="loss_scale")
        self.good = Parameter(Tensor(0.0, ms.float32), name="loss_scale_good_steps")

    def adjust(self, finite: Tensor) -> None:
        """Halve after an overflow, double after `window` good steps in a row."""
        good = ops.select(finite, self.good + 1.0, ops.zeros_like(self.good))
        full = good >= self.window
        grown = ops.select(full, self.scale * 2.0, self.scale)
        shrunk = ops.maximum(self.scale * 0.5, Tensor(SCALE_FLOOR, ms.float32))
        ops.assign(self.scale, ops.select(finite, grown, shrunk))
        ops.assign(self.good, ops.select(full, ops.zeros_like(good), good))
