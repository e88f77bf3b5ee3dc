"""MobileNetV1 as a backbone, under the published names.

Heads, extra levels and the feature pyramid are not here.
"""

from __future__ import annotations

from collections.abc import Sequence

from mindspore import Tensor, nn

from training.nets.backbone_tables import V1_BLOCKS
from training.nets.layers import conv_bn_relu
from training.nets.norm import Norm


class MobileNetV1(nn.Cell):
    """Returns the outputs of chosen layers.

    Args:
        norm: Makes the normalisation layer.
        taps: Which layers: 0 is the first convolution, then two a block, depthwise and pointwise.
    """

    def __init__(self, norm: Norm, taps: Sequence[int]) -> None:
        super().__init__()
        layers = [conv_bn_relu(3, 32, norm, stride=2)]
        channels = 32
        for width, stride in V1_BLOCKS:
            layers.append(conv_bn_relu(channels, channels, norm, stride=stride, groups=channels))
            layers.append(conv_bn_relu(channels, width, norm, kernel_size=1))
            channels = width
        self.network = nn.CellList(layers)
        self.taps = tuple(taps)

    def construct(self, x: Tensor) -> tuple[Tensor, ...]:
        """(N, 3, H, W) -> the feature maps of the taps, in their order."""
        maps: tuple[Tensor, ...] = ()
        for i in range(len(self.network)):
            x = self.network[i](x)
            if i in self.taps:
                maps += (x,)
        return maps
