"""Losses of a detector: sigmoid focal loss, or softmax with hard negatives; both with smooth L1.

They return sums. Dividing by the positives of the global batch is the step's business.
"""

from __future__ import annotations

import mindspore as ms
from mindspore import Tensor, nn, ops

from training.nets.settings import LossSettings


def build_loss(loss: LossSettings) -> nn.Cell:
    """Make the loss.

    Args:
        loss: Which loss and its constants.

    Returns:
        A Cell `(loc, logits, loc_targets, labels) -> (loss_sum, num_positives)`: loc and loc_targets
        (N, A, 4) float32, logits (N, A, C) float32, labels (N, A) int32 with 0 for background, 1..C-1
        for an object, -1 for anchors that do not count. Both results are float32 scalars.
    """
    if loss.kind == "multibox":
        return MultiboxLoss(loss.negatives, loss.loc_weight)
    return FocalLoss(loss.gamma, loss.alpha, loss.loc_weight)


class FocalLoss(nn.Cell):
    """Sigmoid focal loss over every class, background among them, plus smooth L1 on positives.

    Args:
        gamma: Exponent that plays easy boxes down.
        alpha: Weight of the right class; the others get 1 - alpha.
        loc_weight: Weight of the regression.
    """

    def __init__(self, gamma: float, alpha: float, loc_weight: float) -> None:
        super().__init__()
        self.gamma = gamma
        self.alpha = alpha
        self.loc_weight = loc_weight

    def construct(
        self, loc: Tensor, logits: Tensor, loc_targets: Tensor, labels: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Sum the loss of a batch; shapes as in `build_loss`."""
        # As if every class were wrong, in one pass; then the right class of each anchor is put
        # right. That spares the one-hot tensor and two thirds of the arithmetic.
        wrong = self.term(logits).sum(-1)
        target = pick(logits, labels)
        per_anchor = (1 - self.alpha) * (wrong - self.term(target)) + self.alpha * self.term(
            -target
        )
        counted = ops.cast(labels >= 0, ms.float32)
        class_sum = (per_anchor * counted).sum()
        loc_sum, num_positives = regression(loc, loc_targets, labels)
        return class_sum + self.loc_weight * loc_sum, num_positives

    def term(self, x: Tensor) -> Tensor:
        """sigmoid(x)^gamma * -log(1 - sigmoid(x)), elementwise: the loss of a wrong class."""
        if self.gamma == 2.0:
            return ops.square(ops.sigmoid(x)) * softplus(x)
        # The logarithm keeps the gradient finite where the sigmoid underflows.
        return ops.exp(-self.gamma * softplus(-x)) * softplus(x)


class MultiboxLoss(nn.Cell):
    """The SSD paper's loss: softmax over positives and the hardest negatives, plus smooth L1.

    Args:
        negatives: Negatives per positive, chosen by their loss within each image.
        loc_weight: Weight of the regression.
    """

    def __init__(self, negatives: float, loc_weight: float) -> None:
        super().__init__()
        self.negatives = negatives
        self.loc_weight = loc_weight

    def construct(
        self, loc: Tensor, logits: Tensor, loc_targets: Tensor, labels: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Sum the loss of a batch; shapes as in `build_loss`."""
        entropy = log_sum_exp(logits) - pick(logits, labels)
        hard = self.hardest(ops.stop_gradient(entropy), labels)
        chosen = ops.cast(ops.logical_or(labels > 0, hard), ms.float32)
        loc_sum, num_positives = regression(loc, loc_targets, labels)
        return (entropy * chosen).sum() + self.loc_weight * loc_sum, num_positives

    def hardest(self, entropy: Tensor, labels: Tensor) -> Tensor:
        """Choose the negatives with the largest loss: two (N, A) -> bool (N, A)."""
        negative = labels == 0
        # Losses are never negative, so -1 sorts everything else to the end.
        hardness = ops.select(negative, entropy, ops.full_like(entropy, -1.0))
        _, order = ops.sort(hardness, -1, True)
        # The inverse permutation by a scatter, not by sorting the order: MindSpore warns that a card sorts
        # float32 inexactly, and ranks above 2048 are no longer whole numbers in half precision.
        places = ops.broadcast_to(ops.arange(hardness.shape[1]).astype(ms.int32), hardness.shape)
        rank = ops.tensor_scatter_elements(
            ops.zeros_like(places), order.astype(ms.int32), places, 1
        )
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
    """The logit of each anchor's own class: (N, A, C) and (N, A) -> (N, A); label -1 reads class 0."""
    index = ops.relu(labels).expand_dims(-1)
    return ops.gather_elements(logits, 2, index).squeeze(-1)


# MindSpore's CPU kernels of `softplus` and `log` round the last few elements of each thread's share in
# another way than the rest, and the shares change with the number of calls and with what was measured to
# be fastest: a run that is resumed would part from one that is not. `log1p` and `exp` round every element
# alike.


def softplus(x: Tensor) -> Tensor:
    """log(1 + exp(x)), elementwise; of the same bits wherever in the tensor an element is."""
    size = ops.abs(x)
    # Not relu(x): at 0 the gradient would be 0 instead of 1/2.
    return 0.5 * (x + size) + ops.log1p(ops.exp(-size))


def log_sum_exp(x: Tensor) -> Tensor:
    """(..., C) -> (...), log(sum(exp(x))); of the same bits wherever in the tensor a row is."""
    largest = ops.stop_gradient(x.max(-1, keepdims=True))
    # The sum is at least 1, so that taking 1 off is exact.
    return ops.log1p(ops.exp(x - largest).sum(-1) - 1.0) + largest.squeeze(-1)
