"""SSD light: our own, 1.2 million parameters, a pyramid down and up, one box a cell.

Few, dense convolutions, as CPUs like them; no published weights. What it is made of: blocks as in
CSPNet (arXiv:1911.11929), a second path from fine to coarse as in PANet (arXiv:1803.01534),
separate features for classes and boxes as in FCOS (arXiv:1904.01355).
"""

from __future__ import annotations

from mindspore import Tensor, nn, ops

from training.nets.anchors import boxes_per_cell
from training.nets.feature_maps import feature_sizes
from training.nets.fpn import Enlarge
from training.nets.heads import flatten_maps
from training.nets.layers import same_sides
from training.nets.norm import Norm, make_norm
from training.nets.settings import ModelSettings
from training.nets.ssd import SSD

STEM = ((32, 7, 4), (32, 3, 1))
"""Channels, kernel and stride before the first level: one large convolution, see `ssd_tiny.py`."""

STAGES = ((64, 1), (128, 2), (160, 1))
"""Channels and bottlenecks of each level: steps 8, 16 and 32."""

NECK = 64
"""Channels of every map that the head sees."""


class SSDLight(SSD):
    """Three levels."""

    class_head = "multi_box.cls_layers.*"
    takes_bins = True
    last_layers = ("multi_box.cls_layers.*", "multi_box.loc_layers.*")

    def __init__(self, model: ModelSettings, num_classes: int) -> None:
        super().__init__(model, num_classes)
        norm = make_norm(model.norm)
        channels = 3
        stem = []
        for width, kernel, stride in STEM:
            stem.append(conv(channels, width, norm, kernel, stride))
            channels = width
        self.stem = nn.SequentialCell(stem)
        stages = []
        for width, blocks in STAGES:
            stages.append(
                nn.SequentialCell([conv(channels, width, norm, 3, 2), Stage(width, blocks, norm)])
            )
            channels = width
        self.stages = nn.CellList(stages)
        self.neck = Neck([width for width, _ in STAGES], feature_sizes(model), norm)
        values = 4 * max(1, model.box_bins)
        self.multi_box = TwoBranchHead(boxes_per_cell(model.anchors), num_classes, norm, values)

    def features(self, x: Tensor) -> tuple[Tensor, ...]:
        """(N, 3, H, W) -> three maps of `NECK` channels."""
        x = self.stem(x)
        maps: tuple[Tensor, ...] = ()
        for stage in self.stages:
            x = stage(x)
            maps += (x,)
        return self.neck(maps)

    def in_backbone(self, name: str) -> bool:
        """All but neck and head."""
        return name.startswith(("stem.", "stages."))


class Stage(nn.Cell):
    """Half of the channels pass through bottlenecks; what each gives is kept and mixed at the end.

    Args:
        channels: Channels in and out.
        blocks: Bottlenecks.
        norm: Makes the normalisation layer.
    """

    def __init__(self, channels: int, blocks: int, norm: Norm) -> None:
        super().__init__()
        self.half = channels // 2
        self.split = conv(channels, channels, norm, 1)
        self.blocks = nn.CellList([Bottleneck(self.half, norm) for _ in range(blocks)])
        self.mix = conv(channels + blocks * self.half, channels, norm, 1)

    def construct(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C, H, W)."""
        both = self.split(x)
        last = both[:, self.half :]
        parts: tuple[Tensor, ...] = (both,)
        for block in self.blocks:
            last = block(last)
            parts += (last,)
        return self.mix(ops.concat(parts, 1))


class Bottleneck(nn.Cell):
    """Two 3x3 convolutions and a shortcut."""

    def __init__(self, channels: int, norm: Norm) -> None:
        super().__init__()
        self.convs = nn.SequentialCell(
            [conv(channels, channels, norm), conv(channels, channels, norm)]
        )

    def construct(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C, H, W)."""
        return x + self.convs(x)


class Neck(nn.Cell):
    """From coarse to fine, then from fine to coarse; maps are added.

    Args:
        channels: Channels of the backbone's maps, finest first.
        sizes: Height and width of those maps.
        norm: Makes the normalisation layer.
    """

    def __init__(self, channels: list[int], sizes: list[tuple[int, int]], norm: Norm) -> None:
        super().__init__()
        steps = range(len(channels) - 1)
        self.lateral = nn.CellList([conv(c, NECK, norm, 1) for c in channels])
        self.enlarge = nn.CellList([Enlarge(sizes[i + 1], sizes[i]) for i in steps])
        self.down = nn.CellList([conv(NECK, NECK, norm) for _ in steps])
        self.shrink = nn.CellList([conv(NECK, NECK, norm, 3, 2) for _ in steps])
        self.up = nn.CellList([conv(NECK, NECK, norm) for _ in steps])

    def construct(self, maps: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """Maps of the backbone, finest first -> as many of `NECK` channels."""
        last = len(maps) - 1
        merged = self.lateral[last](maps[last])
        path: tuple[Tensor, ...] = (merged,)
        for i in range(last - 1, -1, -1):
            merged = self.down[i](self.enlarge[i](merged) + self.lateral[i](maps[i]))
            path = (merged,) + path
        out: tuple[Tensor, ...] = (path[0],)
        for i in range(last):
            out += (self.up[i](self.shrink[i](out[-1]) + path[i + 1]),)
        return out


class TwoBranchHead(nn.Cell):
    """A 3x3 convolution for classes and one for boxes on each level, computed as one, then 1x1.

    Args:
        per_cell: Default boxes of a cell on each level.
        num_classes: Classes including background.
        norm: Makes the normalisation layer.
        values: Numbers that stand for a box, V: 4, or 4 * `model.box_bins`.
    """

    def __init__(self, per_cell: list[int], num_classes: int, norm: Norm, values: int) -> None:
        super().__init__()
        self.branches = nn.CellList([conv(NECK, 2 * NECK, norm) for _ in per_cell])
        self.loc_layers = nn.CellList(
            [nn.Conv2d(NECK, values * k, 1, has_bias=True) for k in per_cell]
        )
        self.cls_layers = nn.CellList(
            [nn.Conv2d(NECK, num_classes * k, 1, has_bias=True) for k in per_cell]
        )
        self.num_classes, self.values = num_classes, values

    def construct(self, maps: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
        """Feature maps (N, C, H, W) -> regression (N, A, V) and logits (N, A, num_classes)."""
        loc: tuple[Tensor, ...] = ()
        cls: tuple[Tensor, ...] = ()
        for i in range(len(maps)):
            both = self.branches[i](maps[i])
            loc += (self.loc_layers[i](both[:, :NECK]),)
            cls += (self.cls_layers[i](both[:, NECK:]),)
        return flatten_maps(loc, self.values), flatten_maps(cls, self.num_classes)


def conv(
    in_channels: int, out_channels: int, norm: Norm, kernel_size: int = 3, stride: int = 1
) -> nn.SequentialCell:
    """Convolution, batch norm, ReLU."""
    layer = nn.Conv2d(in_channels, out_channels, kernel_size, stride, pad_mode="same")
    return nn.SequentialCell([layer, norm(out_channels), nn.ReLU()])


def build(model: ModelSettings, num_classes: int) -> SSD:
    """Make the network; its weights are MindSpore's own random ones."""
    return SSDLight(model, num_classes)


def feature_sides(side: int) -> list[int]:
    """Side of each feature map for an image side: 320 -> 40, 20, 10."""
    return same_sides(side, 5)[3:]
