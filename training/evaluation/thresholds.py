"""Precision, recall and F1 over the score, the best threshold of each class, and how far scores can
be trusted.

All at an overlap of 0.5, from matches of `coco_matching.py`. Who uses a threshold is
`inference/detector.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from training.evaluation.coco_matching import IOU_THRESHOLDS, Matches
from training.evaluation.ground_truth import GroundTruth

_Floats = npt.NDArray[np.float64]
_Bools = npt.NDArray[np.bool_]

GRID = np.linspace(0.0, 1.0, 101)
"""Scores at which curves are sampled."""

BINS = 10


@dataclass(frozen=True)
class Judged:
    """Detections that count, each right or wrong at an overlap of 0.5, best first.

    Args:
        score: (K,) falling.
        hit: (K,) it found a box that counts.
        category: (K,) position of its category.
        num_boxes: (C,) boxes that count.
    """

    score: _Floats
    hit: _Bools
    category: npt.NDArray[np.int64]
    num_boxes: npt.NDArray[np.int64]


def judged(truth: GroundTruth, matches: Matches) -> Judged:
    """Take what counts out of matches: not detections on crowds, nor beyond the limit an image."""
    rows = matches.by_score
    hit = matches.owner[rows] >= 0
    on_crowd = hit & truth.iscrowd[matches.owner[rows]] if len(truth.iscrowd) else hit
    keep = matches.counts[rows] & ~on_crowd
    rows = rows[keep]
    return Judged(
        matches.score[rows], hit[keep], matches.category[rows], matches.num_boxes[:, 0].copy()
    )


@dataclass(frozen=True)
class Operating:
    """What detections from a threshold up are worth; -1 where nothing can be measured.

    Args:
        threshold: Lowest score that is kept.
        f1: Harmonic mean of the two below.
        precision: Share of the kept detections that are right.
        recall: Share of the boxes that are found.
    """

    threshold: float = -1.0
    f1: float = -1.0
    precision: float = -1.0
    recall: float = -1.0


def best_operating(score: _Floats, hit: _Bools, num_boxes: int) -> Operating:
    """Find the threshold of the largest F1; of equal ones the highest.

    Args:
        score: (K,) falling.
        hit: (K,) whether a detection is right.
        num_boxes: Boxes that count.

    >>> best_operating(np.array([0.9, 0.8, 0.3]), np.array([True, True, False]), 2).threshold
    0.8
    """
    hits = np.cumsum(hit)
    if not num_boxes or not len(hits) or not hits[-1]:
        return Operating()
    # Equal scores pass a threshold together, so only the last of them can be a cut.
    last = np.flatnonzero(np.append(score[1:] != score[:-1], True))
    f1 = 2.0 * hits[last] / (last + 1 + num_boxes)
    best = int(np.argmax(f1))
    k = int(last[best])
    return Operating(
        float(score[k]), float(f1[best]), float(hits[k] / (k + 1)), float(hits[k] / num_boxes)
    )


def curve(score: _Floats, hit: _Bools, num_boxes: int) -> dict[str, list[float]]:
    """Return precision, recall and F1 of detections from each score of `GRID` up.

    Args:
        score: (K,) float64, falling.
        hit: (K,) bool, whether each is a hit.
        num_boxes: Boxes that count.

    Where no detection is left, precision is -1 and F1 is 0; without boxes recall and F1 are -1.
    """
    kept = np.searchsorted(-score, -GRID, side="right")
    hits = np.append(0, np.cumsum(hit))[kept]
    precision = np.divide(hits, kept, out=np.full(len(GRID), -1.0), where=kept > 0)
    recall = hits / num_boxes if num_boxes else np.full(len(GRID), -1.0)
    f1 = 2.0 * hits / (kept + num_boxes) if num_boxes else np.full(len(GRID), -1.0)
    return {
        "score": [round(float(s), 2) for s in GRID],
        "precision": [round(float(v), 6) for v in precision],
        "recall": [round(float(v), 6) for v in recall],
        "f1": [round(float(v), 6) for v in f1],
    }


def thresholds_section(judged: Judged, names: list[str]) -> dict[str, Any]:
    """Return `thresholds` of `metrics.json`: the best of all classes together and of each.

    Args:
        judged: The detections that count.
        names: Unique name of each class.
    """
    everything = best_operating(judged.score, judged.hit, int(judged.num_boxes.sum()))
    per_class = {}
    for c, name in enumerate(names):
        mine = judged.category == c
        per_class[name] = vars(
            best_operating(judged.score[mine], judged.hit[mine], int(judged.num_boxes[c]))
        )
    return {"overlap": float(IOU_THRESHOLDS[0]), "all": vars(everything), "per_class": per_class}


def is_share(score: _Floats) -> bool:
    """Whether all scores lie in 0..1."""
    return bool(((score >= 0) & (score <= 1)).all())


def calibration_section(judged: Judged) -> dict[str, Any]:
    """Return `calibration` of `metrics.json`: is a score of 0.7 right seven times in ten?

    `expected_error` is the mean distance between score and share of hits over ten bins of equal
    width, weighted by their detections (the usual ECE); `largest_error` is that of the worst bin.
    Scores beyond 0..1 (logits, per cent) are no probabilities: then both are -1 and the bins empty.
    """
    scores, right = judged.score, judged.hit
    if not is_share(scores):
        scores, right = scores[:0], right[:0]
    bin_of = np.clip((scores * BINS).astype(np.int64), 0, BINS - 1)
    count = np.bincount(bin_of, minlength=BINS)
    score = np.bincount(bin_of, weights=scores, minlength=BINS)
    hits = np.bincount(bin_of, weights=right, minlength=BINS)
    bins, gaps = [], []
    for k in range(BINS):
        mean_score = float(score[k] / count[k]) if count[k] else -1.0
        share = float(hits[k] / count[k]) if count[k] else -1.0
        bins.append(
            {
                "from": k / BINS,
                "to": (k + 1) / BINS,
                "count": int(count[k]),
                "score": mean_score,
                "hits": share,
            }
        )
        gaps.append(abs(mean_score - share))
    total = int(count.sum())
    return {
        "expected_error": float(np.dot(gaps, count) / total) if total else -1.0,
        "largest_error": float(max(gaps)) if total else -1.0,
        "bins": bins,
    }
