"""Building blocks that several networks share: convolution with normalisation, inverted residual.

Attribute names decide the parameter names of checkpoints, so they are those of the published files.
"""

from __future__ import annotations

from mindspore import Tensor, nn

from training.nets.norm import Norm


class ConvBNReLU(nn.Cell):
    """Convolution, batch norm, ReLU6; `groups` > 1 makes it depthwise.

    Args:
        in_channels: Channels in.
        out_channels: Channels out.
        norm: Makes the normalisation layer.
        kernel_size: Side of the kernel.
        stride: Stride; with `same` padding the side becomes ceil(side / stride).
        groups: Groups of the convolution.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        norm: Norm,
        kernel_size: int = 3,
        stride: int = 1,
        groups: int = 1,
    ) -> None:
        super().__init__()
        conv = nn.Conv2d(
            in_channels, out_channels, kernel_size, stride, pad_mode="same", group=groups
        )
        self.features = nn.SequentialCell([conv, norm(out_channels), nn.ReLU6()])

    def construct(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C', ceil(H / stride), ceil(W / stride))."""
        return self.features(x)


class InvertedResidual(nn.Cell):
    """MobileNetV2's block: widen (1x1), filter each channel (3x3), narrow (1x1).

    Args:
        in_channels: Channels in.
        out_channels: Channels out.
        norm: Makes the normalisation layer.
        stride: Stride of the 3x3 part.
        expand_ratio: How much the block widens; 1 leaves the first part out.
        last_relu: End with a ReLU6, as the extra levels of SSD do.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        norm: Norm,
        stride: int,
        expand_ratio: float,
        last_relu: bool = False,
    ) -> None:
        super().__init__()
        hidden = round(in_channels * expand_ratio)
        widen = [] if expand_ratio == 1 else [ConvBNReLU(in_channels, hidden, norm, kernel_size=1)]
        self.conv = nn.SequentialCell(
            [
                *widen,
                ConvBNReLU(hidden, hidden, norm, stride=stride, groups=hidden),
                nn.Conv2d(hidden, out_channels, 1),
                norm(out_channels),
            ]
        )
        self.shortcut = stride == 1 and in_channels == out_channels
        self.last_relu = last_relu
        self.relu = nn.ReLU6()

    def construct(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C', ceil(H / stride), ceil(W / stride))."""
        out = self.conv(x)
        if self.shortcut:
            out = x + out
        if self.last_relu:
            out = self.relu(out)
        return out


def conv_bn_relu(
    in_channels: int,
    out_channels: int,
    norm: Norm,
    kernel_size: int = 3,
    stride: int = 1,
    groups: int = 1,
) -> nn.SequentialCell:
    """The same three layers as `ConvBNReLU`, under the bare names `0`, `1`, `2`."""
    conv = nn.Conv2d(in_channels, out_channels, kernel_size, stride, pad_mode="same", group=groups)
    return nn.SequentialCell([conv, norm(out_channels), nn.ReLU6()])


def same_side(side: int, stride: int = 2) -> int:
    """Side of a feature map after a convolution with `same` padding."""
    return -(-side // stride)


def same_sides(side: int, halvings: int) -> list[int]:
    """Sides after 0, 1, ... `halvings` layers of stride 2 with `same` padding.

    >>> same_sides(300, 4)
    [300, 150, 75, 38, 19]
    """
    sides = [side]
    for _ in range(halvings):
        sides.append(same_side(sides[-1]))
    return sides
