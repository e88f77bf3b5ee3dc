"""VGG-16 without batch norm as the backbone of SSD, under the published names.

Heads and extra levels are not here.
"""

from __future__ import annotations

from mindspore import Tensor, nn

BLOCKS = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))
"""Channels of the 3x3 convolutions of each block (arXiv:1409.1556, configuration D)."""


class VGG16(nn.Cell):
    """Returns the output of block 4 (step 8) and, after a pooling of stride 1, block 5 (step 16)."""

    def __init__(self) -> None:
        super().__init__()
        channels = 3
        blocks = []
        for widths in BLOCKS:
            layers: list[nn.Cell] = []
            for width in widths:
                layers += [nn.Conv2d(channels, width, 3, pad_mode="same"), nn.ReLU()]
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
