"""Ground truth to regression targets and labels per anchor, and regressions back to boxes: NumPy.

The anchors themselves are made in `anchors.py`; the network's own decoding is in `nets/`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from data_tools.boxes import inside_fraction, yxyx_from_cyxhw
from training.grid_candidates import AnchorGrid

FloatArray = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.int32]

FORCED_SCORE = np.float32(2.0)
"""Counts for a box's best anchor in place of their overlap, so that no overlap (at most 1) beats it."""

MANY_ANCHORS = 10_000
"""From here on looking for candidates is faster than overlaps with all anchors."""

_SMALLEST_SIDE = np.float32(1e-6)  # of a box relative to its anchor, before the logarithm


class BoxEncoder:
    """Matches boxes with anchors and encodes them; the pipeline's encoder.

    An anchor is positive for a box when their overlap (IoU) is above `threshold`, or when it is the box's
    best anchor (the first of equals) whatever the overlap. Where several boxes want an anchor, the higher
    overlap wins, a forced match counts as 2, and of equals the first box keeps it.

    Crowd boxes are never positive. Anchors of which more than `crowd_ignore` lies on one crowd region get
    label -1, unless they are positive. May be shared by threads, and pickled.

    Args:
        default_boxes_cyxhw_rel: (A, 4) float32 anchors.
        threshold: Overlap above which an anchor is positive.
        prior_scaling: Scale of centre and of size regression.
        crowd_ignore: Share of an anchor; 1 turns ignoring off.
        corners_yxyx_rel: (A, 4) float32, the same anchors as corners, where their last bit matters
            (`corners.py`); None takes them from `default_boxes_cyxhw_rel`.
        levels: Rows, columns and boxes per cell of each level, if the anchors are such grids: the same
            matches, faster where there are many anchors.
    """

    def __init__(
        self,
        default_boxes_cyxhw_rel: npt.ArrayLike,
        threshold: float = 0.5,
        prior_scaling: Sequence[float] = (0.1, 0.2),
        crowd_ignore: float = 0.5,
        corners_yxyx_rel: npt.ArrayLike | None = None,
        levels: Sequence[tuple[int, int, int]] | None = None,
    ) -> None:
        self.anchors_cyxhw = np.ascontiguousarray(default_boxes_cyxhw_rel, dtype=np.float32)
        if self.anchors_cyxhw.ndim != 2 or self.anchors_cyxhw.shape[1] != 4:
            raise ValueError(
                f"default boxes have shape {self.anchors_cyxhw.shape}, expected (A, 4)"
            )
        corners = (
            yxyx_from_cyxhw(self.anchors_cyxhw) if corners_yxyx_rel is None else corners_yxyx_rel
        )
        self.anchors_yxyx = np.ascontiguousarray(corners, dtype=np.float32)
        self.threshold = np.float32(threshold)
        self.prior_scaling = tuple(float(scale) for scale in prior_scaling)
        self.crowd_ignore = crowd_ignore
        # One contiguous array for each side: (A,) float32.
        self._y1, self._x1, self._y2, self._x2 = np.ascontiguousarray(self.anchors_yxyx.T)
        self._area = (self._y2 - self._y1) * (self._x2 - self._x1)
        many = levels is not None and self.num_anchors >= MANY_ANCHORS
        self._grid = AnchorGrid(self.anchors_cyxhw, levels) if levels and many else None

    @property
    def num_anchors(self) -> int:
        """A, the number of anchors."""
        return len(self.anchors_cyxhw)

    def __call__(
        self,
        boxes_yxyx_rel: npt.NDArray[np.float32],
        labels: npt.NDArray[np.integer],
        iscrowd: npt.NDArray[np.bool_] | None = None,
    ) -> tuple[FloatArray, IntArray]:
        """Encode the boxes of one image.

        Args:
            boxes_yxyx_rel: (N, 4) float32, relative to the network's input, positive area; N may be 0.
            labels: (N,) 1..C.
            iscrowd: (N,) bool; None for no crowd regions.

        Returns:
            loc_targets (A, 4) float32, `[cy, cx, h, w]` regressions of positives and 0 elsewhere, and
            labels (A,) int32: 0 background, 1..C positive, -1 ignored.
        """
        loc_targets = np.zeros((self.num_anchors, 4), np.float32)
        anchor_labels = np.zeros(self.num_anchors, np.int32)
        self.encode_into(boxes_yxyx_rel, labels, iscrowd, loc_targets, anchor_labels)
        return loc_targets, anchor_labels

    def encode_into(
        self,
        boxes_yxyx_rel: npt.NDArray[np.float32],
        labels: npt.NDArray[np.integer],
        iscrowd: npt.NDArray[np.bool_] | None,
        loc_targets: FloatArray,
        anchor_labels: IntArray,
    ) -> None:
        """Encode the boxes of one image into arrays of zeros, for instance a batch's own.

        Args:
            boxes_yxyx_rel: As for `__call__`.
            labels: As for `__call__`.
            iscrowd: As for `__call__`.
            loc_targets: (A, 4) float32 of zeros, written to.
            anchor_labels: (A,) int32 of zeros, written to.
        """
        boxes = np.asarray(boxes_yxyx_rel, np.float32).reshape(-1, 4)
        if iscrowd is not None and iscrowd.any():
            self._ignore_crowd(boxes[iscrowd], anchor_labels)
            boxes, labels = boxes[~iscrowd], labels[~iscrowd]
        if not len(boxes):
            return
        anchors, owners = self.match(boxes)
        anchor_labels[anchors] = labels[owners]
        loc_targets[anchors] = encode_boxes(
            boxes[owners], self.anchors_cyxhw[anchors], self.prior_scaling
        )

    def match(
        self, boxes_yxyx_rel: FloatArray
    ) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
        """Find the positive anchors and the box of each.

        Args:
            boxes_yxyx_rel: (N, 4) float32, N >= 1.

        Returns:
            anchors (P,) and, for each, its box's place in 0..N-1 (P,).
        """
        candidates = None if self._grid is None else self._candidates(self._grid, boxes_yxyx_rel)
        if candidates is not None:
            return _settled(*candidates)
        overlaps = self.overlaps(boxes_yxyx_rel)
        overlaps[np.arange(len(overlaps)), overlaps.argmax(axis=1)] = FORCED_SCORE
        flat = np.flatnonzero(overlaps > self.threshold)
        boxes, anchors = np.divmod(flat, self.num_anchors)
        return _settled(boxes, anchors, overlaps.ravel()[flat])

    def overlaps(self, boxes_yxyx_rel: FloatArray) -> FloatArray:
        """IoU of every box with every anchor: (N, 4) -> (N, A) float32."""
        y1, x1, y2, x2 = np.ascontiguousarray(boxes_yxyx_rel.T)[:, :, None]
        height = np.minimum(self._y2, y2)
        height -= np.maximum(self._y1, y1)
        np.maximum(height, 0, out=height)
        shared = np.minimum(self._x2, x2)
        shared -= np.maximum(self._x1, x1)
        np.maximum(shared, 0, out=shared)
        shared *= height
        union = self._area + (y2 - y1) * (x2 - x1)
        union -= shared
        shared /= union
        return shared

    def _candidates(
        self, grid: AnchorGrid, boxes: FloatArray
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], FloatArray] | None:
        """Boxes, rising, anchors and scores above the threshold; None if a box touches no anchor."""
        nearest = grid.nearest(boxes)
        reached = self._overlaps_of(boxes[:, None], nearest).max(axis=1)
        if reached.min() <= 0:
            return None
        box, anchor = grid.above(boxes, np.minimum(reached, self.threshold))
        scores = self._overlaps_of(boxes[box], anchor)
        starts = np.searchsorted(box, np.arange(len(boxes)))
        best = scores == np.maximum.reduceat(scores, starts)[box]
        first = np.minimum.reduceat(np.where(best, anchor, self.num_anchors), starts)
        scores[anchor == first[box]] = FORCED_SCORE
        chosen = scores > self.threshold
        return box[chosen], anchor[chosen], scores[chosen]

    def _overlaps_of(self, boxes: FloatArray, anchors: npt.NDArray[np.int64]) -> FloatArray:
        """IoU of pairs, bit for bit that of `overlaps`: (..., 4) and (...) -> (...)."""
        y1, x1, y2, x2 = np.moveaxis(boxes, -1, 0)
        height = np.minimum(self._y2[anchors], y2) - np.maximum(self._y1[anchors], y1)
        shared = np.minimum(self._x2[anchors], x2) - np.maximum(self._x1[anchors], x1)
        shared = np.maximum(shared, 0) * np.maximum(height, 0)
        return np.asarray(shared / (self._area[anchors] + (y2 - y1) * (x2 - x1) - shared))

    def _ignore_crowd(self, regions: FloatArray, anchor_labels: IntArray) -> None:
        if self.crowd_ignore >= 1:
            return
        for region in regions:
            covered = inside_fraction(self.anchors_yxyx, region[None])[:, 0]
            anchor_labels[covered > self.crowd_ignore] = -1


def _settled(
    boxes: npt.NDArray[np.int64], anchors: npt.NDArray[np.int64], scores: FloatArray
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """Positive anchors, rising, and the box of each: the highest score, of equals the first box.

    Args:
        boxes: (M,), rising.
        anchors: (M,) the anchor that the box wants.
        scores: (M,) how much.
    """
    order = np.argsort(-scores, kind="stable")
    positive, first = np.unique(anchors[order], return_index=True)
    return positive, boxes[order[first]]


def encode_boxes(
    boxes_yxyx_rel: FloatArray,
    anchors_cyxhw_rel: FloatArray,
    prior_scaling: Sequence[float] = (0.1, 0.2),
) -> FloatArray:
    """Regression targets of boxes against their anchors: (P, 4) and (P, 4) -> (P, 4) `[cy, cx, h, w]`."""
    low, high = boxes_yxyx_rel[:, :2], boxes_yxyx_rel[:, 2:]
    centres, sizes = anchors_cyxhw_rel[:, :2], anchors_cyxhw_rel[:, 2:]
    targets = np.empty((len(low), 4), np.float32)
    targets[:, :2] = ((low + high) / 2 - centres) / (sizes * np.float32(prior_scaling[0]))
    relative = np.maximum((high - low) / sizes, _SMALLEST_SIDE)
    targets[:, 2:] = np.log(relative) / np.float32(prior_scaling[1])
    return targets


def decode_boxes(
    loc: FloatArray,
    default_boxes_cyxhw_rel: FloatArray,
    prior_scaling: Sequence[float] = (0.1, 0.2),
) -> FloatArray:
    """Boxes that regressions stand for, not clipped.

    Args:
        loc: (..., A, 4) float32 `[cy, cx, h, w]` regressions.
        default_boxes_cyxhw_rel: (A, 4) float32 anchors.
        prior_scaling: Scale of centre and of size regression.

    Returns:
        (..., A, 4) float32 `[y1, x1, y2, x2]`, relative to the image.
    """
    anchors = np.asarray(default_boxes_cyxhw_rel, np.float32)
    centres = anchors[:, :2] + loc[..., :2] * np.float32(prior_scaling[0]) * anchors[:, 2:]
    sizes = anchors[:, 2:] * np.exp(loc[..., 2:] * np.float32(prior_scaling[1]))
    return np.concatenate([centres - sizes / 2, centres + sizes / 2], axis=-1).astype(np.float32)
