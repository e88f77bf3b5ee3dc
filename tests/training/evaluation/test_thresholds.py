"""Best thresholds, curves over the score, calibration: by trying every threshold, and by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.helpers.coco_cases import random_case
from training.evaluation.coco_matching import match
from training.evaluation.detection_table import from_results
from training.evaluation.ground_truth import from_coco
from training.evaluation.thresholds import (
    Judged,
    best_operating,
    calibration_section,
    curve,
    judged,
    thresholds_section,
)


@settings(max_examples=80, deadline=None)
@given(
    rows=st.lists(st.tuples(st.integers(0, 6), st.booleans()), max_size=20), extra=st.integers(0, 5)
)
def test_the_best_threshold_is_the_best_of_all(rows: list[tuple[int, bool]], extra: int) -> None:
    rows = sorted(rows, key=lambda row: -row[0])
    score = np.array([s / 8 for s, _ in rows])
    hit = np.array([h for _, h in rows], bool)
    boxes = int(hit.sum()) + extra
    best = best_operating(score, hit, boxes)
    tried = {}
    for threshold in set(score.tolist()):
        kept = score >= threshold
        right = int((hit & kept).sum())
        tried[threshold] = 2 * right / (int(kept.sum()) + boxes) if boxes else 0.0
    if not hit.any():
        assert best.threshold == -1
        return
    assert best.f1 == max(tried.values())
    assert best.threshold == max(t for t, f1 in tried.items() if f1 == best.f1)
    kept = score >= best.threshold
    assert best.precision == (hit & kept).sum() / kept.sum()
    assert best.recall == (hit & kept).sum() / boxes


def test_curve_counts_what_stands_at_or_above() -> None:
    found = curve(np.array([0.9, 0.5, 0.5, 0.1]), np.array([True, True, False, False]), 4)
    at = found["score"].index
    assert found["precision"][at(0.5)] == pytest.approx(2 / 3, abs=1e-6)
    assert found["recall"][at(0.5)] == 0.5
    assert found["precision"][at(0.51)] == 1.0
    assert found["precision"][at(0.95)] == -1.0 and found["f1"][at(0.95)] == 0.0


def test_classes_and_all_together() -> None:
    truth_dict, results = random_case(3)
    truth = from_coco(*(truth_dict[k] for k in ("images", "annotations", "categories")))
    table = from_results(results)
    matches = match(truth, table)
    found = judged(truth, matches)
    section = thresholds_section(found, truth.unique_names)
    assert list(section["per_class"]) == ["c2", "c7", "c11", "c90"]
    assert section["per_class"]["c90"]["threshold"] == -1  # it has no box
    # Recounted from the matches of this threshold alone: what is below has no say in it.
    threshold = section["all"]["threshold"]
    kept = from_results([r for r in results if r["score"] >= threshold])
    again = judged(truth, match(truth, kept))
    assert again.hit.sum() / len(again.hit) == section["all"]["precision"]
    assert again.hit.sum() / found.num_boxes.sum() == section["all"]["recall"]


def test_calibration_by_hand() -> None:
    score = np.array([1.0, 0.95, 0.95, 0.25, 0.2])
    hit = np.array([True, True, False, False, True])
    section = calibration_section(Judged(score, hit, np.zeros(5, int), np.array([9])))
    bins = {(b["from"], b["count"]): b for b in section["bins"] if b["count"]}
    assert set(bins) == {(0.9, 3), (0.2, 2)}
    gaps = abs(score[:3].mean() - 2 / 3), abs(0.225 - 0.5)
    assert section["expected_error"] == pytest.approx((3 * gaps[0] + 2 * gaps[1]) / 5)
    assert section["largest_error"] == pytest.approx(max(gaps))
    empty = calibration_section(Judged(score[:0], hit[:0], np.zeros(0, int), np.array([9])))
    assert empty["expected_error"] == -1
