"""COCO's twelve numbers, precision curves and per-class AP from matches: pycocotools' figures,
faster.

Matching is done in `coco_matching.py`; VOC's measure is in `voc_ap.py`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from training.evaluation.coco_matching import IOU_THRESHOLDS, LIMITS, Matches, kernels

RECALLS = np.linspace(0.0, 1.0, 101)
NAMES = ("AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl")

_Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class CocoScores:
    """Precision and recall over the grid of COCO; -1 where a category has no box that counts.

    Args:
        precision: (T, R, C, A) at the overlaps, recalls, categories and area ranges.
        recall: (T, C, A, M) the largest recall reached with 1, 10, 100 detections.
        area_boxes: (C, A) boxes that count.
    """

    precision: _Floats
    recall: _Floats
    area_boxes: npt.NDArray[np.int64]

    @property
    def num_boxes(self) -> npt.NDArray[np.int64]:
        """(C,) boxes that count, over all areas."""
        return self.area_boxes[:, 0]

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
    precision, recall = kernels().accumulate(
        matches.order,
        matches.category,
        matches.rank,
        matches.matched,
        matches.matched_ignored,
        matches.outside,
        matches.num_boxes,
        np.array(LIMITS),
        RECALLS,
        len(IOU_THRESHOLDS),
    )
    return CocoScores(precision, recall, matches.num_boxes)
