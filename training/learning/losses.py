"""Losses of a detector: the scores' part by kind, the boxes' part, and an assignment in the graph.

They return sums. Dividing by the positives of the global batch is the step's business. Overlaps of
boxes are in `box_losses.py`, the assignment in `assignment.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import mindspore as ms
from mindspore import Tensor, nn, ops

from data_tools.pipeline.settings import PipelineSettings
from training.learning.assignment import TaskAligned
from training.learning.box_losses import BinsLoss, Decode, OverlapLoss, log_sum_exp
from training.learning.class_weights import ClassWeights
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


class OverlapScores(nn.Cell):
    """Scores that should say how well the box found fits: varifocal or quality focal loss.

    The score of a positive's class should be its quality q, all others 0; of the background's logit
    nothing is asked. Varifocal (arXiv:2008.13367, equation 2): q times the cross entropy with q
    where q > 0, alpha p^gamma times that with 0 elsewhere. Quality focal (arXiv:2006.04388,
    equation 6): |q - p|^gamma times the cross entropy with q.

    Args:
        kind: `varifocal` or `quality`.
        gamma: Exponent that plays easy boxes down.
        alpha: Varifocal: weight of wrong classes.
        class_weights: See `ClassWeights`.
    """

    def __init__(
        self, kind: str, gamma: float, alpha: float, class_weights: Sequence[float] = ()
    ) -> None:
        super().__init__()
        self.weigh = ClassWeights(class_weights)
        self.varifocal = kind == "varifocal"
        self.gamma = gamma
        self.alpha = alpha

    def construct(self, logits: Tensor, labels: Tensor, quality: Tensor) -> Tensor:
        """Sum over a batch: logits (N, A, C), labels (N, A), quality (N, A) -> ()."""
        positive = ops.cast(labels > 0, ms.float32)
        counted = ops.cast(labels >= 0, ms.float32)
        target = pick(logits, labels)
        # As if every class were wrong, then the right class of positives put right; see
        # `FocalScores`.
        wrong = wrong_score(logits, self.gamma).sum(-1) - wrong_score(logits[:, :, 0], self.gamma)
        entropy = softplus(target) - quality * target
        if self.varifocal:
            right = quality * entropy
            per_anchor = self.alpha * (wrong - positive * wrong_score(target, self.gamma))
        else:
            right = power(ops.abs(quality - ops.sigmoid(target)), self.gamma) * entropy
            per_anchor = wrong - positive * wrong_score(target, self.gamma)
        return (self.weigh(per_anchor + positive * right, labels) * counted).sum()


class FocalScores(nn.Cell):
    """Sigmoid focal loss over every class, background among them.

    Args:
        gamma: Exponent that plays easy boxes down.
        alpha: Weight of the right class; the others get 1 - alpha.
        class_weights: See `ClassWeights`.
    """

    def __init__(self, gamma: float, alpha: float, class_weights: Sequence[float] = ()) -> None:
        super().__init__()
        self.weigh = ClassWeights(class_weights)
        self.gamma = gamma
        self.alpha = alpha

    def construct(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Sum over a batch: logits (N, A, C), labels (N, A) -> ()."""
        # As if every class were wrong, in one pass; then the right class of each anchor is put
        # right. That spares the one-hot tensor and two thirds of the arithmetic.
        wrong = wrong_score(logits, self.gamma).sum(-1)
        target = pick(logits, labels)
        per_anchor = (1 - self.alpha) * (
            wrong - wrong_score(target, self.gamma)
        ) + self.alpha * wrong_score(-target, self.gamma)
        counted = ops.cast(labels >= 0, ms.float32)
        return (self.weigh(per_anchor, labels) * counted).sum()


class MultiboxScores(nn.Cell):
    """The SSD paper's loss of scores: softmax over positives and the hardest negatives.

    Args:
        negatives: Negatives per positive, chosen by their loss within each image.
        class_weights: See `ClassWeights`.
    """

    def __init__(self, negatives: float, class_weights: Sequence[float] = ()) -> None:
        super().__init__()
        self.weigh = ClassWeights(class_weights)
        self.negatives = negatives

    def construct(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Sum over a batch: logits (N, A, C), labels (N, A) -> ()."""
        entropy = log_sum_exp(logits) - pick(logits, labels)
        hard = self.hardest(ops.stop_gradient(entropy), labels)
        chosen = ops.cast(ops.logical_or(labels > 0, hard), ms.float32)
        return (self.weigh(entropy, labels) * chosen).sum()

    def hardest(self, entropy: Tensor, labels: Tensor) -> Tensor:
        """Choose the negatives with the largest loss: two (N, A) -> bool (N, A)."""
        negative = labels == 0
        # Losses are never negative, so -1 sorts everything else to the end.
        hardness = ops.select(negative, entropy, ops.full_like(entropy, -1.0))
        _, order = ops.sort(hardness, -1, True)
        # The inverse permutation by a scatter, not by sorting the order: MindSpore warns that a
        # card sorts float32 inexactly, and ranks above 2048 are no longer whole numbers in half
        # precision.
        ranks = ops.broadcast_to(ops.arange(hardness.shape[1]).astype(ms.int32), hardness.shape)
        rank = ops.tensor_scatter_elements(ops.zeros_like(ranks), order.astype(ms.int32), ranks, 1)
        positives = ops.cast(labels > 0, ms.float32).sum(-1, keepdims=True)
        return ops.logical_and(negative, ops.cast(rank, ms.float32) < self.negatives * positives)


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


def pick(logits: Tensor, labels: Tensor) -> Tensor:
    """The logit of each anchor's class: (N, A, C) and (N, A) -> (N, A); label -1 reads class 0."""
    index = ops.relu(labels).expand_dims(-1)
    return ops.gather_elements(logits, 2, index).squeeze(-1)


def wrong_score(x: Tensor, gamma: float) -> Tensor:
    """sigmoid(x)^gamma * -log(1 - sigmoid(x)), elementwise: the focal loss of a wrong class."""
    if gamma == 2.0:
        return ops.square(ops.sigmoid(x)) * softplus(x)
    # The logarithm keeps the gradient finite where the sigmoid underflows.
    return ops.exp(-gamma * softplus(-x)) * softplus(x)


def power(x: Tensor, gamma: float) -> Tensor:
    """x^gamma of numbers in 0..1, elementwise; its gradient is finite at 0."""
    if gamma == 2.0:
        return ops.square(x)
    if gamma == 0.0:
        return ops.ones_like(x)
    return ops.exp(gamma * ops.log1p(ops.maximum(x, Tensor(1e-6, ms.float32)) - 1.0))


# MindSpore's CPU kernels of `softplus` and `log` round the last few elements of each thread's share
# in another way than the rest, and the shares change with the number of calls and with what was
# measured to be fastest: a run that is resumed would part from one that is not. `log1p` and `exp`
# round every element alike.


def softplus(x: Tensor) -> Tensor:
    """log(1 + exp(x)), elementwise; of the same bits wherever in the tensor an element is."""
    size = ops.abs(x)
    # Not relu(x): at 0 the gradient would be 0 instead of 1/2.
    return 0.5 * (x + size) + ops.log1p(ops.exp(-size))
