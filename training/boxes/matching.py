"""Which anchor learns which box: one rule, in three forms that agree to the last anchor.

For one image and few anchors over all of them, for many anchors by candidates
(`grid_candidates.py`), for a whole batch at once. Regression targets are made in `codec.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from training.boxes.grid_candidates import AnchorGrid

FloatArray = npt.NDArray[np.float32]
Indices = npt.NDArray[np.intp]

FORCED_SCORE = np.float32(2.0)
"""Counts for a box's best anchor in place of their overlap, so that no overlap (at most 1) beats
it."""

MANY_ANCHORS = 10_000
"""From here on looking for candidates is faster than overlaps with all anchors."""

_BOXES_AT_ONCE = 48  # so that their overlaps with two thousand anchors stay in a core's cache


class Matcher:
    """The rule of matching for fixed anchors; see `codec.BoxEncoder` for the rule in words.

    Args:
        corners_yxyx_rel: (A, 4) float32 anchors.
        anchors_cyxhw_rel: (A, 4) float32, the same anchors.
        threshold: Overlap above which an anchor is positive.
        levels: Rows, columns and boxes per cell of each level, if the anchors are such grids.
    """

    def __init__(
        self,
        corners_yxyx_rel: FloatArray,
        anchors_cyxhw_rel: FloatArray,
        threshold: float,
        levels: Sequence[tuple[int, int, int]] | None,
    ) -> None:
        self.threshold = np.float32(threshold)
        self.num_anchors = len(corners_yxyx_rel)
        # One contiguous array for each side: (A,) float32.
        self._y1, self._x1, self._y2, self._x2 = np.ascontiguousarray(corners_yxyx_rel.T)
        self._area = (self._y2 - self._y1) * (self._x2 - self._x1)
        many = levels is not None and self.num_anchors >= MANY_ANCHORS
        self._grid = AnchorGrid(anchors_cyxhw_rel, levels) if levels and many else None
        self._rows, self._row_of = _distinct(corners_yxyx_rel[:, 0::2])
        self._columns, self._column_of = _distinct(corners_yxyx_rel[:, 1::2])

    def match(self, boxes_yxyx_rel: FloatArray) -> tuple[Indices, Indices]:
        """Find the positive anchors of one image, and the box of each.

        Args:
            boxes_yxyx_rel: (N, 4) float32, N >= 1.

        Returns:
            Anchors (P,), rising, and for each its box's index in 0..N-1 (P,).
        """
        candidates = None if self._grid is None else self._candidates(self._grid, boxes_yxyx_rel)
        if candidates is not None:
            return _settled(*candidates)
        overlaps = self.overlaps(boxes_yxyx_rel)  # (N, A)
        overlaps[np.arange(len(overlaps)), overlaps.argmax(axis=1)] = FORCED_SCORE
        flat = np.flatnonzero(overlaps > self.threshold)  # (M,) box * A + anchor
        boxes, anchors = np.divmod(flat, self.num_anchors)  # (M,) each
        return _settled(boxes, anchors, overlaps.ravel()[flat])

    def match_batch(
        self, boxes_yxyx_rel: FloatArray, images: Indices
    ) -> tuple[Indices, Indices, Indices]:
        """Find the positive anchors of several images at once.

        Args:
            boxes_yxyx_rel: (N, 4) float32, the boxes of all images.
            images: (N,) the image of each box, rising.

        Returns:
            Images (P,), anchors (P,), and for each its box's index in 0..N-1 (P,).
        """
        ranges = _pieces(images, 1 if self._grid else _BOXES_AT_ONCE)
        parts = [self._match_some(boxes_yxyx_rel, images, *range_) for range_ in ranges]
        return joined_positives(parts)

    def overlaps(self, boxes_yxyx_rel: FloatArray) -> FloatArray:
        """IoU of every box with every anchor: (N, 4) -> (N, A) float32."""
        y1, x1, y2, x2 = np.ascontiguousarray(boxes_yxyx_rel.T)[:, :, None]  # (N, 1) each
        height = np.minimum(self._y2, y2)  # (N, A)
        height -= np.maximum(self._y1, y1)
        np.maximum(height, 0, out=height)
        shared = np.minimum(self._x2, x2)  # (N, A) widths, below the areas
        shared -= np.maximum(self._x1, x1)
        np.maximum(shared, 0, out=shared)
        shared *= height
        union = self._area + (y2 - y1) * (x2 - x1)  # (N, A)
        union -= shared
        shared /= union
        return shared

    def _match_some(
        self, all_boxes: FloatArray, all_images: Indices, start: int, stop: int
    ) -> tuple[Indices, Indices, Indices]:
        boxes, images = all_boxes[start:stop], all_images[start:stop]
        if self._grid is not None:
            anchor, box = self.match(boxes)
            return images[box], anchor, box + start
        overlaps = self._overlaps_by_anchor(boxes)  # (A, N)
        best = overlaps.max(axis=0)  # (N,)
        flat = np.flatnonzero(overlaps >= np.minimum(best, self.threshold))  # (M,) anchor * N + box
        anchors, box = np.divmod(flat, len(boxes))  # (M,) each
        scores = overlaps.ravel()[flat]  # (M,)
        tops = np.flatnonzero(scores == best[box])  # of the M those that are a box's best
        _, first = np.unique(box[tops], return_index=True)  # (N,): of equals the first anchor
        scores[tops[first]] = FORCED_SCORE
        chosen = scores > self.threshold
        anchors, box = anchors[chosen], box[chosen]  # (K,) each, K <= M
        # (P,) each. Keys are image * A + anchor: an anchor of another image is another key.
        keys, box = _settled(box, images[box] * self.num_anchors + anchors, scores[chosen])
        image, anchor = np.divmod(keys, self.num_anchors)  # (P,) each
        return image, anchor, box + start

    def _overlaps_by_anchor(self, boxes: FloatArray) -> FloatArray:
        """IoU, bit for bit that of `overlaps`, transposed: (N, 4) -> (A, N).

        Anchors share few distinct vertical and horizontal extents: what they share with a box is
        worked out once for each and then copied to the anchors, whole rows of boxes at a time.
        """
        y1, x1, y2, x2 = np.ascontiguousarray(boxes.T)  # (N,) each
        height = np.minimum(self._rows[1], y2)  # (distinct rows, N)
        height -= np.maximum(self._rows[0], y1)
        np.maximum(height, 0, out=height)
        width = np.minimum(self._columns[1], x2)  # (distinct columns, N)
        width -= np.maximum(self._columns[0], x1)
        np.maximum(width, 0, out=width)
        shared = width.take(self._column_of, axis=0)  # (A, N)
        shared *= height.take(self._row_of, axis=0)
        union = self._area[:, None] + (y2 - y1) * (x2 - x1)  # (A, N)
        union -= shared
        shared /= union
        return shared

    def _candidates(
        self, grid: AnchorGrid, boxes: FloatArray
    ) -> tuple[Indices, Indices, FloatArray] | None:
        """Boxes, rising, anchors and scores above the threshold; None if a box touches no
        anchor.
        """
        nearest = grid.nearest(boxes)  # (N, families)
        reached = self._overlaps_of(boxes[:, None], nearest).max(axis=1)  # (N,)
        if reached.min() <= 0:
            return None
        box, anchor = grid.above(boxes, np.minimum(reached, self.threshold))  # (M,)
        scores = self._overlaps_of(boxes[box], anchor)  # (M,)
        starts = np.searchsorted(box, np.arange(len(boxes)))  # (N,) first row of each box
        best = scores == np.maximum.reduceat(scores, starts)[box]  # (M,) bool
        # (N,) anchors
        first = np.minimum.reduceat(np.where(best, anchor, self.num_anchors), starts)
        scores[anchor == first[box]] = FORCED_SCORE
        chosen = scores > self.threshold  # (M,) bool
        return box[chosen], anchor[chosen], scores[chosen]

    def _overlaps_of(self, boxes: FloatArray, anchors: Indices) -> FloatArray:
        """IoU of pairs, bit for bit that of `overlaps`: (..., 4) and (...) -> (...)."""
        y1, x1, y2, x2 = np.moveaxis(boxes, -1, 0)
        height = np.minimum(self._y2[anchors], y2) - np.maximum(self._y1[anchors], y1)
        shared = np.minimum(self._x2[anchors], x2) - np.maximum(self._x1[anchors], x1)
        shared = np.maximum(shared, 0) * np.maximum(height, 0)
        return np.asarray(shared / (self._area[anchors] + (y2 - y1) * (x2 - x1) - shared))


def _distinct(extents: FloatArray) -> tuple[FloatArray, Indices]:
    """(A, 2) to the distinct ones, (2, D, 1), and the index among them of each, (A,)."""
    distinct, inverse = np.unique(extents, axis=0, return_inverse=True)
    return np.ascontiguousarray(distinct.T)[:, :, None], inverse.reshape(-1)


def _pieces(images: Indices, most: int) -> list[tuple[int, int]]:
    """Cut boxes, with the image of each, into pieces of whole images and about `most` boxes."""
    borders = [*np.flatnonzero(np.diff(images, prepend=-1)).tolist(), len(images)]
    pieces, start = [], 0
    for here, after in pairwise(borders):
        if after - start > most and here > start:
            pieces.append((start, here))
            start = here
    return [*pieces, (start, len(images))] if len(images) else []


def joined_positives(
    parts: Sequence[tuple[Indices, Indices, Indices]],
) -> tuple[Indices, Indices, Indices]:
    """Images, anchors and boxes of the positives of several pieces of a batch, end to end."""
    if not parts:
        none = np.zeros(0, np.intp)
        return none, none, none
    image, anchor, box = (np.concatenate(column) for column in zip(*parts, strict=True))
    return image, anchor, box


def _settled(boxes: Indices, anchors: Indices, scores: FloatArray) -> tuple[Indices, Indices]:
    """Positive anchors, rising, and the box of each: the highest score, of equals the first box.

    Args:
        boxes: (M,), rising among those that want the same anchor.
        anchors: (M,) the anchor that the box wants.
        scores: (M,) how much.
    """
    order = np.argsort(-scores, kind="stable")
    positive, first = np.unique(anchors[order], return_index=True)
    return positive, boxes[order[first]]
