"""SSDLite320 with MobileNetV3-Large: the worked example of a network added to the family.

Backbone, blocks and head live in `training/nets`; how to add another is in `docs/models.md`.
"""

from __future__ import annotations

from mindspore import Tensor, nn

from training.nets.anchors import boxes_per_cell
from training.nets.backbone_tables import V3_TAP_CHANNELS
from training.nets.heads import MultiBox
from training.nets.layers import InvertedResidual, same_sides
from training.nets.mobilenet_v3 import MobileNetV3, last_channels
from training.nets.norm import make_norm
from training.nets.settings import ModelSettings
from training.nets.ssd import SSD

EXTRAS = (512, 256, 256, 128)
"""Channels of the extra levels; inside, each has half of them and halves the feature map."""


class SSDLite(SSD):
    """Six levels: steps 16 and 32 from the backbone, then one for each extra."""

    classifier = "mobilenet_v3_large"

    def __init__(self, model: ModelSettings, num_classes: int) -> None:
        super().__init__(model, num_classes)
        norm = make_norm(model.norm)
        channels = [V3_TAP_CHANNELS, last_channels(model.tail), *EXTRAS]
        self.backbone = MobileNetV3(norm, model.tail)
        self.multi_residual = nn.CellList(
            [
                InvertedResidual(
                    before, width, norm, stride=2, expand_ratio=width / 2 / before, last_relu=True
                )
                for before, width in zip(channels[1:], EXTRAS, strict=False)
            ]
        )
        self.multi_box = MultiBox(channels, boxes_per_cell(model.anchors), num_classes, norm)

    def features(self, x: Tensor) -> tuple[Tensor, ...]:
        """(N, 3, H, W) -> six maps."""
        maps = self.backbone(x)
        for block in self.multi_residual:
            maps += (block(maps[-1]),)
        return maps


def build(model: ModelSettings, num_classes: int) -> SSD:
    """Make the network; its weights are MindSpore's own random ones."""
    return SSDLite(model, num_classes)


def feature_sides(side: int) -> list[int]:
    """Side of each feature map for an image side: 320 -> 20, 10, 5, 3, 2, 1."""
    return same_sides(side, 9)[4:]
