"""The feature pyramid of the FPN models: top-down path, smoothing, coarser levels below.

Backbones and the shared head are not here.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import numpy.typing as npt
from mindspore import Tensor, nn, ops

from training.nets.layers import conv_bn_relu, same_side
from training.nets.norm import Norm

CHANNELS = 256
"""Channels of every level of the pyramid."""


class TopDown(nn.Cell):
    """Adds each coarser map, enlarged, to the next finer one.

    Args:
        channels: Channels of the backbone's maps, finest first.
        sizes: Height and width of those maps.
        norm: Makes the normalisation layer.
    """

    def __init__(
        self, channels: Sequence[int], sizes: Sequence[tuple[int, int]], norm: Norm
    ) -> None:
        super().__init__()
        self.lateral_convs_list = nn.CellList(
            [nn.Conv2d(c, CHANNELS, 1, pad_mode="same", has_bias=True) for c in channels]
        )
        self.fpn_convs_list = nn.CellList(
            [conv_bn_relu(CHANNELS, CHANNELS, norm) for _ in channels]
        )
        self.enlarge = nn.CellList([Enlarge(coarse, fine) for fine, coarse in pairwise(sizes)])

    def construct(self, maps: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """Maps of the backbone, finest first -> as many maps of 256 channels."""
        last = len(maps) - 1
        merged = self.lateral_convs_list[last](maps[last])
        out: tuple[Tensor, ...] = (self.fpn_convs_list[last](merged),)
        for i in range(last - 1, -1, -1):
            merged = self.enlarge[i](merged) + self.lateral_convs_list[i](maps[i])
            out = (self.fpn_convs_list[i](merged),) + out
        return out


class BottomUp(nn.Cell):
    """Appends coarser maps, each a strided convolution of the one before."""

    def __init__(self, levels: int, norm: Norm) -> None:
        super().__init__()
        self.blocks = nn.CellList(
            [conv_bn_relu(CHANNELS, CHANNELS, norm, stride=2) for _ in range(levels)]
        )

    def construct(self, maps: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """N maps -> n + levels maps."""
        for block in self.blocks:
            maps += (block(maps[-1]),)
        return maps


class Enlarge(nn.Cell):
    """Bilinear resize without half-pixel centres, as the published models do it.

    Output pixel i reads input position i * in / out; the last row and column repeat. Two products
    with constant matrices: the same on every device and in every export format, whereas the resize
    operator of that kind is not offered by all of them.

    Args:
        size_in: Height and width of the input.
        size_out: Height and width of the output.
    """

    def __init__(self, size_in: tuple[int, int], size_out: tuple[int, int]) -> None:
        super().__init__()
        self.rows = Tensor(interpolation(size_in[0], size_out[0]))
        self.columns = Tensor(np.ascontiguousarray(interpolation(size_in[1], size_out[1]).T))

    def construct(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C, H', W')."""
        x = ops.matmul(x, ops.cast(self.columns, x.dtype))
        return ops.matmul(ops.cast(self.rows, x.dtype), x)


def interpolation(size_in: int, size_out: int) -> npt.NDArray[np.float32]:
    """The matrix (size_out, size_in) that resizes one axis linearly.

    >>> interpolation(2, 4).tolist()
    [[1.0, 0.0], [0.5, 0.5], [0.0, 1.0], [0.0, 1.0]]
    """
    position = np.arange(size_out) * (size_in / size_out)
    low = np.floor(position).astype(int)
    high = np.minimum(low + 1, size_in - 1)
    share = position - low
    matrix = np.zeros((size_out, size_in), np.float32)
    np.add.at(matrix, (np.arange(size_out), low), 1 - share)
    np.add.at(matrix, (np.arange(size_out), high), share)
    return matrix


def pyramid_sides(side: int) -> list[int]:
    """Side of each level for an image side: 640 -> 80, 40, 20, 10, 5."""
    sides = [side]
    for _ in range(7):
        sides.append(same_side(sides[-1]))
    return sides[3:]
