"""COCO's matching of detections with ground truth, all images and categories at once.

Figures are made from the matches in `coco_ap.py`. The rules are those of pycocotools, to the bit.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from training.evaluation.detection_table import DetectionTable
from training.evaluation.ground_truth import GroundTruth, positions

IOU_THRESHOLDS = np.linspace(0.5, 0.95, 10)
AREA_RANGES = np.array([[0.0, 1e10], [0.0, 32.0**2], [32.0**2, 96.0**2], [96.0**2, 1e10]])
"""All, small, medium, large: COCO's names for the area of a box in pixels, bounds included."""

MAX_DETECTIONS = 100
"""Detections of a category in an image that count."""

_PAIRS_AT_ONCE = 1_000_000
_Ints = npt.NDArray[np.int64]
_Bools = npt.NDArray[np.bool_]
_Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Matches:
    """Detections sorted by (image, category, falling score), and what each of them matched.

    Only detections that overlap some box of their category by 0.5 or more can match; they are the
    `near` ones and carry the large arrays. A is the area ranges, T the overlap thresholds.

    Args:
        row: (D,) position of each detection in the table it came from.
        image: (D,) position of its image.
        category: (D,) position of its category.
        score: (D,) its score.
        rank: (D,) its place, from 0, among those of its image and category.
        outside: (D, A) its own area lies outside the range.
        near: (N,) positions, rising, of the near detections.
        matched: (N, A, T) it matched a box.
        matched_ignored: (N, A, T) the box it matched does not count (crowd, or area outside).
        num_boxes: (C, A) boxes that count, for each category.
        found_score: (G,) score of the detection that matched each box at 0.5, over all areas, -1 if none.
    """

    row: _Ints
    image: _Ints
    category: _Ints
    score: _Floats
    rank: _Ints
    outside: _Bools
    near: _Ints
    matched: _Bools
    matched_ignored: _Bools
    num_boxes: _Ints
    found_score: _Floats


def match(truth: GroundTruth, table: DetectionTable) -> Matches:
    """Match every detection, best first, with the free box it overlaps most.

    Boxes that count come before boxes that do not; a crowd may be matched any number of times, and the
    overlap with it is the share of the detection that lies in it. Among equal overlaps the box that
    stands last in the file wins, as in pycocotools.

    Raises:
        DataError: If a detection names an image or a category that the ground truth does not know.
    """
    image = positions(truth.image_ids, table.image_id, "image_id of a detection")
    category = positions(truth.category_ids, table.category_id, "category_id of a detection")
    group = image * len(truth.category_ids) + category
    row = np.lexsort((-table.score, group))
    rank = _rank_in_run(group[row])
    row, rank = row[rank < MAX_DETECTIONS], rank[rank < MAX_DETECTIONS]
    group = group[row]
    boxes = table.boxes_xywh_px[row]
    area = boxes[:, 2] * boxes[:, 3]
    ignored = truth.iscrowd[:, None] | _outside(truth.area)

    truth_group = truth.image * len(truth.category_ids) + truth.category
    truth_order = np.argsort(truth_group, kind="stable")
    detection, box, overlap = _near_pairs(boxes, area, group, truth, truth_group, truth_order)
    near, first_pair = np.unique(detection, return_index=True)
    matched, matched_ignored, found_by = _assign(
        group[near], np.append(first_pair, len(box)), box, overlap, ignored, truth.iscrowd
    )
    found_score = (
        np.where(found_by >= 0, table.score[row][near][found_by], -1.0)
        if len(near)
        else (np.full(len(truth.area), -1.0))
    )
    num_boxes = np.stack(
        [
            np.bincount(truth.category[~ignored[:, a]], minlength=len(truth.category_ids))
            for a in range(len(AREA_RANGES))
        ],
        axis=1,
    )
    return Matches(
        row=row,
        image=image[row],
        category=category[row],
        score=table.score[row],
        rank=rank,
        outside=_outside(area),
        near=near,
        matched=matched,
        matched_ignored=matched_ignored,
        num_boxes=num_boxes,
        found_score=found_score,
    )


def _outside(area: _Floats) -> _Bools:
    return (area[:, None] < AREA_RANGES[:, 0]) | (area[:, None] > AREA_RANGES[:, 1])


def _rank_in_run(values: _Ints) -> _Ints:
    """Return each entry's number, from 0, in its run of equal values; `values` must be rising."""
    return np.arange(len(values)) - np.searchsorted(values, values, side="left")


def _near_pairs(
    boxes: _Floats,
    area: _Floats,
    group: _Ints,
    truth: GroundTruth,
    truth_group: _Ints,
    truth_order: _Ints,
) -> tuple[_Ints, _Ints, _Floats]:
    """List (detection, box, overlap) of one image and category that overlap by 0.5 or more."""
    sorted_group = truth_group[truth_order]
    first = np.searchsorted(sorted_group, group, side="left")
    count = np.searchsorted(sorted_group, group, side="right") - first
    total = np.cumsum(count)
    parts: list[tuple[_Ints, _Ints, _Floats]] = []
    start = 0
    while start < len(group):
        done = total[start - 1] if start else 0
        stop = max(start + 1, int(np.searchsorted(total, done + _PAIRS_AT_ONCE, side="right")))
        lengths = count[start:stop]
        d = np.repeat(np.arange(start, stop), lengths)
        within = np.arange(len(d)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        b = truth_order[first[d] + within]
        overlap = _overlap(boxes[d], area[d], truth.boxes_xywh_px[b], truth.iscrowd[b])
        close = overlap >= IOU_THRESHOLDS[0]
        parts.append((d[close], b[close], overlap[close]))
        start = stop
    if not parts:
        return np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0)
    d, b, overlap = (np.concatenate(column) for column in zip(*parts, strict=True))
    return d, b, overlap


def _overlap(boxes: _Floats, area: _Floats, others: _Floats, crowd: _Bools) -> _Floats:
    # The order of operations is pycocotools', so that the last bit agrees.
    wide = np.minimum(boxes[:, 0] + boxes[:, 2], others[:, 0] + others[:, 2]) - np.maximum(
        boxes[:, 0], others[:, 0]
    )
    tall = np.minimum(boxes[:, 1] + boxes[:, 3], others[:, 1] + others[:, 3]) - np.maximum(
        boxes[:, 1], others[:, 1]
    )
    inter = np.where((wide > 0) & (tall > 0), wide * tall, 0.0)
    union = np.where(crowd, area, area + others[:, 2] * others[:, 3] - inter)
    return np.divide(inter, union, out=np.zeros_like(inter), where=union > 0)


def _assign(
    group: _Ints,
    first_pair: _Ints,
    box: _Ints,
    overlap: _Floats,
    ignored: _Bools,
    crowd: _Bools,
) -> tuple[_Bools, _Bools, _Ints]:
    """Go through the near detections best first, one of every group at a time.

    Args:
        group: (N,) group of each near detection, rising.
        first_pair: (N + 1,) where each one's pairs begin.
        box: (P,) box of each pair, in the file's order within a detection.
        overlap: (P,) its overlap.
        ignored: (G, A) the box does not count in the range.
        crowd: (G,) the box is a crowd.

    Returns:
        (N, A, T) matched, (N, A, T) matched an ignored box, and (G,) which near detection took each
        box at the first threshold over all areas, -1 for none.
    """
    lanes = (len(AREA_RANGES), len(IOU_THRESHOLDS))
    matched = np.zeros((len(group), *lanes), bool)
    matched_ignored = np.zeros_like(matched)
    taken = np.zeros((len(crowd), *lanes), bool)
    found_by = np.full(len(crowd), -1, np.int64)
    # Comparing whole numbers is exact: rank overlaps, and lift boxes that count above all others.
    _, level = np.unique(overlap, return_inverse=True)
    lift = int(level.max(initial=0)) + 1
    limits = np.minimum(IOU_THRESHOLDS, 1 - 1e-10)
    turn = _rank_in_run(group)
    for number in range(int(turn.max(initial=-1)) + 1):
        current = np.flatnonzero(turn == number)
        lengths = first_pair[current + 1] - first_pair[current]
        begins = np.cumsum(lengths) - lengths
        pair = np.arange(lengths.sum()) + np.repeat(first_pair[current] - begins, lengths)
        g = box[pair]
        free = ~taken[g] | crowd[g, None, None]
        free &= (overlap[pair, None] >= limits)[:, None, :]
        value = level[pair, None] + lift * ~ignored[g]
        value = np.where(free, value[:, :, None], -1)
        best = np.maximum.reduceat(value, begins, axis=0)
        is_best = (value >= 0) & (value == np.repeat(best, lengths, axis=0))
        place = np.where(is_best, np.arange(len(pair))[:, None, None], -1)
        winner = np.maximum.reduceat(place, begins, axis=0)
        hit = winner >= 0
        n, a, t = np.nonzero(hit)
        won = g[winner[hit]]
        taken[won, a, t] = True
        matched[current[n], a, t] = True
        matched_ignored[current[n], a, t] = ignored[won, a]
        plain = (a == 0) & (t == 0)
        fresh = found_by[won[plain]] < 0
        found_by[won[plain][fresh]] = current[n[plain]][fresh]
    return matched, matched_ignored, found_by
