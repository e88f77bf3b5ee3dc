"""The frame of every detector: feature maps -> head -> regression and scores.

Backbones and heads live next door; `zoo/` puts them together. Decoding is
`training/boxes/codec.py`'s.
"""

from __future__ import annotations

import mindspore as ms
from mindspore import Tensor, nn, ops

from data_tools.core.settings_fields import require
from training.nets.anchors import levels
from training.nets.box_bins import BoxBins
from training.nets.settings import ModelSettings


class SSD(nn.Cell):
    """A single-shot detector; a network of the zoo adds its layers and `features`.

    The subclass creates its layers in the order of the published checkpoint, one of them the head
    `multi_box`, and defines `features(x)`.

    Attributes:
        model: The settings it was built from.
        num_classes: Classes including background.
        num_anchors: Default boxes, A.
        class_head: Pattern (fnmatch) of the parameters whose size depends on the classes.
    """

    class_head = "multi_box.multi_cls_layers.*.3.*"

    last_layers: tuple[str, ...] = ()
    """Patterns (fnmatch) of weights that start near nothing, whatever `model.init` says."""

    box_head = "multi_box.loc_layers.*"
    """Pattern (fnmatch) of the weights that give boxes, in networks that take `model.box_bins`."""

    takes_bins = False
    """Whether the head can give `model.box_bins`."""

    classifier = ""
    """The image classifier that its backbone is of, as `init.backbone` may name one; empty if of
    none.
    """

    backbone_prefix = "backbone."
    """What a backbone's parameters begin with here, and do not in a classifier's checkpoint."""

    def __init__(self, model: ModelSettings, num_classes: int) -> None:
        super().__init__()
        require(
            model.box_bins == 0 or self.takes_bins,
            "model.box_bins",
            model.box_bins,
            f"0 with model.name={model.name}: only ssd_light has them",
        )
        self.model = model
        self.has_bins = model.box_bins > 0
        if self.has_bins:
            self.bins = BoxBins(model)
        self.num_classes = num_classes
        self.num_anchors = sum(level.num_boxes for level in levels(model))
        self.softmax = model.scores == "softmax"

    def features(self, x: Tensor) -> tuple[Tensor, ...]:
        """(N, 3, H, W) -> the feature maps that carry default boxes, largest first."""
        raise NotImplementedError

    def classifier_name(self, name: str) -> str | None:
        """What an image classifier with this backbone calls a parameter; None outside the backbone.

        Args:
            name: The parameter's name here.
        """
        prefix = self.backbone_prefix
        return name.removeprefix(prefix) if name.startswith(prefix) else None

    def in_backbone(self, name: str) -> bool:
        """Whether a parameter belongs to the backbone: the word `backbone` in optim.freeze and
        lr_factors.

        Args:
            name: The parameter's name.
        """
        return self.classifier_name(name) is not None

    def construct(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Detect.

        Args:
            x: (N, 3, H, W) float32 normalised RGB.

        Returns:
            Raw regression (N, A, 4) and class scores (N, A, num_classes), both float32; logits
            instead of scores while training, and those of `model.box_bins` instead of the
            regression: (N, A, 4 * bins).
        """
        loc, logits = self.raw(x)
        if self.training:
            return loc, logits
        return self.regression_of(loc), self.scores_of(logits)

    def raw(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(N, 3, H, W) normalised -> raw regression (N, A, 4), or (N, A, 4 * bins), and logits
        (N, A, num_classes), float32.
        """
        loc, logits = self.multi_box(self.features(x))
        return ops.cast(loc, ms.float32), ops.cast(logits, ms.float32)

    def regression_of(self, loc: Tensor) -> Tensor:
        """What `raw` gives for boxes -> regression (N, A, 4)."""
        if self.has_bins:
            return self.bins.offsets(loc)
        return loc

    def scores_of(self, logits: Tensor) -> Tensor:
        """Logits (N, A, num_classes) -> class scores in 0..1."""
        if self.softmax:
            return ops.softmax(logits, -1)
        return ops.sigmoid(logits)
