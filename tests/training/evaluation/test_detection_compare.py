"""Faults are told from what rounding does at the limits of overlap and score."""

from __future__ import annotations

import numpy as np

from training.boxes.postprocess import Protocol, detect
from training.evaluation.detection_compare import Comparison, compare_detections

PROTOCOL = Protocol("p", 0.1, 0.6, max_per_image=5)
SIZE = (100, 100)

# Boxes 0 and 1 overlap by exactly the limit; 2 stands alone; 3 is on box 0.
BOXES = np.array(
    [[0, 0, 0.4, 0.4], [0, 0.1, 0.4, 0.5], [0.6, 0.6, 0.9, 0.9], [0, 0, 0.4, 0.39]], np.float32
)
SCORES = np.array([[0, 0.9, 0], [0, 0.8, 0], [0, 0, 0.7], [0, 0.6, 0]], np.float32)


def compare(boxes: np.ndarray, scores: np.ndarray, **changes: float) -> Comparison:
    """Compare the detections of an output with those of the true one."""
    other = Protocol("p", 0.1, changes.get("iou", 0.6), max_per_image=5)
    expected, found = detect(BOXES, SCORES, *SIZE, PROTOCOL), detect(boxes, scores, *SIZE, other)
    return compare_detections(expected, found, BOXES, SCORES, SIZE, PROTOCOL, 1e-3)


def test_the_same_is_the_same() -> None:
    assert compare(BOXES, SCORES) == Comparison(0, 0)
    assert compare(BOXES + 1e-5, SCORES + 1e-5) == Comparison(0, 0)


def test_an_overlap_at_the_limit_may_tip_either_way() -> None:
    kept, gone = compare(BOXES, SCORES, iou=0.6001), compare(BOXES, SCORES, iou=0.5999)
    assert (kept.faults, gone.faults) == (0, 0)
    assert sorted([kept.unmatched, gone.unmatched])[1] >= 1  # one of them did tip


def test_a_missing_detection_is_a_fault() -> None:
    lost = SCORES.copy()
    lost[2] = 0
    assert compare(BOXES, lost).faults == 1


def test_another_score_class_or_place_is_a_fault() -> None:
    for change in (0.1, -0.2):
        assert compare(BOXES, SCORES + np.float32(change) * (SCORES > 0)).faults > 0
    moved = BOXES.copy()
    moved[2] += 0.01
    assert compare(moved, SCORES).faults == 1  # invented; what is missing it would have removed
    swapped = SCORES[:, [0, 2, 1]]
    assert compare(BOXES, swapped).faults > 0


def test_missing_suppression_is_a_fault() -> None:
    assert compare(BOXES, SCORES, iou=0.99).faults == 1  # box 3 lies on box 0


def test_a_score_at_the_floor_may_tip() -> None:
    scores = SCORES.copy()
    scores[2, 2] = 0.1002
    expected = detect(BOXES, scores, *SIZE, PROTOCOL)
    found = detect(BOXES, scores - np.float32(5e-4), *SIZE, PROTOCOL)
    result = compare_detections(expected, found, BOXES, scores, SIZE, PROTOCOL, 1e-3)
    assert result == Comparison(1, 0)


def test_nothing_on_either_side() -> None:
    none = detect(BOXES, SCORES * 0, *SIZE, PROTOCOL)
    empty = compare_detections(none, none, BOXES, SCORES, SIZE, PROTOCOL, 1e-3)
    assert empty == Comparison(0, 0)
    assert compare(BOXES, SCORES * 0).faults > 0
