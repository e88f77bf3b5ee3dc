"""The scores' part of the losses: softmax with hard negatives, focal, scores that mean overlaps.

What a step minimises, boxes included, is put together in `losses.py`.
"""

from __future__ import annotations

from collections.abc import Sequence

import mindspore as ms
from mindspore import Tensor, nn, ops

from training.learning.box_losses import log_sum_exp
from training.learning.class_weights import ClassWeights


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
