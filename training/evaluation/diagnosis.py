"""What is to be done about an AP: causes, confusion, thresholds, calibration and own sizes of one
evaluation.

Only joins the measures of this room. They cost more than the figures of `scoring.py`, so the
trainer does without them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from training.evaluation.coco_ap import coco_scores
from training.evaluation.coco_matching import match
from training.evaluation.confusion import Confusion, confusion, confusion_section
from training.evaluation.error_causes import ErrorCauses, error_causes, errors_section
from training.evaluation.scoring import EvaluationResult
from training.evaluation.settings import THRESHOLD
from training.evaluation.thresholds import Judged, calibration_section, curve, judged


@dataclass(frozen=True)
class Diagnosis:
    """The measures as arrays, for pictures and pages, and as they stand in `metrics.json`.

    Args:
        causes: What is wrong with each detection.
        confusion: The confusion matrix at `threshold`.
        judged: Right and wrong detections, best first.
        threshold: The best threshold of all classes together.
        sections: `errors`, `confusion`, `calibration`, `sizes` (if asked for), and `thresholds`
            with its curve.
    """

    causes: ErrorCauses
    confusion: Confusion
    judged: Judged
    threshold: float
    sections: dict[str, Any]


def diagnose(result: EvaluationResult, sizes: Sequence[float] = ()) -> Diagnosis:
    """Compute everything.

    Args:
        result: An evaluation.
        sizes: Rising sides in pixels that cut one's own size classes, see `sizes_section`.
    """
    truth, matches, table = result.truth, result.matches, result.detections
    names = truth.unique_names
    judgement = judged(truth, matches)
    thresholds = dict(result.metrics["thresholds"])
    thresholds["curve"] = curve(judgement.score, judgement.hit, int(judgement.num_boxes.sum()))
    best = thresholds["all"]["threshold"]
    # Where no detection is right, no threshold is the best.
    threshold = best if best >= 0 else THRESHOLD
    causes = error_causes(truth, table, matches)
    matrix = confusion(truth, table, matches, threshold)
    sections = {
        "thresholds": thresholds,
        "errors": errors_section(truth, matches, causes, threshold, names),
        "confusion": confusion_section(matrix, names),
        "calibration": calibration_section(judgement),
    }
    if sizes:
        sections["sizes"] = sizes_section(result, sizes)
    return Diagnosis(causes, matrix, judgement, threshold, sections)


def sizes_section(result: EvaluationResult, sizes: Sequence[float]) -> dict[str, dict[str, float]]:
    """Return AP, AP50, AR100 and the boxes of size classes of one's own.

    Args:
        result: An evaluation.
        sizes: Rising sides in pixels. A box of area A belongs between the two that enclose the
            square root of A; one exactly on a side belongs to both classes, as in COCO. 32 and 96
            are COCO's small, medium and large, here called `0-32`, `32-96` and `96-`.
    """
    sides = [0.0, *map(float, sizes)]
    areas = [side**2 for side in sides]
    ranges = np.array([[0.0, 1e10], *zip(areas, [*areas[1:], 1e10], strict=True)])
    scores = coco_scores(match(result.truth, result.detections, ranges))
    section: dict[str, dict[str, float]] = {}
    for k, low in enumerate(sides):
        high = f"{sides[k + 1]:g}" if k + 1 < len(sides) else ""
        precision, recall = scores.precision[..., k + 1], scores.recall[:, :, k + 1, -1]
        known = precision[0, 0] > -1
        section[f"{low:g}-{high}"] = {
            "AP": float(precision[:, :, known].mean()) if known.any() else -1.0,
            "AP50": float(precision[0][:, known].mean()) if known.any() else -1.0,
            "AR100": float(recall[:, known].mean()) if known.any() else -1.0,
            "num_boxes": int(scores.area_boxes[:, k + 1].sum()),
        }
    return section
