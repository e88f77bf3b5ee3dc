"""The compiled loops behind the causes of errors and the confusion matrix.

Importing it imports Numba, and the first call compiles (kept on disk). Who calls it is
`error_causes.py` and `confusion.py`. Detections and boxes are visited image by image.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from data_tools.core.compiled import compiled
from training.evaluation.coco_kernels import overlap

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]


@compiled()
def best_overlaps(
    image: Ints, category: Ints, boxes: Floats, first: Ints, truth_category: Ints,
    truth_boxes: Floats, usable: Bools,
) -> Any:  # fmt: skip
    """Find the box of its own class, and of any other, that each detection overlaps most.

    Args:
        image: (D,) position of each detection's image.
        category: (D,) position of its category.
        boxes: (D, 4) `[x, y, w, h]`.
        first: (I + 1,) where the boxes of each image begin.
        truth_category: (G,) position of each box's category; boxes are sorted by image.
        truth_boxes: (G, 4) `[x, y, w, h]`.
        usable: (G,) whether a box is looked at.

    Returns:
        (D, 2) largest overlap with a box of its own and of another class, and (D, 2) which box that
        is, -1 for none; of equal overlaps the first box wins.
    """
    best = np.zeros((len(image), 2), np.float64)
    which = np.full((len(image), 2), -1, np.int64)
    for d in range(len(image)):
        for g in range(first[image[d]], first[image[d] + 1]):
            if usable[g]:
                other = 0 if truth_category[g] == category[d] else 1
                value = overlap(boxes[d], truth_boxes[g], False)
                if value > best[d, other]:
                    best[d, other], which[d, other] = value, g
    return best, which


@compiled()
def take_any_class(
    order: Ints, image: Ints, boxes: Floats, first: Ints, truth_boxes: Floats, free: Bools,
    limit: float,
) -> Any:  # fmt: skip
    """Let detections, in their order, take the free box of any class that they overlap most.

    Args:
        order: (K,) detections, best first.
        image: (D,) position of each detection's image.
        boxes: (D, 4) `[x, y, w, h]`.
        first: (I + 1,) where the boxes of each image begin.
        truth_boxes: (G, 4) `[x, y, w, h]`.
        free: (G,) boxes that can be taken; False afterwards where one was.
        limit: Least overlap.

    Returns:
        (K,) the box that each one took, -1 for none.
    """
    taken = np.full(len(order), -1, np.int64)
    for k in range(len(order)):
        d = order[k]
        best = limit
        for g in range(first[image[d]], first[image[d] + 1]):
            if free[g]:
                value = overlap(boxes[d], truth_boxes[g], False)
                if value >= best and (taken[k] < 0 or value > best):
                    best, taken[k] = value, g
        if taken[k] >= 0:
            free[taken[k]] = False
    return taken


@compiled()
def average_precision(
    order: Ints, category: Ints, hit: Bools, counted: Bools, totals: Ints, recalls: Floats
) -> Any:
    """COCO's AP of each class from detections that are already judged.

    Args:
        order: (D,) detections by category and falling score.
        category: (D,) position of each one's category.
        hit: (D,) it found a box.
        counted: (D,) it counts at all.
        totals: (C,) boxes that count.
        recalls: (R,) rising.

    Returns:
        (C,) AP, -1 where no box counts.
    """
    result = np.full(len(totals), -1.0)
    at_hit = np.empty(max(1, len(order)), np.float64)
    k = 0
    for c in range(len(totals)):
        hits = seen = 0
        while k < len(order) and category[order[k]] == c:
            d = order[k]
            k += 1
            if counted[d]:
                seen += 1
                if hit[d]:
                    hits += 1
                    at_hit[hits - 1] = hits / (seen + np.spacing(1.0))
        if totals[c] <= 0:
            continue
        for h in range(hits - 2, -1, -1):
            at_hit[h] = max(at_hit[h], at_hit[h + 1])
        total, h = 0.0, 0
        for recall in recalls:
            while h < hits and (h + 1) / totals[c] < recall:
                h += 1
            total += at_hit[h] if h < hits else 0.0
        result[c] = total / len(recalls)
    return result


@compiled()
def evidence(
    truth_image: Ints, truth_category: Ints, truth_boxes: Floats, first: Ints, order: Ints,
    category: Ints, score: Floats, boxes: Floats, limit: float,
) -> Any:  # fmt: skip
    """Say how well detections speak for each box.

    Args:
        truth_image: (G,) position of each box's image.
        truth_category: (G,) position of its category.
        truth_boxes: (G, 4) `[x, y, w, h]`.
        first: (I + 1,) where the detections of each image begin in `order`.
        order: (D,) detections by image.
        category: (D,) position of each detection's category.
        score: (D,) its score.
        boxes: (D, 4) `[x, y, w, h]`.
        limit: Overlap from which a detection speaks for a box of its class.

    Returns:
        (G,) best score of a detection of its own class there, 0 for none, and (G,) the largest
        product of score and overlap of a detection of any class.
    """
    own = np.zeros(len(truth_image), np.float64)
    anything = np.zeros(len(truth_image), np.float64)
    for g in range(len(truth_image)):
        for k in range(first[truth_image[g]], first[truth_image[g] + 1]):
            d = order[k]
            value = overlap(boxes[d], truth_boxes[g], False)
            anything[g] = max(anything[g], value * score[d])
            if value >= limit and category[d] == truth_category[g]:
                own[g] = max(own[g], score[d])
    return own, anything


FUNCTIONS = (evidence, best_overlaps, take_any_class, average_precision)
"""All that is compiled here."""
