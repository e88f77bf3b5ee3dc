"""Which class is taken for which: the confusion matrix of detections from a threshold up, with
background.

Why a single detection is wrong is `error_causes.py`'s matter.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from training.evaluation.coco_matching import IOU_THRESHOLDS, Matches
from training.evaluation.detection_table import DetectionTable
from training.evaluation.error_causes import first_of_images, kernels
from training.evaluation.ground_truth import GroundTruth

BACKGROUND = "background"


@dataclass(frozen=True)
class Confusion:
    """Boxes and detections in pairs, counted by their classes.

    Args:
        counts: (C + 1, C + 1) rows: class of the box, columns: class of the detection. The last row
            is detections without a box, the last column boxes without a detection.
        threshold: Lowest score that took part.
    """

    counts: npt.NDArray[np.int64]
    threshold: float


def confusion(
    truth: GroundTruth, table: DetectionTable, matches: Matches, threshold: float
) -> Confusion:
    """Pair detections with boxes at an overlap of 0.5 and count the pairs.

    First come the pairs of one class, as COCO makes them. Then each detection that is left, best
    first, takes the box that is left, of any class, that it overlaps most. Detections on a crowd of
    their class, and beyond the limit of an image and class, are left out, as are crowds.
    """
    num_classes = len(truth.category_ids)
    rows = matches.by_score
    rows = rows[matches.counts[rows] & (matches.score[rows] >= threshold)]
    owner = matches.owner[rows]
    matched = owner >= 0
    box_class = np.full(len(rows), num_classes)
    box_class[matched] = truth.category[owner[matched]]
    free = ~truth.iscrowd
    on_crowd = np.zeros(len(rows), bool)
    on_crowd[matched] = truth.iscrowd[owner[matched]]
    free[owner[matched]] = False
    left = np.flatnonzero(~matched)
    taken = kernels().take_any_class(
        rows[left],
        matches.image,
        np.ascontiguousarray(table.boxes_xywh_px, np.float64),
        first_of_images(truth),
        truth.boxes_xywh_px,
        free,
        float(IOU_THRESHOLDS[0]),
    )
    box_class[left[taken >= 0]] = truth.category[taken[taken >= 0]]
    counts = np.zeros((num_classes + 1, num_classes + 1), np.int64)
    np.add.at(counts, (box_class[~on_crowd], matches.category[rows][~on_crowd]), 1)
    counts[:-1, -1] = np.bincount(truth.category[free], minlength=num_classes)
    return Confusion(counts, threshold)


def confusion_section(matrix: Confusion, names: list[str]) -> dict[str, Any]:
    """Return `confusion` of `metrics.json`."""
    return {
        "overlap": float(IOU_THRESHOLDS[0]),
        "threshold": matrix.threshold,
        "rows": "class of the box",
        "columns": "class of the detection",
        "classes": [*names, BACKGROUND],
        "matrix": matrix.counts.tolist(),
    }
