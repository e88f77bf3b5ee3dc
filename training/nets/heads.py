"""The layers that turn feature maps into box regressions and class logits.

Which feature maps, and what becomes of the logits, is the network's business (`ssd.py`).
"""

from __future__ import annotations

from collections.abc import Sequence

from mindspore import Tensor, nn, ops

from training.nets.norm import Norm


class MultiBox(nn.Cell):
    """A depthwise-separable predictor of its own for every level, as in SSDLite.

    Args:
        channels: Channels of each feature map.
        per_cell: Default boxes of a cell on each level.
        num_classes: Classes including background.
        norm: Makes the normalisation layer.
    """

    def __init__(
        self, channels: Sequence[int], per_cell: Sequence[int], num_classes: int, norm: Norm
    ) -> None:
        super().__init__()
        levels = list(zip(channels, per_cell, strict=True))
        self.multi_loc_layers = nn.CellList([_predictor(c, 4 * k, norm) for c, k in levels])
        self.multi_cls_layers = nn.CellList(
            [_predictor(c, num_classes * k, norm) for c, k in levels]
        )
        self.num_classes = num_classes

    def construct(self, maps: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
        """Feature maps (N, C, H, W) -> regression (N, A, 4) and logits (N, A, num_classes)."""
        loc: tuple[Tensor, ...] = ()
        cls: tuple[Tensor, ...] = ()
        for i in range(len(maps)):
            loc += (self.multi_loc_layers[i](maps[i]),)
            cls += (self.multi_cls_layers[i](maps[i]),)
        return flatten_maps(loc, 4), flatten_maps(cls, self.num_classes)


class SharedMultiBox(nn.Cell):
    """One predictor for all levels of a pyramid; only its batch norms are a level's own.

    Args:
        channels: Channels of every feature map.
        levels: Number of feature maps.
        per_cell: Default boxes of a cell, the same on every level.
        num_classes: Classes including background.
        depth: Convolutions before the output, for each of regression and classes.
        norm: Makes the normalisation layer.
    """

    def __init__(
        self, channels: int, levels: int, per_cell: int, num_classes: int, depth: int, norm: Norm
    ) -> None:
        super().__init__()
        self.addition_layer_loc = _shared_tower(channels, levels, depth, norm)
        self.addition_layer_cls = _shared_tower(channels, levels, depth, norm)
        self.loc_layers = nn.SequentialCell([_dense(channels, 4 * per_cell)])
        self.cls_layers = nn.SequentialCell([_dense(channels, num_classes * per_cell)])
        self.num_classes = num_classes

    def construct(self, maps: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
        """Feature maps (N, C, H, W) -> regression (N, A, 4) and logits (N, A, num_classes)."""
        loc: tuple[Tensor, ...] = ()
        cls: tuple[Tensor, ...] = ()
        for i in range(len(maps)):
            loc += (self.loc_layers(self.addition_layer_loc[i](maps[i])),)
            cls += (self.cls_layers(self.addition_layer_cls[i](maps[i])),)
        return flatten_maps(loc, 4), flatten_maps(cls, self.num_classes)


class SharedConvBNReLU(nn.Cell):
    """`ConvBNReLU` around a convolution that other levels use too."""

    def __init__(self, conv: nn.Conv2d, channels: int, norm: Norm) -> None:
        super().__init__()
        self.features = nn.SequentialCell([conv, norm(channels), nn.ReLU6()])

    def construct(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C, H, W)."""
        return self.features(x)


class DenseMultiBox(nn.Cell):
    """One plain 3x3 convolution a level and output, as in the SSD paper.

    Args:
        channels: Channels of each feature map.
        per_cell: Default boxes of a cell on each level.
        num_classes: Classes including background.
    """

    def __init__(self, channels: Sequence[int], per_cell: Sequence[int], num_classes: int) -> None:
        super().__init__()
        levels = list(zip(channels, per_cell, strict=True))
        self.loc_layers = nn.CellList([_dense(c, 4 * k) for c, k in levels])
        self.cls_layers = nn.CellList([_dense(c, num_classes * k) for c, k in levels])
        self.num_classes = num_classes

    def construct(self, maps: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
        """Feature maps (N, C, H, W) -> regression (N, A, 4) and logits (N, A, num_classes)."""
        loc: tuple[Tensor, ...] = ()
        cls: tuple[Tensor, ...] = ()
        for i in range(len(maps)):
            loc += (self.loc_layers[i](maps[i]),)
            cls += (self.cls_layers[i](maps[i]),)
        return flatten_maps(loc, 4), flatten_maps(cls, self.num_classes)


def flatten_maps(maps: tuple[Tensor, ...], values: int) -> Tensor:
    """Join predictions of all levels: each (N, K * values, H, W) -> (N, A, values).

    The order is that of the default boxes: level, row, column, box.
    """
    rows: tuple[Tensor, ...] = ()
    for x in maps:
        rows += (ops.transpose(x, (0, 2, 3, 1)).reshape(x.shape[0], -1, values),)
    return ops.concat(rows, 1)


def _shared_tower(channels: int, levels: int, depth: int, norm: Norm) -> nn.CellList:
    convs = [_dense(channels, channels) for _ in range(depth)]
    return nn.CellList(
        [
            nn.SequentialCell([SharedConvBNReLU(conv, channels, norm) for conv in convs])
            for _ in range(levels)
        ]
    )


def _dense(channels: int, out_channels: int) -> nn.Conv2d:
    return nn.Conv2d(channels, out_channels, 3, pad_mode="same", has_bias=True)


def _predictor(channels: int, out_channels: int, norm: Norm) -> nn.SequentialCell:
    depthwise = nn.Conv2d(channels, channels, 3, pad_mode="same", group=channels)
    pointwise = nn.Conv2d(channels, out_channels, 1, pad_mode="same", has_bias=True)
    return nn.SequentialCell([depthwise, norm(channels), nn.ReLU6(), pointwise])
