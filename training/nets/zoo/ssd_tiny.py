"""SSD tiny: a small detector of our own that a CPU can train from nothing within minutes.

Dense 3x3 convolutions only: on CPUs they run far nearer to the peak than depthwise ones. Not
published.
"""

from __future__ import annotations

from mindspore import Tensor, nn

from training.nets.anchors import boxes_per_cell
from training.nets.heads import DenseMultiBox
from training.nets.layers import conv_bn_relu, same_sides
from training.nets.norm import make_norm
from training.nets.settings import ModelSettings
from training.nets.ssd import SSD

STEM = ((32, 7, 4), (32, 3, 1))
"""Channels, kernel and stride of the layers before the first level.

One large convolution of stride 4 instead of two small ones of stride 2: on a CPU the gradient of an
early layer's weights costs by its output's size, and those two took four tenths of a training step.
"""

STAGES = (
    ((64, 3, 2), (64, 3, 1), (64, 3, 1)),
    ((96, 3, 2), (96, 3, 1), (96, 3, 1)),
    ((128, 3, 2), (128, 3, 1)),
)
"""Channels, kernel and stride of the layers of each level: steps 8, 16 and 32."""


class SSDTiny(SSD):
    """Three levels, each after two or three convolutions of its own."""

    class_head = "multi_box.cls_layers.*"

    def __init__(self, model: ModelSettings, num_classes: int) -> None:
        super().__init__(model, num_classes)
        norm = make_norm(model.norm)
        channels = 3
        stages = []
        for layers in (STEM, *STAGES):
            blocks = []
            for width, kernel, stride in layers:
                blocks.append(conv_bn_relu(channels, width, norm, kernel, stride))
                channels = width
            stages.append(nn.SequentialCell(blocks))
        self.stem = stages[0]
        self.stages = nn.CellList(stages[1:])
        widths = [stage[-1][0] for stage in STAGES]
        self.multi_box = DenseMultiBox(widths, boxes_per_cell(model.anchors), num_classes)

    def features(self, x: Tensor) -> tuple[Tensor, ...]:
        """(N, 3, H, W) -> three maps."""
        x = self.stem(x)
        maps: tuple[Tensor, ...] = ()
        for stage in self.stages:
            x = stage(x)
            maps += (x,)
        return maps

    def in_backbone(self, name: str) -> bool:
        """All but the heads: no classifier has these layers, but they learn what backbones
        learn.
        """
        return not name.startswith("multi_box.")


def build(model: ModelSettings, num_classes: int) -> SSD:
    """Make the network; its weights are MindSpore's own random ones."""
    return SSDTiny(model, num_classes)


def feature_sides(side: int) -> list[int]:
    """Side of each feature map for an image side: 160 -> 20, 10, 5."""
    return same_sides(side, 5)[3:]
