"""SSD300: MobileNetV2, four inverted residuals for the coarse levels, a predictor a level.

Backbone, blocks and head live in `training/nets`.
"""

from __future__ import annotations

from mindspore import Tensor, nn

from training.nets.anchors import boxes_per_cell
from training.nets.heads import MultiBox
from training.nets.layers import InvertedResidual, same_sides
from training.nets.mobilenet_v2 import LAST_CHANNELS, TAP, TAP_CHANNELS, MobileNetV2
from training.nets.norm import make_norm
from training.nets.settings import ModelSettings
from training.nets.ssd import SSD

EXTRAS = ((512, 0.2), (256, 0.25), (256, 0.5), (128, 0.25))
"""Channels and widening of the extra levels; each halves the feature map."""


class SSD300(SSD):
    """Six levels: steps 16 and 32 from the backbone, then one for each extra."""

    classifier = "mobilenet_v2"

    def __init__(self, model: ModelSettings, num_classes: int) -> None:
        super().__init__(model, num_classes)
        norm = make_norm(model.norm)
        channels = [TAP_CHANNELS, LAST_CHANNELS, *(c for c, _ in EXTRAS)]
        self.backbone = MobileNetV2(norm)
        self.multi_residual = nn.CellList(
            [
                InvertedResidual(before, width, norm, stride=2, expand_ratio=ratio, last_relu=True)
                for before, (width, ratio) in zip(channels[1:], EXTRAS, strict=False)
            ]
        )
        self.multi_box = MultiBox(channels, boxes_per_cell(model.anchors), num_classes, norm)

    def features(self, x: Tensor) -> tuple[Tensor, ...]:
        """(N, 3, H, W) -> six maps."""
        maps = self.backbone(x)
        for block in self.multi_residual:
            maps += (block(maps[-1]),)
        return maps

    def classifier_name(self, name: str) -> str | None:
        """MobileNetV2's layers are numbered through; block 13's widening is there twice."""
        parts = name.split(".")
        if parts[0] != "backbone":
            return None
        if parts[1] == "expand_layer_conv_13":
            return ".".join([f"features.{TAP + 1}.conv.0", *parts[2:]])
        number = int(parts[2]) + (TAP + 1 if parts[1] == "features_2" else 0)
        return ".".join([f"features.{number}", *parts[3:]])


def build(model: ModelSettings, num_classes: int) -> SSD:
    """Make the network; its weights are MindSpore's own random ones."""
    return SSD300(model, num_classes)


def feature_sides(side: int) -> list[int]:
    """Side of each feature map for an image side: 300 -> 19, 10, 5, 3, 2, 1."""
    return same_sides(side, 9)[4:]
