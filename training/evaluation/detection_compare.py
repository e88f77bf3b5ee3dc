"""Are two lists of detections the same but for rounding? Overlaps and scores at their limits may
tip.

On regular default boxes overlaps of exactly the limit are common, and then the last bit decides
which of two boxes survives, and with it whole chains. Such differences are distinguished from
faults here; `exporting/parity.py` asks.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from data_tools.core.boxes import iou
from training.boxes.postprocess import Detections, Protocol


@dataclass(frozen=True)
class Comparison:
    """What distinguishes two lists of detections of one image.

    Args:
        unmatched: Detections of either side without a partner of the same class, box and score.
        faults: Those of them that rounding cannot explain.
    """

    unmatched: int
    faults: int


def compare_detections(
    expected: Detections,
    others: Detections,
    boxes_yxyx_rel: npt.NDArray[np.float32],
    scores: npt.NDArray[np.float32],
    size: tuple[int, int],
    protocol: Protocol,
    tolerance: float,
) -> Comparison:
    """Compare detections with those expected from a network's output.

    A detection too many is no fault if the network has such a box with such a score, and no better
    detection overlaps it by more than the limit. A missing one is no fault if a better one overlaps
    it by the limit, or if its score is that of the last detection or of the floor. All within the
    tolerance.

    Args:
        expected: What the network's output gives.
        others: What is to be checked.
        boxes_yxyx_rel: (A, 4) the network's boxes.
        scores: (A, C + 1) the network's scores.
        size: Height and width of the image.
        protocol: Floor, overlap and limits of both sides.
        tolerance: Largest difference of a score, of a relative coordinate, and of an overlap.
    """
    scale = np.array([*size, *size], np.float64)
    same = _pairs(expected, others, scale, tolerance)
    extra, lost = np.flatnonzero(~same.any(axis=0)), np.flatnonzero(~same.any(axis=1))
    limit = protocol.nms_iou
    faults = 0
    for k in extra:
        known = np.abs(scores[:, others.labels[k]] - others.scores[k]) <= tolerance
        gap = np.abs(boxes_yxyx_rel * scale - others.boxes_yxyx_px[k]) / scale
        if (
            not (known & (gap.max(axis=1) <= tolerance)).any()
            or _largest_overlap(others, others, int(k), tolerance) > limit + tolerance
        ):
            faults += 1
    full = protocol.max_per_image is not None and len(others) >= protocol.max_per_image
    last = max(protocol.score_floor, float(others.scores[-1]) if full else 0.0)
    for k in lost:
        if expected.scores[k] <= last + tolerance:
            continue
        if _largest_overlap(expected, others, int(k), tolerance) < limit - tolerance:
            faults += 1
    return Comparison(len(extra) + len(lost), faults)


def _pairs(
    a: Detections, b: Detections, scale: npt.NDArray[np.float64], tolerance: float
) -> npt.NDArray[np.bool_]:
    """Return (K, L) which detections are the same."""
    gap = np.abs(a.boxes_yxyx_px[:, None] - b.boxes_yxyx_px[None]) / scale
    same = gap.max(axis=2, initial=0.0) <= tolerance
    same &= a.labels[:, None] == b.labels[None]
    same &= np.abs(a.scores[:, None] - b.scores[None]) <= tolerance
    return same


def _largest_overlap(owner: Detections, others: Detections, k: int, tolerance: float) -> float:
    """Return how much a detection overlaps another of its class that scores as much or more."""
    better = (others.labels == owner.labels[k]) & (
        others.scores >= owner.scores[k] - np.float32(tolerance)
    )
    if owner is others:
        better[k:] = False
    overlaps = iou(owner.boxes_yxyx_px[k][None], others.boxes_yxyx_px[better])
    return float(overlaps.max(initial=0.0))
