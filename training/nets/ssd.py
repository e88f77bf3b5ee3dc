"""The frame of every detector: feature maps -> head -> regression and scores.

Backbones and heads live next door; `zoo/` puts them together. Decoding is
`training/boxes/codec.py`'s.
"""

from __future__ import annotations

import mindspore as ms
from mindspore import Tensor, nn, ops

from training.nets.anchors import levels
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

    classifier = ""
    """The image classifier that its backbone is of, as `init.backbone` may name one; empty if of
    none.
    """

    backbone_prefix = "backbone."
    """What a backbone's parameters begin with here, and do not in a classifier's checkpoint."""

    def __init__(self, model: ModelSettings, num_classes: int) -> None:
        super().__init__()
        self.model = model
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
            instead of scores while training.
        """
        loc, logits = self.raw(x)
        if self.training:
            return loc, logits
        return loc, self.scores_of(logits)

    def raw(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(N, 3, H, W) normalised -> raw regression (N, A, 4) and logits (N, A, num_classes),
        float32.
        """
        loc, logits = self.multi_box(self.features(x))
        return ops.cast(loc, ms.float32), ops.cast(logits, ms.float32)

    def scores_of(self, logits: Tensor) -> Tensor:
        """Logits (N, A, num_classes) -> class scores in 0..1."""
        if self.softmax:
            return ops.softmax(logits, -1)
        return ops.sigmoid(logits)
