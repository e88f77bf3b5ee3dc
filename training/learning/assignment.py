"""Task-aligned assignment in the graph: which anchors learn which object, anew in every step.

The assignment by overlap alone is made while reading, `training/boxes/matching.py`. Nothing here
has a gradient.
"""

from __future__ import annotations

import mindspore as ms
import numpy as np
from mindspore import Tensor, nn, ops

from training.learning.box_losses import shared_and_union, shared_area
from training.nets.anchors import default_boxes
from training.nets.settings import ModelSettings

SMALLEST = 1e-4
"""Added to overlaps, so that objects which no box has found yet choose too."""

TOP = 13
"""Boxes that an object chooses at most (arXiv:2108.07755, section 4.1)."""


class TaskAligned(nn.Cell):
    """TOOD's assignment (arXiv:2108.07755): to the boxes with score and overlap both high.

    Candidates of an object are the anchors whose centres lie in it, and the nearest centre. Their
    alignment is t = s * u^6, of the score s of its class and the overlap u. The 13 largest are
    positive; an anchor that several objects chose keeps the one that it overlaps most. The quality
    of a positive is t, scaled so that the object's best has the object's largest overlap.

    Anchors of which more than `crowd_ignore` lies on one crowd region are not counted unless
    positive.

    Args:
        model: The network's settings.
        crowd_ignore: Share of an anchor; 1 turns ignoring off.
    """

    def __init__(self, model: ModelSettings, crowd_ignore: float) -> None:
        super().__init__(auto_prefix=False)
        anchors = default_boxes(model)  # (A, 4) cyxhw
        half = anchors[:, 2:] / 2
        corners = np.concatenate([anchors[:, :2] - half, anchors[:, :2] + half], 1)
        self.cy, self.cx = Tensor(anchors[None, None, :, 0]), Tensor(anchors[None, None, :, 1])
        self.corners = Tensor(corners[None, None].astype(np.float32))
        self.area = Tensor((anchors[:, 2] * anchors[:, 3])[None, None])
        self.top = min(TOP, len(anchors))
        self.crowd_ignore = float(crowd_ignore)
        self.spread = ms.get_context("device_target") == "CPU"

    def construct(
        self, predicted: Tensor, logits: Tensor, boxes: Tensor, labels: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Assign a batch.

        Args:
            predicted: (N, A, 4) float32 boxes of the network as it is now, yxyx relative.
            logits: (N, A, C) float32.
            boxes: (N, M, 4) float32 objects, yxyx relative, zeros where there is none.
            labels: (N, M) int32: 1..C-1 an object, 0 none, -1 a crowd region.

        Returns:
            (N, A) int32 labels as `build_loss` takes them, (N, A, 4) the box to learn, zeros where
            none, and (N, A) float32 quality, 0 where the label is not positive.
        """
        count = labels.shape[1]
        box = boxes.expand_dims(2)  # (N, M, 1, 4)
        shared, union = shared_and_union(box, predicted.expand_dims(1), self.spread)
        overlap = shared / union  # (N, M, A)
        which = ops.relu(labels).expand_dims(2)  # (N, M, 1)
        scores = ops.transpose(ops.sigmoid(logits), (0, 2, 1))  # (N, C, A)
        index = ops.broadcast_to(which, overlap.shape)
        score = ops.gather_elements(scores, 1, index)
        candidate = ops.logical_and(self.candidates(box), labels.expand_dims(2) > 0)
        near = overlap + SMALLEST
        cubed = near * near * near
        aligned = ops.cast(candidate, ms.float32) * (score + SMALLEST) * cubed * cubed
        least = ops.topk(aligned, self.top)[0][:, :, -1:]
        chosen = ops.logical_and(candidate, aligned >= least)
        # An anchor keeps one object: the largest overlap, of equals the first.
        wish = ops.select(chosen, overlap, ops.full_like(overlap, -1.0))
        best, owner = wish.max(1), ops.argmax(wish, 1)  # (N, A)
        positive = best >= 0.0
        mine = ops.arange(count).astype(ms.int32).reshape(1, count, 1) == owner.astype(
            ms.int32
        ).expand_dims(1)
        own = ops.cast(ops.logical_and(chosen, mine), ms.float32)
        aligned, overlap = aligned * own, overlap * own
        ceiling = overlap.max(2, keepdims=True) / (aligned.max(2, keepdims=True) + 1e-30)
        quality = (aligned * ceiling).sum(1)
        learned = ops.gather_elements(labels, 1, owner.astype(ms.int32))
        kept = ops.cast(positive, ms.int32)
        result = learned * kept - ops.cast(self.on_crowd(box, labels), ms.int32) * (1 - kept)
        where = ops.broadcast_to(owner.astype(ms.int32).expand_dims(2), predicted.shape)
        wanted = ops.gather_elements(boxes, 1, where) * ops.cast(positive, ms.float32).expand_dims(
            2
        )
        return result, wanted, quality

    def candidates(self, box: Tensor) -> Tensor:
        """(N, M, 1, 4) -> bool (N, M, A): the anchors centred in a box, and the nearest."""
        y1, x1, y2, x2 = box[..., 0], box[..., 1], box[..., 2], box[..., 3]
        margin = ops.minimum(
            ops.minimum(self.cy - y1, y2 - self.cy), ops.minimum(self.cx - x1, x2 - self.cx)
        )
        distance = ops.square(self.cy - 0.5 * (y1 + y2)) + ops.square(self.cx - 0.5 * (x1 + x2))
        nearest = distance <= distance.min(2, keepdims=True)
        return ops.logical_or(margin > 0.0, nearest)

    def on_crowd(self, box: Tensor, labels: Tensor) -> Tensor:
        """True where more of the anchor than `crowd_ignore` lies on one crowd region: (N, A)."""
        shape = (labels.shape[0], labels.shape[1], self.area.shape[2])
        shared = shared_area(self.corners, box, shape if self.spread else None)
        covered = shared > self.crowd_ignore * self.area  # (N, M, A)
        crowd = ops.logical_and(covered, labels.expand_dims(2) < 0)
        return ops.cast(crowd, ms.float32).max(1) > 0.5
