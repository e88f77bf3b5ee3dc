"""Losses of a detector: the scores' part by kind, the boxes' part, and an assignment in the graph.

They return sums. Dividing by the positives of the global batch is the step's business. The scores'
part is in `score_losses.py`, overlaps of boxes in `box_losses.py`, the assignment in
`assignment.py`.
"""

from __future__ import annotations

from typing import Any

import mindspore as ms
from mindspore import Tensor, nn, ops

from data_tools.pipeline.settings import PipelineSettings
from training.learning.assignment import TaskAligned
from training.learning.box_losses import BinsLoss, Decode, OverlapLoss
from training.learning.score_losses import FocalScores, MultiboxScores, OverlapScores
from training.learning.settings import LossSettings
from training.nets.box_bins import BoxBins
from training.nets.settings import ModelSettings


def build_loss(
    loss: LossSettings,
    model: ModelSettings | None = None,
    crowd_ignore: float = PipelineSettings.crowd_ignore,
) -> nn.Cell:
    """Make the loss.

    Args:
        loss: Which loss and its constants.
        model: The network's settings; needed for scores that mean overlaps and for `loss.box` but
            smooth_l1.
        crowd_ignore: With `model.assign=tal`: share of an anchor on a crowd region above which it
            does not count.

    Returns:
        A Cell `(loc, logits, loc_targets, labels) -> (loss_sum, num_positives)`: loc and
        loc_targets (N, A, 4) float32, logits (N, A, C) float32, labels (N, A) int32 with 0 for
        background, 1..C-1 for an object, -1 for anchors that do not count. With `model.box_bins`
        loc is (N, A, 4 * bins). With `model.assign=tal`
        loc_targets (N, M, 4) are the objects themselves, yxyx relative, and labels (N, M) theirs, 0
        where there is none, -1 for a crowd region. Both results are float32 scalars; losses whose
        scores mean overlaps count each positive by the overlap that it should say. `parts` returns
        the boxes' part as well.

    Raises:
        ValueError: If the loss needs the network's settings and has none.
    """
    if loss.kind == "multibox":
        scores: Any = MultiboxScores(loss.negatives, loss.class_weights)
    elif loss.kind == "focal":
        scores = FocalScores(loss.gamma, loss.alpha, loss.class_weights)
    else:
        scores = OverlapScores(loss.kind, loss.gamma, loss.alpha, loss.class_weights)
    overlaps = loss.kind in ("varifocal", "quality")
    if loss.box == "smooth_l1" and not overlaps:
        return OffsetLoss(scores, loss.loc_weight)
    if model is None:
        raise ValueError(
            f"loss.kind={loss.kind} with loss.box={loss.box} needs the model's settings"
        )
    assign = TaskAligned(model, crowd_ignore) if model.assign == "tal" else None
    bins = BoxBins(model) if model.box_bins else None
    return BoxLoss(scores, loss, Decode(model), assign, bins)


class DetectionLoss(nn.Cell):
    """What a step minimises: the first and the last of the `parts` that its kinds tell."""

    def parts(
        self, loc: Tensor, logits: Tensor, loc_targets: Tensor, labels: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return the summed loss, the boxes' share of it, and the positives; see `build_loss`."""
        raise NotImplementedError

    def construct(
        self, loc: Tensor, logits: Tensor, loc_targets: Tensor, labels: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Sum the loss of a batch; shapes as in `build_loss`."""
        total, _, positives = self.parts(loc, logits, loc_targets, labels)
        return total, positives


class OffsetLoss(DetectionLoss):
    """The published losses: scores, plus smooth L1 of the offsets on positives.

    Args:
        scores: The scores' part.
        loc_weight: Weight of the regression.
    """

    def __init__(self, scores: nn.Cell, loc_weight: float) -> None:
        super().__init__()
        self.scores = scores
        self.loc_weight = loc_weight

    def parts(
        self, loc: Tensor, logits: Tensor, loc_targets: Tensor, labels: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return the summed loss, the boxes' share of it, and the positives; see `build_loss`."""
        class_sum = self.scores(logits, labels)
        loc_sum, num_positives = regression(loc, loc_targets, labels)
        return class_sum + self.loc_weight * loc_sum, self.loc_weight * loc_sum, num_positives


class BoxLoss(DetectionLoss):
    """Scores and regressions that know the boxes they stand for.

    Args:
        scores: The scores' part.
        loss: Its settings.
        decode: Regressions to boxes.
        assign: The assignment in the graph; None if the targets are made while reading.
        bins: Bins to boxes, where the network gives distributions.
    """

    def __init__(
        self,
        scores: nn.Cell,
        loss: LossSettings,
        decode: Decode,
        assign: TaskAligned | None,
        bins: BoxBins | None = None,
    ) -> None:
        super().__init__()
        self.scores, self.decode = scores, decode
        self.find: Any = decode if bins is None else bins
        self.has_bins = bins is not None
        if bins is not None:
            self.compare_bins = BinsLoss(bins)
        self.bins_weight = loss.bins_weight
        self.overlaps = loss.kind in ("varifocal", "quality")
        self.offsets = loss.box == "smooth_l1"
        self.compare = OverlapLoss("giou" if self.offsets else loss.box)
        self.assign: Any = assign
        self.assigns = assign is not None
        self.loc_weight = loss.loc_weight

    def parts(
        self, loc: Tensor, logits: Tensor, loc_targets: Tensor, labels: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return the summed loss, the boxes' share of it, and the positives; see `build_loss`."""
        boxes = self.find(loc)
        if self.assigns:
            labels, wanted, quality = self.assign(
                ops.stop_gradient(boxes), ops.stop_gradient(logits), loc_targets, labels
            )
            quality = ops.stop_gradient(quality)
        else:
            wanted = self.decode(loc_targets)
            quality = ops.zeros_like(loc[:, :, 0])
        positive = ops.cast(labels > 0, ms.float32)
        distance, overlap = self.compare(boxes, wanted)
        if not self.assigns:
            quality = ops.stop_gradient(overlap) * positive
        if self.offsets:
            distance = ops.smooth_l1_loss(loc, loc_targets, beta=1.0, reduction="none").sum(-1)
        if self.overlaps:
            weight = quality
            class_sum = self.scores(logits, labels, quality)
        else:
            weight = positive
            class_sum = self.scores(logits, labels)
        loc_sum = self.loc_weight * (distance * weight).sum()
        if self.has_bins:
            loc_sum += self.bins_weight * (self.compare_bins(loc, wanted) * weight).sum()
        return class_sum + loc_sum, loc_sum, weight.sum()


def regression(loc: Tensor, loc_targets: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Smooth L1 summed over the positives of a batch, and their number.

    Args:
        loc: (N, A, 4) predicted regression.
        loc_targets: (N, A, 4) wanted regression.
        labels: (N, A) int32.

    Returns:
        Two float32 scalars.
    """
    positive = ops.cast(labels > 0, ms.float32)
    distance = ops.smooth_l1_loss(loc, loc_targets, beta=1.0, reduction="none").sum(-1)
    return (distance * positive).sum(), positive.sum()
