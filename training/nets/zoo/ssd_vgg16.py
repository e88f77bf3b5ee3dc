"""SSD300 with VGG-16: the paper's network with the published variations, a predictor a level.

Published variations: no activation after `b6` and later, depthwise-separable predictors, no L2
norm. Its dropout after `b6` and `b7` is left out, as the paper does: random masks would make a
resumed run differ, and in inference it does nothing.
"""

from __future__ import annotations

from mindspore import Tensor, nn

from training.nets.anchors import boxes_per_cell
from training.nets.heads import MultiBox
from training.nets.layers import same_sides
from training.nets.norm import make_norm
from training.nets.settings import ModelSettings
from training.nets.ssd import SSD
from training.nets.vgg import VGG16, classifier_layer

CHANNELS = (512, 1024, 512, 256, 256, 256)


class SSDVGG16(SSD):
    """Six levels: block 4, `b7`, and four pairs of convolutions."""

    classifier = "vgg16"

    def __init__(self, model: ModelSettings, num_classes: int) -> None:
        super().__init__(model, num_classes)
        self.backbone = VGG16()
        self.b6_1 = nn.Conv2d(512, 1024, 3, pad_mode="pad", padding=6, dilation=6)
        self.b7_1 = nn.Conv2d(1024, 1024, 1)
        self.b8_1 = nn.Conv2d(1024, 256, 1, pad_mode="pad", padding=1)
        self.b8_2 = nn.Conv2d(256, 512, 3, 2, pad_mode="valid")
        self.b9_1 = nn.Conv2d(512, 128, 1, pad_mode="pad", padding=1)
        self.b9_2 = nn.Conv2d(128, 256, 3, 2, pad_mode="valid")
        self.b10_1 = nn.Conv2d(256, 128, 1)
        self.b10_2 = nn.Conv2d(128, 256, 3, pad_mode="valid")
        self.b11_1 = nn.Conv2d(256, 128, 1)
        self.b11_2 = nn.Conv2d(128, 256, 3, pad_mode="valid")
        self.multi_box = MultiBox(
            CHANNELS, boxes_per_cell(model.anchors), num_classes, make_norm(model.norm)
        )

    def features(self, x: Tensor) -> tuple[Tensor, ...]:
        """(N, 3, H, W) -> six maps."""
        block4, x = self.backbone(x)
        block7 = self.b7_1(self.b6_1(x))
        block8 = self.b8_2(self.b8_1(block7))
        block9 = self.b9_2(self.b9_1(block8))
        block10 = self.b10_2(self.b10_1(block9))
        block11 = self.b11_2(self.b11_1(block10))
        return block4, block7, block8, block9, block10, block11

    def classifier_name(self, name: str) -> str | None:
        """VGG-16 without batch norm counts its layers, activations and poolings among them."""
        return classifier_layer(name)


def build(model: ModelSettings, num_classes: int) -> SSD:
    """Make the network; its weights are MindSpore's own random ones."""
    return SSDVGG16(model, num_classes)


def feature_sides(side: int) -> list[int]:
    """Side of each feature map for an image side: 300 -> 38, 19, 10, 5, 3, 1."""
    block4, block7 = same_sides(side, 4)[3:]
    block8 = (block7 + 2 - 3) // 2 + 1
    block9 = (block8 + 2 - 3) // 2 + 1
    return [block4, block7, block8, block9, block9 - 2, block9 - 4]
