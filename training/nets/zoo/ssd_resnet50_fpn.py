"""SSD640 with ResNet-50, a feature pyramid and one predictor for all levels.

Backbone, pyramid and head live in `training/nets`.
"""

from __future__ import annotations

from mindspore import Tensor, nn

from training.anchors import boxes_per_cell
from training.nets import feature_sizes
from training.nets.fpn import CHANNELS, BottomUp, TopDown, pyramid_sides
from training.nets.heads import SharedMultiBox
from training.nets.norm import make_norm
from training.nets.resnet import ResNet50
from training.nets.settings import ModelSettings
from training.nets.ssd import SSD

TAP_CHANNELS = (512, 1024, 2048)
HEAD_DEPTH = 4


class Extractor(nn.Cell):
    """Backbone, top-down path, two coarser levels."""

    def __init__(self, model: ModelSettings) -> None:
        super().__init__()
        self.resnet = ResNet50(make_norm(model.norm))
        norm = make_norm(model.norm, eps=1e-5, momentum=0.9)
        self.fpn = TopDown(TAP_CHANNELS, feature_sizes(model)[: len(TAP_CHANNELS)], norm)
        self.bottom_up = BottomUp(2, norm)

    def construct(self, x: Tensor) -> tuple[Tensor, ...]:
        """(N, 3, H, W) -> five maps of 256 channels."""
        return self.bottom_up(self.fpn(self.resnet(x)))


class SSDResNet50FPN(SSD):
    """Five levels: steps 8 to 128."""

    class_head = "multi_box.cls_layers.*"

    def __init__(self, model: ModelSettings, num_classes: int) -> None:
        super().__init__(model, num_classes)
        per_cell = boxes_per_cell(model.anchors)
        # Head first: published checkpoints list it so.
        self.multi_box = SharedMultiBox(
            CHANNELS, len(per_cell), per_cell[0], num_classes, HEAD_DEPTH, make_norm(model.norm)
        )
        self.feature_extractor = Extractor(model)

    def features(self, x: Tensor) -> tuple[Tensor, ...]:
        """(N, 3, H, W) -> five maps."""
        return self.feature_extractor(x)

    def classifier_name(self, name: str) -> str | None:
        """ResNet-50's own names."""
        prefix = "feature_extractor.resnet."
        return name.removeprefix(prefix) if name.startswith(prefix) else None


def build(model: ModelSettings, num_classes: int) -> SSD:
    """Make the network; its weights are MindSpore's own random ones."""
    return SSDResNet50FPN(model, num_classes)


def feature_sides(side: int) -> list[int]:
    """Side of each feature map for an image side: 640 -> 80, 40, 20, 10, 5."""
    return pyramid_sides(side)
