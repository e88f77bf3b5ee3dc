"""VGG-16 without batch norm as the backbone of SSD, under the published names; and its scaled L2
norm.

Heads and extra levels are not here.
"""

from __future__ import annotations

import mindspore as ms
import numpy as np
from mindspore import Parameter, Tensor, nn, ops

from training.nets.backbone_tables import VGG16_BLOCKS


class VGG16(nn.Cell):
    """Returns the output of block 4 (step 8) and, after a pooling of stride 1, block 5 (step 16).

    Args:
        biases: Convolutions have biases, as in the paper; the published MindSpore model has none.
    """

    def __init__(self, biases: bool = False) -> None:
        super().__init__()
        channels = 3
        blocks = []
        for widths in VGG16_BLOCKS:
            layers: list[nn.Cell] = []
            for width in widths:
                layers += [
                    nn.Conv2d(channels, width, 3, pad_mode="same", has_bias=biases),
                    nn.ReLU(),
                ]
                channels = width
            blocks.append(nn.SequentialCell(layers))
        self.b1, self.b2, self.b3, self.b4, self.b5 = blocks
        self.pool = nn.MaxPool2d(2, 2, pad_mode="same")
        self.last_pool = nn.MaxPool2d(3, 1, pad_mode="same")

    def construct(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(N, 3, H, W) -> (N, 512, H/8, W/8), (N, 512, H/16, W/16), sides rounded up."""
        x = self.pool(self.b1(x))
        x = self.pool(self.b2(x))
        x = self.pool(self.b3(x))
        block4 = self.b4(x)
        return block4, self.last_pool(self.b5(self.pool(block4)))


class ScaledL2Norm(nn.Cell):
    """Scales every position's channels to length 1, then each channel by a factor that is learnt.

    The map of block 4 has much larger values than the ones behind it; the paper starts the factors
    at 20 (arXiv:1512.02325, section 3.1, after ParseNet).
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.gamma = Parameter(ms.Tensor(np.full(channels, 20.0, np.float32)), name="gamma")

    def construct(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> the same shape."""
        squares = ops.cast(ops.square(ops.cast(x, ms.float32)).sum(1, keepdims=True), ms.float32)
        length = ops.cast(ops.sqrt(ops.maximum(squares, 1e-24)), x.dtype)
        return x / length * ops.cast(self.gamma, x.dtype).reshape(-1, 1, 1)


def classifier_layer(name: str) -> str | None:
    """What VGG-16 classifiers of MindSpore call a parameter: they count layers, activations and
    poolings too.

    >>> classifier_layer("backbone.b2.0.weight"), classifier_layer("b6_1.weight")
    ('layers.5.weight', None)
    """
    parts = name.split(".")
    if parts[0] != "backbone":
        return None
    block, layer = int(parts[1][1:]) - 1, int(parts[2])
    before = sum(2 * len(widths) + 1 for widths in VGG16_BLOCKS[:block])
    return f"layers.{before + layer}.{parts[3]}"
