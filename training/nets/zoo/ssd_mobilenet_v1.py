"""SSD300 with MobileNetV1, four strided convolutions for the coarse levels, a predictor a level.

Backbone, blocks and head live in `training/nets`.
"""

from __future__ import annotations

from mindspore import Tensor, nn

from training.nets.anchors import boxes_per_cell
from training.nets.heads import MultiBox
from training.nets.layers import ConvBNReLU, same_sides
from training.nets.mobilenet_v1 import MobileNetV1
from training.nets.norm import make_norm
from training.nets.settings import ModelSettings
from training.nets.ssd import SSD

TAPS = (14, 26)
TAP_CHANNELS = (512, 1024)
EXTRAS = (512, 256, 256, 128)
"""Channels of the extra levels; each halves the feature map."""


class Extractor(nn.Cell):
    """The backbone, one name deeper: `feature_extractor.mobilenet_v1`."""

    def __init__(self, mode: str) -> None:
        super().__init__()
        self.mobilenet_v1 = MobileNetV1(make_norm(mode, eps=1e-5, momentum=0.9), TAPS)

    def construct(self, x: Tensor) -> tuple[Tensor, ...]:
        """(N, 3, H, W) -> two maps."""
        return self.mobilenet_v1(x)


class SSDMobileNetV1(SSD):
    """Six levels: steps 16 and 32 from the backbone, then one for each extra."""

    classifier = "mobilenet_v1"
    backbone_prefix = "feature_extractor.mobilenet_v1.network."

    def __init__(self, model: ModelSettings, num_classes: int) -> None:
        super().__init__(model, num_classes)
        norm = make_norm(model.norm)
        channels = [*TAP_CHANNELS, *EXTRAS]
        # Head first: published checkpoints list it so.
        self.multi_box = MultiBox(channels, boxes_per_cell(model.anchors), num_classes, norm)
        self.feature_extractor = Extractor(model.norm)
        self.multi_residual = nn.CellList(
            [
                ConvBNReLU(before, width, norm, stride=2)
                for before, width in zip(channels[1:], EXTRAS, strict=False)
            ]
        )

    def features(self, x: Tensor) -> tuple[Tensor, ...]:
        """(N, 3, H, W) -> six maps."""
        maps = self.feature_extractor(x)
        for block in self.multi_residual:
            maps += (block(maps[-1]),)
        return maps


def build(model: ModelSettings, num_classes: int) -> SSD:
    """Make the network; its weights are MindSpore's own random ones."""
    return SSDMobileNetV1(model, num_classes)


def feature_sides(side: int) -> list[int]:
    """Side of each feature map for an image side: 300 -> 19, 10, 5, 3, 2, 1."""
    return same_sides(side, 9)[4:]
