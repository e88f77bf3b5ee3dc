"""ATSS: which anchors learn an object, by a threshold of overlap that each object has of its own.

The published matching is `matching.py`; encoding what was matched is `codec.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from training.boxes.matching import FloatArray, Indices, joined_positives

NEAREST = 9
"""Cells of a level whose anchors are candidates of an object (arXiv:1912.02424, section 4.3)."""


class AtssMatcher:
    """Adaptive training sample selection (Zhang and others, arXiv:1912.02424, section 4.2).

    Candidates of an object are, on each level, the `NEAREST` anchors by the distance of centres,
    times the anchors of a cell. Positive are those whose overlap (IoU) is at least the mean of the
    candidates' plus their sample standard deviation, and whose centre lies in the object. An anchor
    that several objects want goes to the one that it overlaps most, of equals to the first. Of an
    object without such an anchor, a small one between centres, the candidate with the largest
    overlap is positive: the paper leaves it out. Nothing depends on threads, or on other images.

    Args:
        corners_yxyx_rel: (A, 4) float32 anchors as corners.
        anchors_cyxhw_rel: (A, 4) float32, the same.
        levels: Rows, columns and anchors per cell of each level.
    """

    def __init__(
        self,
        corners_yxyx_rel: FloatArray,
        anchors_cyxhw_rel: FloatArray,
        levels: Sequence[tuple[int, int, int]],
    ) -> None:
        self.corners = corners_yxyx_rel.astype(np.float64)
        self.centres = anchors_cyxhw_rel[:, :2].astype(np.float64)
        self.levels = []
        start = 0
        for rows, columns, each in levels:
            cells = self.centres[start : start + rows * columns * each]
            cells = cells.reshape(rows, columns, each, 2)[:, :, 0]  # (rows, columns, 2)
            self.levels.append((start, each, cells[:, 0, 0].copy(), cells[0, :, 1].copy()))
            start += rows * columns * each

    def match(self, boxes_yxyx_rel: FloatArray) -> tuple[Indices, Indices]:
        """Return the positive anchors of one image, rising, and the box of each.

        Args:
            boxes_yxyx_rel: (N, 4) float32, positive area; N may be 0.
        """
        if not len(boxes_yxyx_rel):
            return np.zeros(0, np.intp), np.zeros(0, np.intp)
        boxes = boxes_yxyx_rel.astype(np.float64)
        candidates = self.candidates(boxes)  # (N, K)
        overlap = overlaps(self.corners[candidates], boxes[:, None])  # (N, K)
        centres = self.centres[candidates]  # (N, K, 2)
        # (N, K) bool
        inside = ((centres > boxes[:, None, :2]) & (centres < boxes[:, None, 2:])).all(-1)
        least = overlap.mean(1) + overlap.std(1, ddof=1)  # (N,)
        chosen = inside & (overlap >= least[:, None])  # (N, K) bool
        without = np.flatnonzero(~chosen.any(1))  # boxes without a positive
        chosen[without, overlap[without].argmax(1)] = True
        box, column = np.nonzero(chosen)  # (M,) each
        anchor = candidates[box, column]  # (M,)
        # (M,): by anchor, then by overlap, falling, then by box
        order = np.lexsort((box, -overlap[box, column], anchor))
        anchor, first = np.unique(anchor[order], return_index=True)  # (P,) each
        return anchor, box[order][first]

    def match_batch(
        self, boxes_yxyx_rel: FloatArray, images: Indices
    ) -> tuple[Indices, Indices, Indices]:
        """Match the boxes of several images: the image, the anchor and the box of each positive.

        Args:
            boxes_yxyx_rel: (N, 4) float32, the boxes of all images.
            images: (N,) the image of each box, rising.
        """
        parts = []
        starts = np.flatnonzero(np.diff(images, prepend=-1)).tolist()
        for start, stop in pairwise([*starts, len(images)]):
            anchor, box = self.match(boxes_yxyx_rel[start:stop])
            parts.append((np.full(len(anchor), images[start], np.intp), anchor, box + start))
        return joined_positives(parts)

    def candidates(self, boxes: npt.NDArray[np.float64]) -> Indices:
        """(N, 4) -> (N, K) anchors, rising on each level; of equally near cells the first."""
        middle = (boxes[:, :2] + boxes[:, 2:]) / 2  # (N, 2)
        parts = []
        for start, each, centres_y, centres_x in self.levels:
            # The nearest cells are in the nearest rows and columns: the rest is not looked at.
            row, apart_y = nearest(centres_y[None] - middle[:, :1])  # (N, up to 9) each
            column, apart_x = nearest(centres_x[None] - middle[:, 1:])  # (N, up to 9) each
            # (N, up to 81)
            distance = (apart_y[:, :, None] + apart_x[:, None]).reshape(len(boxes), -1)
            # (N, up to 81)
            cell = (row[:, :, None] * len(centres_x) + column[:, None]).reshape(len(boxes), -1)
            first = np.argsort(distance, axis=1, kind="stable")[:, :NEAREST]  # (N, up to 9)
            cell = np.sort(np.take_along_axis(cell, first, 1), axis=1)  # (N, up to 9)
            anchors = start + cell[:, :, None] * each + np.arange(each)  # (N, cells, each)
            parts.append(anchors.reshape(len(boxes), -1))
        return np.concatenate(parts, 1)


def nearest(apart: npt.NDArray[np.float64]) -> tuple[Indices, npt.NDArray[np.float64]]:
    """Of differences (N, L) the `NEAREST` smallest: where they are, rising, and their squares."""
    square = apart * apart
    index = np.sort(np.argsort(square, axis=1, kind="stable")[:, :NEAREST], axis=1)
    return index, np.take_along_axis(square, index, 1)


def overlaps(a: npt.NDArray[np.float64], b: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """IoU of boxes: two (..., 4) yxyx that broadcast -> (...)."""
    sides = np.minimum(a[..., 2:], b[..., 2:]) - np.maximum(a[..., :2], b[..., :2])
    shared = np.maximum(sides, 0).prod(-1)
    areas = (a[..., 2:] - a[..., :2]).prod(-1) + (b[..., 2:] - b[..., :2]).prod(-1)
    result: npt.NDArray[np.float64] = shared / (areas - shared)
    return result
