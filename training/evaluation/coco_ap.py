"""COCO's twelve numbers, precision curves and per-class AP from matches: pycocotools' figures, faster.

Matching is done in `coco_matching.py`; VOC's measure is in `voc_ap.py`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from training.evaluation.coco_matching import AREA_RANGES, IOU_THRESHOLDS, Matches

RECALLS = np.linspace(0.0, 1.0, 101)
LIMITS = (1, 10, 100)
"""Detections per image and category that the three average recalls count."""

NAMES = ("AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl")

_Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class CocoScores:
    """Precision and recall over the grid of COCO; -1 where a category has no box that counts.

    Args:
        precision: (T, R, C, A) at the overlaps, recalls, categories and area ranges.
        recall: (T, C, A, M) the largest recall reached with 1, 10, 100 detections.
        num_boxes: (C,) boxes that count, over all areas.
    """

    precision: _Floats
    recall: _Floats
    num_boxes: npt.NDArray[np.int64]

    def numbers(self) -> dict[str, float]:
        """Return the twelve numbers by name; -1 where nothing can be measured."""
        p, r = self.precision, self.recall
        values = [
            _mean(p[..., 0]),
            _mean(p[:1, ..., 0]),
            _mean(p[5:6, ..., 0]),
            *(_mean(p[..., area]) for area in (1, 2, 3)),
            *(_mean(r[:, :, 0, limit]) for limit in (0, 1, 2)),
            *(_mean(r[:, :, area, 2]) for area in (1, 2, 3)),
        ]
        return dict(zip(NAMES, values, strict=True))

    def of_category(self, category: int) -> dict[str, float]:
        """Return AP, AP50, AP75, APs, APm, APl and AR100 of one category (its position)."""
        p, r = self.precision[:, :, category], self.recall[:, category]
        return {
            "AP": _mean(p[..., 0]),
            "AP50": _mean(p[0, :, 0]),
            "AP75": _mean(p[5, :, 0]),
            "APs": _mean(p[..., 1]),
            "APm": _mean(p[..., 2]),
            "APl": _mean(p[..., 3]),
            "AR100": _mean(r[:, 0, 2]),
        }


def _mean(values: _Floats) -> float:
    known = values[values > -1]
    return float(np.mean(known)) if len(known) else -1.0


def coco_scores(matches: Matches) -> CocoScores:
    """Accumulate matches into precision at 101 recalls and the largest recalls."""
    num_categories = len(matches.num_boxes)
    shape = (len(IOU_THRESHOLDS), len(RECALLS), num_categories, len(AREA_RANGES))
    precision = -np.ones(shape)
    recall = -np.ones((shape[0], shape[2], shape[3], len(LIMITS)))
    by_category = np.argsort(matches.category, kind="stable")
    ends = np.searchsorted(matches.category[by_category], np.arange(num_categories), side="right")
    start = 0
    for category, end in enumerate(ends):
        rows = by_category[start:end]
        start = end
        counts = matches.num_boxes[category]
        if not counts.any():
            continue
        rows = rows[np.argsort(-matches.score[rows], kind="stable")]
        matched, ignored = _outcome(matches, rows)
        for area in np.flatnonzero(counts):
            hit = matched[:, area] & ~ignored[:, area]
            miss = ~matched[:, area] & ~ignored[:, area]
            for m, limit in enumerate(LIMITS):
                within = matches.rank[rows] < limit
                recall[:, category, area, m] = hit[within].sum(axis=0) / counts[area]
            precision[:, :, category, area] = _precision(hit, miss, int(counts[area]))
    return CocoScores(precision, recall, matches.num_boxes[:, 0])


def _outcome(
    matches: Matches, rows: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    """Return (K, A, T) matched and ignored of some detections, near or not."""
    matched = np.zeros((len(rows), *matches.matched.shape[1:]), bool)
    ignored = np.repeat(matches.outside[rows][:, :, None], matches.matched.shape[2], axis=2)
    place = np.searchsorted(matches.near, rows)
    is_near = place < len(matches.near)
    is_near[is_near] = matches.near[place[is_near]] == rows[is_near]
    place = place[is_near]
    matched[is_near] = matches.matched[place]
    ignored[is_near] = np.where(
        matches.matched[place], matches.matched_ignored[place], ignored[is_near]
    )
    return matched, ignored


def _precision(hit: npt.NDArray[np.bool_], miss: npt.NDArray[np.bool_], num_boxes: int) -> _Floats:
    """Return (T, R) precision: at each recall the best precision at that recall or above.

    Args:
        hit: (K, T) detections, best first, that found a box that counts.
        miss: (K, T) detections that found nothing and count as wrong.
        num_boxes: Boxes that count.
    """
    table = np.zeros((hit.shape[1], len(RECALLS)))
    for t in range(hit.shape[1]):
        counted = hit[:, t] | miss[:, t]
        hits = np.cumsum(hit[counted, t], dtype=np.float64)
        if not len(hits):
            continue
        reached = hits / num_boxes
        precise = hits / (np.arange(1, len(hits) + 1) + np.spacing(1))
        best = np.maximum.accumulate(precise[::-1])[::-1]
        place = np.searchsorted(reached, RECALLS, side="left")
        inside = place < len(hits)
        table[t, inside] = best[place[inside]]
    return table
