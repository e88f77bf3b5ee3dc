"""MobileNetV3-Large as the backbone of SSDLite, with the halved tail that detectors use, or the
full one.

Heads and extra levels are not here.
"""

from __future__ import annotations

from mindspore import Tensor, nn, ops

from training.nets.backbone_tables import V3_AFTER_TAP, V3_BEFORE_TAP, V3_TAP_BLOCK, V3_TAP_CHANNELS
from training.nets.norm import Norm


class HardSwish(nn.Cell):
    """x * relu6(x + 3) / 6, from operators that every device and export format has."""

    def __init__(self) -> None:
        super().__init__()
        self.relu6 = nn.ReLU6()

    def construct(self, x: Tensor) -> Tensor:
        """Elementwise, any shape."""
        return x * (self.relu6(x + 3.0) * (1.0 / 6.0))


class SqueezeExcite(nn.Cell):
    """Scales each channel by a gate between 0 and 1 computed from all channels' means."""

    sees_everything = True  # `summary.py` leaves such cells out of the receptive field

    def __init__(self, channels: int) -> None:
        super().__init__()
        inside = divisible_by_8(channels / 4)
        self.reduce = nn.Conv2d(channels, inside, 1, has_bias=True)
        self.expand = nn.Conv2d(inside, channels, 1, has_bias=True)
        self.relu = nn.ReLU()
        self.relu6 = nn.ReLU6()

    def construct(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C, H, W)."""
        gate = self.expand(self.relu(self.reduce(ops.mean(x, (2, 3), True))))
        return x * (self.relu6(gate + 3.0) * (1.0 / 6.0))


class Block(nn.Cell):
    """Widen (1x1), filter each channel, squeeze and excite, narrow (1x1).

    Args:
        in_channels: Channels in.
        row: A row of the tables above.
        norm: Makes the normalisation layer.
        widened: The input is already widened: leave the first part out.
    """

    def __init__(
        self,
        in_channels: int,
        row: tuple[int, int, int, bool, bool, int],
        norm: Norm,
        widened: bool = False,
    ) -> None:
        super().__init__()
        kernel, hidden, out_channels, excite, swish, stride = row
        layers: list[nn.Cell] = []
        if hidden != in_channels and not widened:
            layers.append(conv_norm(in_channels, hidden, norm, swish, 1))
        layers.append(conv_norm(hidden, hidden, norm, swish, kernel, stride, groups=hidden))
        if excite:
            layers.append(SqueezeExcite(hidden))
        layers += [nn.Conv2d(hidden, out_channels, 1), norm(out_channels)]
        self.conv = nn.SequentialCell(layers)
        self.shortcut = stride == 1 and in_channels == out_channels and not widened

    def construct(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C', ceil(H / stride), ceil(W / stride))."""
        out = self.conv(x)
        return x + out if self.shortcut else out


class MobileNetV3(nn.Cell):
    """Returns two feature maps: the widened input of block 13 (step 16) and the last (step 32).

    Args:
        norm: Makes the normalisation layer.
        tail: `halved` or `full`: the channels after block 12, as detectors or as classifiers have
            them.
    """

    def __init__(self, norm: Norm, tail: str = "halved") -> None:
        super().__init__()
        layers: list[nn.Cell] = [conv_norm(3, 16, norm, True, 3, 2)]
        channels = 16
        for row in V3_BEFORE_TAP:
            layers.append(Block(channels, row, norm))
            channels = row[2]
        self.features_1 = nn.SequentialCell(layers)
        self.expand = conv_norm(channels, V3_TAP_CHANNELS, norm, True, 1)
        width = V3_TAP_BLOCK[2] * (2 if tail == "full" else 1)
        kernel, hidden, _, excite, swish, stride = V3_TAP_BLOCK
        first = (kernel, hidden, width, excite, swish, stride)
        layers = [Block(V3_TAP_CHANNELS, first, norm, widened=True)]
        for _ in range(V3_AFTER_TAP):
            layers.append(Block(width, (kernel, 6 * width, width, excite, swish, 1), norm))
        layers.append(conv_norm(width, last_channels(tail), norm, True, 1))
        self.features_2 = nn.SequentialCell(layers)

    def construct(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(N, 3, H, W) -> (N, 672, H/16, W/16), (N, 480 or 960, H/32, W/32), sides rounded up."""
        tap = self.expand(self.features_1(x))
        return tap, self.features_2(tap)


def last_channels(tail: str) -> int:
    """Channels of the last map.

    >>> last_channels("halved"), last_channels("full")
    (480, 960)
    """
    return 6 * V3_TAP_BLOCK[2] * (2 if tail == "full" else 1)


def conv_norm(
    in_channels: int,
    out_channels: int,
    norm: Norm,
    swish: bool,
    kernel_size: int,
    stride: int = 1,
    groups: int = 1,
) -> nn.SequentialCell:
    """Convolution, batch norm, hard swish or ReLU."""
    conv = nn.Conv2d(in_channels, out_channels, kernel_size, stride, pad_mode="same", group=groups)
    return nn.SequentialCell([conv, norm(out_channels), HardSwish() if swish else nn.ReLU()])


def divisible_by_8(channels: float) -> int:
    """Round to a multiple of 8, at least 8, never down by more than a tenth.

    >>> [divisible_by_8(c) for c in (18, 30, 120, 168)]
    [24, 32, 120, 168]
    """
    rounded = max(8, int(channels + 4) // 8 * 8)
    return rounded if rounded >= 0.9 * channels else rounded + 8
