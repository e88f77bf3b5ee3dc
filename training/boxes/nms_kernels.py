"""The compiled loops of post-processing: candidates above a floor, their order, greedy suppression.

Importing it imports Numba, and the first call compiles (kept on disk). Who calls it is `nms.py`.
Indices are unsigned where the loop must become vector code: signed ones are checked for being
negative.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from data_tools.core.compiled import compiled


@compiled()
def candidates(scores: NDArray[np.float32], usable: NDArray[np.bool_], floor: np.float32) -> Any:
    """List the scores above the floor, by class and within a class by anchor.

    Args:
        scores: (A, C + 1) scores; column 0 is background and not looked at.
        usable: (A,) whether the anchor's box can become a detection.
        floor: A candidate scores strictly more, and is finite.

    Returns:
        (N,) int64 anchors, (N,) int64 classes from 0, (N,) float32 scores.
    """
    num_anchors, num_columns = scores.shape
    first = np.zeros(num_columns + 1, np.int64)  # first[c]: where column c's candidates begin
    above = np.empty((scores.size + 1, 2), np.int32)  # anchor and column of each candidate
    n = 0
    for a in range(num_anchors):
        if usable[a]:
            for c in range(1, num_columns):
                # Written always and counted if it is one: quicker than a branch that is hard to
                # foresee.
                is_above = floor < scores[a, c] < np.inf
                above[n, 0], above[n, 1] = a, c
                first[c + 1] += is_above
                n += is_above
    for c in range(num_columns):
        first[c + 1] += first[c]
    anchors, classes = np.empty(n, np.int64), np.empty(n, np.int64)
    kept_scores = np.empty(n, np.float32)
    for k in range(n):
        a, c = above[k]
        anchors[first[c]], classes[first[c]], kept_scores[first[c]] = a, c - 1, scores[a, c]
        first[c] += 1
    return anchors, classes, kept_scores


@compiled()
def best_first(scores: NDArray[np.float32]) -> Any:
    """Return the positions of the scores (N,), all >= 0, falling; equal ones as they come
    (int64).
    """
    # The bits of a float >= 0 rise with its value: three passes of radix sort, 11 bits each, over
    # pairs of inverted bits (upper half) and position (lower half).
    pairs = np.empty(len(scores), np.uint64)
    sorted_pairs = np.empty(len(scores), np.uint64)
    first = np.zeros((3, 2048), np.uint32)  # of each pass: where the pairs with a digit begin
    bits = scores.view(np.uint32)
    for k in range(len(scores)):
        pairs[k] = np.uint64(~bits[k]) << np.uint64(32) | np.uint64(k)
        for digit in range(3):
            first[digit, pairs[k] >> np.uint64(32 + 11 * digit) & np.uint64(2047)] += 1
    for digit in range(3):
        first[digit] = np.cumsum(first[digit]) - first[digit]
        for k in range(len(scores)):
            value = pairs[k] >> np.uint64(32 + 11 * digit) & np.uint64(2047)
            sorted_pairs[first[digit, value]] = pairs[k]
            first[digit, value] += 1
        pairs, sorted_pairs = sorted_pairs, pairs
    return (pairs & np.uint64(0xFFFFFFFF)).astype(np.int64)


@compiled()
def greedy(
    boxes: NDArray[np.float64], labels: NDArray[np.int64], iou: float, offset: float,
    max_per_class: int, max_total: int,
) -> Any:  # fmt: skip
    """Go through boxes (N, 4), best first, and pick each that no picked one of its class overlaps.

    Arguments and result as of `nms.nms`, with limits of N or more for none.
    """
    # The picked boxes of class c stand in the columns first[c] .. end[c] - 1, next to each other.
    first = np.concatenate((np.zeros(1, np.int64), np.cumsum(np.bincount(labels))))
    end = first[:-1].copy()
    kept = np.empty((5, len(labels)))  # y1, x1, y2, x2, area
    picked = np.empty(min(len(labels), max_total), np.int64)
    count = 0
    for i in range(len(labels)):
        c = labels[i]
        if count == max_total:
            break
        if end[c] - first[c] == max_per_class:
            continue
        y1, x1, y2, x2 = boxes[i]
        area = (x2 - x1 + offset) * (y2 - y1 + offset)
        overlapping = 0
        # No early end: without it the loop is vector code, eight times as fast.
        for j in range(np.uint64(first[c]), np.uint64(end[c])):
            bottom = y2 if y2 < kept[2, j] else kept[2, j]
            right = x2 if x2 < kept[3, j] else kept[3, j]
            tall = bottom - (y1 if y1 > kept[0, j] else kept[0, j]) + offset
            wide = right - (x1 if x1 > kept[1, j] else kept[1, j]) + offset
            inter = (tall if tall > 0 else 0.0) * (wide if wide > 0 else 0.0)
            overlapping += inter / (area + kept[4, j] - inter) > iou
        if not overlapping:
            kept[0, end[c]], kept[1, end[c]], kept[2, end[c]], kept[3, end[c]] = y1, x1, y2, x2
            kept[4, end[c]] = area
            end[c] += 1
            picked[count] = i
            count += 1
    return picked[:count]
