"""All figures of an evaluation from the detections of both protocols and the ground truth.

How the detections came about is `evaluate.py`'s matter.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from training.evaluation.coco_ap import CocoScores, coco_scores
from training.evaluation.coco_matching import Matches, match
from training.evaluation.detection_table import DetectionTable
from training.evaluation.ground_truth import GroundTruth
from training.evaluation.thresholds import judged, thresholds_section
from training.evaluation.voc_ap import VocScores, voc_scores


@dataclass(frozen=True)
class EvaluationResult:
    """Figures of one evaluation, and what they were made of.

    Args:
        metrics: `metrics.json` without hashes: `coco`, `published`, `voc`, `per_class`,
            `thresholds`. Numbers are in 0..1, and -1 where there is nothing to measure.
        detections: Detections of the `coco` protocol over all ranks, sorted by image.
        truth: The ground truth they were scored against.
        matches: What each detection matched, for pictures of the worst images.
        scores: Precision over recall, for curves.
        seconds: Time spent: `network`, `postprocess` and `wait` (for images), and `total`.
    """

    metrics: dict[str, Any]
    detections: DetectionTable
    truth: GroundTruth
    matches: Matches
    scores: CocoScores
    seconds: dict[str, float] = field(default_factory=dict)


def score(
    truth: GroundTruth,
    coco: DetectionTable,
    published: DetectionTable,
    seconds: dict[str, float] | None = None,
) -> EvaluationResult:
    """Compute all figures from the detections of both protocols.

    Args:
        truth: Ground truth of every image.
        coco: Detections of the `coco` protocol.
        published: Detections of the `published` protocol, over every image; those of images that
            the published tools drop are left out here.
        seconds: Passed through.
    """
    matches = match(truth, coco)
    scores = coco_scores(matches)
    voc = voc_scores(truth, coco)
    keep = truth.published_images()
    kept = truth.only_images(keep)
    rows = np.isin(published.image_id, kept.image_ids)
    old = coco_scores(match(kept, published.where(rows)))
    metrics = {
        "coco": {**scores.numbers(), "num_images": truth.num_images},
        "published": {**old.numbers(), "num_images": kept.num_images},
        "voc": {**voc.means(), "num_images": truth.num_images},
        "per_class": _per_class(truth, scores, voc, matches),
        "thresholds": thresholds_section(judged(truth, matches), truth.unique_names),
    }
    return EvaluationResult(metrics, coco, truth, matches, scores, dict(seconds or {}))


def _per_class(
    truth: GroundTruth, scores: CocoScores, voc: VocScores, matches: Matches
) -> dict[str, dict[str, float]]:
    counts = np.bincount(matches.category[matches.counts], minlength=len(truth.category_ids))
    table: dict[str, dict[str, float]] = {}
    for c, key in enumerate(truth.unique_names):
        table[key] = {
            "category_id": int(truth.category_ids[c]),
            **scores.of_category(c),
            "VOC2007": float(voc.ap_2007[c]),
            "VOC2010": float(voc.ap_2010[c]),
            "num_boxes": int(scores.num_boxes[c]),
            "num_detections": int(counts[c]),
        }
    return table
