"""A detector over a feature pyramid with one predictor for all levels: what the FPN models share.

Backbones and pyramids are built by each model in `zoo`; the predictor is in `heads.py`.
"""

from __future__ import annotations

from mindspore import Tensor, nn

from training.nets.anchors import boxes_per_cell
from training.nets.fpn import CHANNELS
from training.nets.heads import SharedMultiBox
from training.nets.norm import make_norm
from training.nets.settings import ModelSettings
from training.nets.ssd import SSD

HEAD_DEPTH = 4


class PyramidSSD(SSD):
    """Five levels: steps 8 to 128.

    Args:
        model: The model's settings.
        num_classes: Classes including background.
        extractor: Backbone and pyramid: (N, 3, H, W) -> five maps of 256 channels.
    """

    class_head = "multi_box.cls_layers.*"

    def __init__(self, model: ModelSettings, num_classes: int, extractor: nn.Cell) -> None:
        super().__init__(model, num_classes)
        per_cell = boxes_per_cell(model.anchors)
        # Head first: published checkpoints list it so.
        self.multi_box = SharedMultiBox(
            CHANNELS, len(per_cell), per_cell[0], num_classes, HEAD_DEPTH, make_norm(model.norm)
        )
        self.feature_extractor = extractor

    def features(self, x: Tensor) -> tuple[Tensor, ...]:
        """(N, 3, H, W) -> five maps."""
        return self.feature_extractor(x)
