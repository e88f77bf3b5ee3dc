"""SSD640 with MobileNetV1, a feature pyramid and one predictor for all levels.

Backbone, pyramid and head live in `training/nets`.
"""

from __future__ import annotations

from mindspore import Tensor, nn

from training.nets.feature_maps import feature_sizes
from training.nets.fpn import BottomUp, TopDown, pyramid_sides
from training.nets.mobilenet_v1 import MobileNetV1
from training.nets.norm import make_norm
from training.nets.pyramid import PyramidSSD
from training.nets.settings import ModelSettings
from training.nets.ssd import SSD

TAPS = (10, 22, 26)
TAP_CHANNELS = (256, 512, 1024)


class Extractor(nn.Cell):
    """Backbone, top-down path, two coarser levels."""

    def __init__(self, model: ModelSettings) -> None:
        super().__init__()
        norm = make_norm(model.norm, eps=1e-5, momentum=0.9)
        self.mobilenet_v1 = MobileNetV1(norm, TAPS)
        self.fpn = TopDown(TAP_CHANNELS, feature_sizes(model)[: len(TAPS)], norm)
        self.bottom_up = BottomUp(2, norm)

    def construct(self, x: Tensor) -> tuple[Tensor, ...]:
        """(N, 3, H, W) -> five maps of 256 channels."""
        return self.bottom_up(self.fpn(self.mobilenet_v1(x)))


class SSDMobileNetV1FPN(PyramidSSD):
    """The published names of this backbone."""

    classifier = "mobilenet_v1"
    backbone_prefix = "feature_extractor.mobilenet_v1.network."


def build(model: ModelSettings, num_classes: int) -> SSD:
    """Make the network; its weights are MindSpore's own random ones."""
    return SSDMobileNetV1FPN(model, num_classes, Extractor(model))


def feature_sides(side: int) -> list[int]:
    """Side of each feature map for an image side: 640 -> 80, 40, 20, 10, 5."""
    return pyramid_sides(side)
