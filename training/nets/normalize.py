"""From pixels to network input, on the device: uint8 or float RGB to normalised float32.

Resizing and colour order are the pipeline's business.
"""

from __future__ import annotations

from collections.abc import Sequence

import mindspore as ms
import numpy as np
from mindspore import Tensor, nn, ops


class Normalize(nn.Cell):
    """(x - mean) / std for each channel.

    Args:
        mean: Three means, RGB, in units of 0..255 pixels.
        std: Three deviations, RGB.
    """

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        # Constants, not parameters: they must not appear in checkpoints.
        self.mean = Tensor(np.asarray(mean, np.float32).reshape(1, 3, 1, 1))
        self.std = Tensor(np.asarray(std, np.float32).reshape(1, 3, 1, 1))

    def construct(self, images: Tensor) -> Tensor:
        """(N, 3, H, W) uint8 or float RGB in 0..255 -> float32 of the same shape."""
        return (ops.cast(images, ms.float32) - self.mean) / self.std
