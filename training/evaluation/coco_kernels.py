"""The compiled loops of COCO's evaluation: matching within an image and category, and accumulation.

Importing it imports Numba, and the first call compiles (kept on disk). Who calls it is
`coco_matching.py` and `coco_ap.py`. A row of flags over the T overlap thresholds is one uint16 with
bit t for threshold t.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from data_tools.core.compiled import compiled

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Flags = NDArray[np.uint16]
Bools = NDArray[np.bool_]


@compiled()
def order_by(order: Ints, keys: Ints, num_keys: int) -> Any:
    """Sort positions by keys[position] in 0 .. num_keys - 1, equal ones as they come in `order`."""
    first = np.zeros(num_keys + 1, np.int64)
    for k in order:
        first[keys[k] + 1] += 1
    for key in range(num_keys):
        first[key + 1] += first[key]
    result = np.empty_like(order)
    for k in order:
        result[first[keys[k]]] = k
        first[keys[k]] += 1
    return result


@compiled()
def overlap(box: Floats, other: Floats, crowd: bool) -> float:
    """Overlap of two [x, y, w, h]; with a crowd, the share of `box` that lies in `other`.

    The order of operations is pycocotools', so that the last bit agrees.
    """
    wide = min(box[0] + box[2], other[0] + other[2]) - max(box[0], other[0])
    tall = min(box[1] + box[3], other[1] + other[3]) - max(box[1], other[1])
    if wide <= 0 or tall <= 0:
        return 0.0
    inter = wide * tall
    area = box[2] * box[3]
    union = area if crowd else area + other[2] * other[3] - inter
    return inter / union if union > 0 else 0.0


@compiled()
def match(
    order: Ints, image: Ints, category: Ints, boxes: Floats, limit: int, thresholds: Floats,
    truth_order: Ints, truth_image: Ints, truth_category: Ints, truth_boxes: Floats,
    crowd: Bools, ignored: Bools,
) -> Any:  # fmt: skip
    """Match the detections of every image and category, best first, with the boxes there.

    Args:
        order: (D,) detections by image, category and falling score.
        image: (D,) position of each detection's image.
        category: (D,) position of its category.
        boxes: (D, 4) `[x, y, w, h]`.
        limit: Detections of an image and category that are looked at.
        thresholds: (T,) overlaps, rising.
        truth_order: (G,) boxes by image and category.
        truth_image: (G,) position of each box's image.
        truth_category: (G,) position of its category.
        truth_boxes: (G, 4) `[x, y, w, h]`.
        crowd: (G,) whether a box is a crowd.
        ignored: (G, A) whether it does not count in an area range.

    Returns:
        (D,) int32 rank in its image and category, (D, A) flags of matched, (D, A) flags of matched
        with a box that does not count, (D,) box matched at the first threshold over all areas or
        -1.
    """
    num_areas, num_thresholds = ignored.shape[1], len(thresholds)
    rank = np.empty(len(order), np.int32)
    matched = np.zeros((len(order), num_areas), np.uint16)
    matched_ignored = np.zeros((len(order), num_areas), np.uint16)
    owner = np.full(len(order), -1, np.int64)
    taken = np.zeros((len(truth_order), num_areas), np.uint16)
    near = np.empty(len(truth_order), np.int64)
    overlaps = np.empty(len(truth_order), np.float64)
    start = begin = end = 0  # of the detections, and of the boxes, of this image and category
    for k in range(len(order)):
        d = order[k]
        before = order[start]
        if image[d] != image[before] or category[d] != category[before]:
            start = k
        rank[d] = k - start
        if start == k:
            begin = end
            while begin < len(truth_order) and (
                truth_image[truth_order[begin]] < image[d]
                or (
                    truth_image[truth_order[begin]] == image[d]
                    and truth_category[truth_order[begin]] < category[d]
                )
            ):
                begin += 1
            end = begin
            while (
                end < len(truth_order)
                and truth_image[truth_order[end]] == image[d]
                and truth_category[truth_order[end]] == category[d]
            ):
                end += 1
        if rank[d] >= limit:
            continue
        count = 0
        for j in range(begin, end):
            g = truth_order[j]
            value = overlap(boxes[d], truth_boxes[g], crowd[g])
            if value >= thresholds[0]:
                near[count], overlaps[count] = g, value
                count += 1
        if count == 0:
            continue
        for area in range(num_areas):
            for t in range(num_thresholds):
                bit = np.uint16(1 << t)
                best = -1
                lowest = min(thresholds[t], 1 - 1e-10)
                for j in range(count):
                    g = near[j]
                    if (taken[g, area] & bit and not crowd[g]) or overlaps[j] < lowest:
                        continue
                    # Boxes that count come first; of equal overlaps the last one wins.
                    if best >= 0:
                        better = ignored[near[best], area]
                        if ignored[g, area] != better:
                            if not better:
                                continue
                        elif overlaps[j] < overlaps[best]:
                            continue
                    best = j
                if best >= 0:
                    g = near[best]
                    taken[g, area] |= bit
                    matched[d, area] |= bit
                    if ignored[g, area]:
                        matched_ignored[d, area] |= bit
                    if area == 0 and t == 0:
                        owner[d] = g
    return rank, matched, matched_ignored, owner


@compiled()
def accumulate(
    order: Ints, category: Ints, rank: NDArray[np.int32], matched: Flags, matched_ignored: Flags,
    outside: Bools, num_boxes: Ints, limits: Ints, recalls: Floats, num_thresholds: int,
) -> Any:  # fmt: skip
    """Sum matches up into precision at each recall, and the largest recalls.

    Args:
        order: (D,) detections by category and falling score.
        category: (D,) position of each detection's category.
        rank: (D,) its rank in its image and category.
        matched: (D, A) flags of `match`.
        matched_ignored: (D, A) flags of `match`.
        outside: (D, A) whether its own area lies outside the range.
        num_boxes: (C, A) boxes that count.
        limits: (M,) detections per image and category that count, rising.
        recalls: (R,) rising.
        num_thresholds: T.

    Returns:
        precision (T, R, C, A) and recall (T, C, A, M), -1 where no box counts.
    """
    num_categories, num_areas = num_boxes.shape
    precision = np.full((num_thresholds, len(recalls), num_categories, num_areas), -1.0)
    recall = np.full((num_thresholds, num_categories, num_areas, len(limits)), -1.0)
    # Precision can only be highest where a box is found: one entry for each box found.
    at_hit = np.empty((num_thresholds, max(1, num_boxes.max())), np.float64)
    hits = np.zeros(num_thresholds, np.int64)
    counted = np.zeros(num_thresholds, np.int64)
    hits_within = np.zeros((num_thresholds, len(limits)), np.int64)
    start = 0
    for c in range(num_categories):
        end = start
        while end < len(order) and category[order[end]] == c:
            end += 1
        for area in range(num_areas):
            total = num_boxes[c, area]
            if total == 0:
                continue
            hits[:], counted[:], hits_within[:] = 0, 0, 0
            for k in range(start, end):
                d = order[k]
                if rank[d] >= limits[-1]:
                    continue
                hit, ignored = matched[d, area], matched_ignored[d, area]
                if hit == 0:
                    if not outside[d, area]:
                        counted += 1
                    continue
                for t in range(num_thresholds):
                    if ignored >> t & 1:
                        continue
                    if hit >> t & 1:
                        hits[t] += 1
                        counted[t] += 1
                        at_hit[t, hits[t] - 1] = hits[t] / (counted[t] + np.spacing(1.0))
                        for m in range(len(limits)):
                            hits_within[t, m] += rank[d] < limits[m]
                    elif not outside[d, area]:
                        counted[t] += 1
            for t in range(num_thresholds):
                for m in range(len(limits)):
                    recall[t, c, area, m] = hits_within[t, m] / total
                for h in range(hits[t] - 2, -1, -1):
                    at_hit[t, h] = max(at_hit[t, h], at_hit[t, h + 1])
                h = 0
                for r in range(len(recalls)):
                    while h < hits[t] and (h + 1) / total < recalls[r]:
                        h += 1
                    precision[t, r, c, area] = at_hit[t, h] if h < hits[t] else 0.0
        start = end
    return precision, recall
