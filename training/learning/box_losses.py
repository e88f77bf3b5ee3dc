"""Box regression by overlap: decoded boxes, IoU, and one minus GIoU, DIoU or CIoU, in float32.

The regression of offsets (smooth L1) is in `losses.py`; NumPy's decoding is
`training/boxes/codec.py`.
"""

from __future__ import annotations

import math

from mindspore import Tensor, nn, ops

from training.nets.anchors import default_boxes
from training.nets.box_bins import BoxBins
from training.nets.settings import ModelSettings

EPSILON = 1e-9
"""Added to relative areas and squared lengths before they divide: (a 30,000th of a side)^2."""

FARTHEST = 1e3
"""A centre farther from its default box than this many of its sides counts as so far."""

LARGEST = 8.0
"""Natural logarithm of a box's side over its default box's; what is beyond counts as that."""


class Decode(nn.Cell):
    """Regressions to boxes, as `codec.decode_boxes` but for values that no box in an image has.

    Args:
        model: The network's settings: default boxes and units of the regression.
    """

    def __init__(self, model: ModelSettings) -> None:
        super().__init__(auto_prefix=False)
        anchors = default_boxes(model)[None]  # (1, A, 4) cyxhw
        self.centres, self.sizes = Tensor(anchors[..., :2]), Tensor(anchors[..., 2:])
        self.centre_scale, self.size_scale = (float(value) for value in model.prior_scaling)

    def construct(self, loc: Tensor) -> Tensor:
        """(N, A, 4) -> (N, A, 4) float32 yxyx relative to the image, not clipped, sides above 0."""
        offset = ops.clamp(loc[:, :, :2] * self.centre_scale, -FARTHEST, FARTHEST)
        centre = self.centres + offset * self.sizes
        grown = ops.clamp(loc[:, :, 2:] * self.size_scale, -LARGEST, LARGEST)
        half = 0.5 * self.sizes * ops.exp(grown)
        return ops.concat((centre - half, centre + half), -1)


class BinsLoss(nn.Cell):
    """Distribution focal loss (arXiv:2006.04388, equation 6 of section 3.2): a side's cross entropy
    with its distance, shared by the two bins next to it in proportion to how near they are.

    Args:
        bins: Bins to boxes.
    """

    def __init__(self, bins: BoxBins) -> None:
        super().__init__(auto_prefix=False)
        self.bins = bins

    def construct(self, loc: Tensor, wanted: Tensor) -> Tensor:
        """Compare logits (N, A, 4 * bins) with boxes (N, A, 4) yxyx: the mean over sides (N, A)."""
        logits = self.bins.logits(loc)
        distance = self.bins.targets(wanted).expand_dims(-1)
        shares = ops.relu(1.0 - ops.abs(self.bins.numbers - distance))  # (N, A, 4, bins)
        return (log_sum_exp(logits) - (shares * logits).sum(-1)).mean(-1)


def log_sum_exp(x: Tensor) -> Tensor:
    """(..., C) -> (...), log(sum(exp(x))); of the same bits wherever in the tensor a row is."""
    largest = ops.stop_gradient(x.max(-1, keepdims=True))
    # The sum is at least 1, so that taking 1 off is exact.
    return ops.log1p(ops.exp(x - largest).sum(-1) - 1.0) + largest.squeeze(-1)


def shared_and_union(a: Tensor, b: Tensor, spread: bool = False) -> tuple[Tensor, Tensor]:
    """Areas that boxes share and cover: two (..., 4) yxyx that broadcast -> two (...).

    Args:
        a: Boxes.
        b: Boxes.
        spread: See `shared_area`.
    """
    both = area(a) + area(b)
    shared = shared_area(a, b, both.shape if spread else None)
    return shared, both - shared + EPSILON


def shared_area(a: Tensor, b: Tensor, shape: tuple[int, ...] | None = None) -> Tensor:
    """Area that boxes share: two (..., 4) yxyx that broadcast -> (...).

    Args:
        a: Boxes.
        b: Boxes.
        shape: That of the result, to which the corners are then copied first: MindSpore's minimum
            and maximum on CPU take six times as long where they broadcast themselves.
    """
    y1, x1, y2, x2 = a[..., 0], a[..., 1], a[..., 2], a[..., 3]
    top, left, bottom, right = b[..., 0], b[..., 1], b[..., 2], b[..., 3]
    if shape is not None:
        y1, x1 = ops.broadcast_to(y1, shape), ops.broadcast_to(x1, shape)
        y2, x2 = ops.broadcast_to(y2, shape), ops.broadcast_to(x2, shape)
        top, left = ops.broadcast_to(top, shape), ops.broadcast_to(left, shape)
        bottom, right = ops.broadcast_to(bottom, shape), ops.broadcast_to(right, shape)
    height = ops.relu(ops.minimum(y2, bottom) - ops.maximum(y1, top))
    width = ops.relu(ops.minimum(x2, right) - ops.maximum(x1, left))
    return height * width


def area(boxes: Tensor) -> Tensor:
    """(..., 4) yxyx -> (...)."""
    return (boxes[..., 2] - boxes[..., 0]) * (boxes[..., 3] - boxes[..., 1])


class OverlapLoss(nn.Cell):
    """One minus a generalised overlap of each found box with the wanted one.

    GIoU takes off the share of the smallest box around both that neither covers (arXiv:1902.09630);
    DIoU the squared distance of the centres over that box's diagonal, and CIoU also a difference of
    aspect ratios (arXiv:1911.08287, whose weight of the latter has no gradient).

    Args:
        kind: `giou`, `diou` or `ciou`.
    """

    def __init__(self, kind: str) -> None:
        super().__init__(auto_prefix=False)
        self.kind = kind

    def construct(self, boxes: Tensor, wanted: Tensor) -> tuple[Tensor, Tensor]:
        """Compare boxes.

        Args:
            boxes: (..., 4) float32 yxyx, sides above 0.
            wanted: (..., 4) float32 yxyx.

        Returns:
            The loss (...), 0 for equal boxes, and their IoU (...); both finite.
        """
        shared, union = shared_and_union(boxes, wanted)
        overlap = shared / union
        high = ops.maximum(boxes[..., 2], wanted[..., 2]) - ops.minimum(
            boxes[..., 0], wanted[..., 0]
        )
        wide = ops.maximum(boxes[..., 3], wanted[..., 3]) - ops.minimum(
            boxes[..., 1], wanted[..., 1]
        )
        if self.kind == "giou":
            around = high * wide + EPSILON
            return 1.0 - overlap + (around - union) / around, overlap
        dy = 0.5 * (boxes[..., 0] + boxes[..., 2] - wanted[..., 0] - wanted[..., 2])
        dx = 0.5 * (boxes[..., 1] + boxes[..., 3] - wanted[..., 1] - wanted[..., 3])
        diagonal = ops.square(high) + ops.square(wide) + EPSILON
        loss = 1.0 - overlap + (ops.square(dy) + ops.square(dx)) / diagonal
        if self.kind == "diou":
            return loss, overlap
        turned = slant(wanted) - slant(boxes)
        difference = (4.0 / math.pi**2) * ops.square(turned)
        weight = ops.stop_gradient(difference / (1.0 - overlap + difference + EPSILON))
        return loss + weight * difference, overlap


def slant(boxes: Tensor) -> Tensor:
    """Angle of a box's diagonal, radians: (..., 4) yxyx -> (...)."""
    high, wide = boxes[..., 2] - boxes[..., 0], boxes[..., 3] - boxes[..., 1]
    return ops.atan(wide / (high + EPSILON))
