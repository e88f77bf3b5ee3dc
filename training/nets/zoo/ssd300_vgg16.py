"""SSD300 of the paper (arXiv:1512.02325): VGG-16, a scaled L2 norm, dense predictors, 8,732 default
boxes.

Backbone and head live in `training/nets`; the published MindSpore variation of it is
`ssd_vgg16.py`.
"""

from __future__ import annotations

from mindspore import Tensor, nn, ops

from training.nets.anchors import boxes_per_cell
from training.nets.heads import DenseMultiBox
from training.nets.layers import same_sides
from training.nets.settings import ModelSettings
from training.nets.ssd import SSD
from training.nets.vgg import VGG16, ScaledL2Norm, classifier_layer

CHANNELS = (512, 1024, 512, 256, 256, 256)
EXTRAS = (
    (1024, 256, 512, True),
    (512, 128, 256, True),
    (256, 128, 256, False),
    (256, 128, 256, False),
)
"""Channels before, between and after the two convolutions of each extra level; whether it halves
the map."""


class SSD300VGG16(SSD):
    """Six levels: block 4 normalised, `fc7`, and four pairs of convolutions, each with a ReLU."""

    classifier = "vgg16"
    class_head = "multi_box.cls_layers.*"

    def __init__(self, model: ModelSettings, num_classes: int) -> None:
        super().__init__(model, num_classes)
        self.backbone = VGG16(biases=True)
        self.l2_norm = ScaledL2Norm(CHANNELS[0])
        self.fc6 = nn.Conv2d(512, 1024, 3, pad_mode="pad", padding=6, dilation=6, has_bias=True)
        self.fc7 = nn.Conv2d(1024, 1024, 1, has_bias=True)
        self.extras = nn.CellList([_extra(*row) for row in EXTRAS])
        self.multi_box = DenseMultiBox(CHANNELS, boxes_per_cell(model.anchors), num_classes)

    def features(self, x: Tensor) -> tuple[Tensor, ...]:
        """(N, 3, H, W) -> six maps."""
        block4, x = self.backbone(x)
        x = ops.relu(self.fc7(ops.relu(self.fc6(x))))
        maps: tuple[Tensor, ...] = (self.l2_norm(block4), x)
        for extra in self.extras:
            maps += (extra(maps[-1]),)
        return maps

    def classifier_name(self, name: str) -> str | None:
        """VGG-16 without batch norm counts its layers, activations and poolings among them."""
        return classifier_layer(name)


def build(model: ModelSettings, num_classes: int) -> SSD:
    """Make the network; its weights are MindSpore's own random ones."""
    return SSD300VGG16(model, num_classes)


def feature_sides(side: int) -> list[int]:
    """Side of each feature map for an image side: 300 -> 38, 19, 10, 5, 3, 1."""
    block4, fc7 = same_sides(side, 4)[3:]
    first = (fc7 - 1) // 2 + 1
    second = (first - 1) // 2 + 1
    return [block4, fc7, first, second, second - 2, second - 4]


def _extra(before: int, between: int, after: int, halves: bool) -> nn.SequentialCell:
    """A convolution that narrows, and one that halves the map or takes two off its sides."""
    pads = {"stride": 2, "pad_mode": "pad", "padding": 1} if halves else {"pad_mode": "valid"}
    return nn.SequentialCell(
        [
            nn.Conv2d(before, between, 1, has_bias=True),
            nn.ReLU(),
            nn.Conv2d(between, after, 3, has_bias=True, **pads),
            nn.ReLU(),
        ]
    )
