"""MobileNetV2 as the backbone of SSD300, under the published names.

Heads and extra levels are not here.
"""

from __future__ import annotations

from mindspore import Tensor, nn

from training.nets.backbone_tables import V2_STAGES
from training.nets.layers import ConvBNReLU, InvertedResidual
from training.nets.norm import Norm

TAP = 13
"""The block whose widened input is the first feature map of SSD."""

TAP_CHANNELS = 576
LAST_CHANNELS = 1280


class MobileNetV2(nn.Cell):
    """Returns two feature maps: the widened input of block 13 (step 16) and the last (step 32)."""

    def __init__(self, norm: Norm) -> None:
        super().__init__()
        layers: list[nn.Cell] = [ConvBNReLU(3, 32, norm, stride=2)]
        channels = 32
        for ratio, width, blocks, first_stride in V2_STAGES:
            for i in range(blocks):
                if len(layers) == TAP + 1:
                    # Created here, before the stages: published checkpoints list it first.
                    self.expand_layer_conv_13 = ConvBNReLU(
                        channels, channels * ratio, norm, kernel_size=1
                    )
                stride = first_stride if i == 0 else 1
                layers.append(InvertedResidual(channels, width, norm, stride, ratio))
                channels = width
        layers.append(ConvBNReLU(channels, LAST_CHANNELS, norm, kernel_size=1))
        self.features_1 = nn.SequentialCell(layers[: TAP + 1])
        self.features_2 = nn.SequentialCell(layers[TAP + 1 :])

    def construct(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(N, 3, H, W) -> (N, 576, H/16, W/16), (N, 1280, H/32, W/32), sides rounded up."""
        x = self.features_1(x)
        return self.expand_layer_conv_13(x), self.features_2(x)
