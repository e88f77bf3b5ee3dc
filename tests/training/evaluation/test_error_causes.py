"""Causes of errors and the confusion matrix: hand-made cases, and a slow reading of their
definitions.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.helpers.coco_cases import random_case, reference
from training.evaluation.coco_ap import coco_scores
from training.evaluation.coco_matching import match
from training.evaluation.confusion import confusion
from training.evaluation.detection_table import from_results
from training.evaluation.error_causes import CAUSES, CORRECT, LEFT_OUT, ap_costs, error_causes
from training.evaluation.ground_truth import from_coco

EVERYTHING = (0.0, 1e10)


def overlap(a: Any, b: Any) -> float:
    wide = min(a[0] + a[2], b[0] + b[2]) - max(a[0], b[0])
    tall = min(a[1] + a[3], b[1] + b[3]) - max(a[1], b[1])
    inter = max(wide, 0) * max(tall, 0)
    union = a[2] * a[3] + b[2] * b[3] - inter
    return inter / union if union > 0 else 0.0


def slow_ap(judged: list[tuple[float, bool]], boxes: int) -> float:
    """COCO's AP at one threshold from (score, right) of one class, best first."""
    recall, precision, hits = [], [], 0
    for k, (_, right) in enumerate(judged, 1):
        hits += right
        recall.append(hits / boxes)
        precision.append(hits / k)
    total = 0.0
    for level in np.linspace(0, 1, 101):
        reached = [p for r, p in zip(recall, precision, strict=True) if r >= level]
        total += max(reached, default=0.0)
    return total / 101


class Slow:
    """Every detection and box as an object, judged one by one."""

    def __init__(self, truth: Any, table: Any) -> None:
        matches = match(truth, table)  # held against pycocotools elsewhere
        self.boxes = [
            {
                "image": int(truth.image[g]), "class": int(truth.category[g]),
                "box": truth.boxes_xywh_px[g], "area": truth.area[g],
            }
            for g in range(len(truth.area))
        ]  # fmt: skip
        usable = [g for g in range(len(self.boxes)) if not truth.iscrowd[g]]
        used = {int(g) for g in matches.owner if g >= 0}
        self.detections: list[dict[str, Any]] = []
        for d in range(len(table)):
            entry: dict[str, Any] = {
                "class": int(matches.category[d]), "score": table.score[d], "box": None,
                "area": table.boxes_xywh_px[d, 2] * table.boxes_xywh_px[d, 3],
            }  # fmt: skip
            self.detections.append(entry)
            mine = [g for g in usable if self.boxes[g]["image"] == matches.image[d]]
            value = {g: overlap(table.boxes_xywh_px[d], self.boxes[g]["box"]) for g in mine}
            own = {g: v for g, v in value.items() if self.boxes[g]["class"] == entry["class"]}
            other = {g: v for g, v in value.items() if g not in own}
            if matches.owner[d] >= 0:
                on_crowd = truth.iscrowd[matches.owner[d]]
                entry["cause"] = "left out" if on_crowd else "correct"
                entry["box"] = None if on_crowd else int(matches.owner[d])
            elif 0.1 <= max(own.values(), default=0) < 0.5:
                entry["cause"], entry["box"] = "location", max(own, key=lambda g: own[g])
            elif max(other.values(), default=0) >= 0.5:
                entry["cause"], entry["box"] = "class", max(other, key=lambda g: other[g])
            elif max(own.values(), default=0) >= 0.5:
                entry["cause"], entry["box"] = "duplicate", max(own, key=lambda g: own[g])
            elif max(value.values(), default=0) <= 0.1:
                entry["cause"] = "background"
            else:
                entry["cause"] = "both"
        told = {e["box"] for e in self.detections if e["cause"] in ("class", "location")}
        self.missed = {g for g in usable if g not in used and g not in told}
        self.usable, self.used = usable, used

    def average(self, area: tuple[float, float], right_class: str | None) -> dict[int, float]:
        """AP of each class with the errors of one cause put right."""
        inside = {g for g in self.usable if area[0] <= self.boxes[g]["area"] <= area[1]}
        best: dict[int, dict[str, Any]] = {}
        for e in self.detections:
            if e["cause"] in ("class", "location") and e["box"] not in self.used:
                held = best.get(e["box"])
                if held is None or e["score"] > held["score"]:
                    best[e["box"]] = e
        judged: dict[int, list[tuple[float, bool]]] = {}
        for e in self.detections:
            cause, number, right = e["cause"], e["class"], e["cause"] == "correct"
            if cause == "left out":
                continue
            if e["box"] is not None and e["box"] not in inside:
                continue
            if e["box"] is None and not area[0] <= e["area"] <= area[1]:
                continue
            if cause == right_class:
                if cause not in ("class", "location") or best.get(e["box"]) is not e:
                    continue
                number, right = self.boxes[e["box"]]["class"], True
            judged.setdefault(number, []).append((e["score"], right))
        result = {}
        for number in {self.boxes[g]["class"] for g in inside}:
            left = [
                g
                for g in inside
                if self.boxes[g]["class"] == number
                and not (right_class == "missed" and g in self.missed)
            ]
            rows = sorted(judged.get(number, []), key=lambda row: -row[0])
            result[number] = slow_ap(rows, len(left)) if left else 1.0
        return result


def without_ties(results: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{**row, "score": row["score"] + 1e-6 * k} for k, row in enumerate(results)]


@pytest.mark.parametrize("seed", range(8))
def test_causes_and_costs_are_those_of_the_slow_reading(seed: int) -> None:
    truth_dict, results = random_case(seed)
    truth = from_coco(*(truth_dict[k] for k in ("images", "annotations", "categories")))
    table = from_results(without_ties(results))
    matches = match(truth, table)
    causes = error_causes(truth, table, matches)
    slow = Slow(truth, table)
    names = {CORRECT: "correct", LEFT_OUT: "left out", **dict(enumerate(CAUSES))}
    assert [names[int(c)] for c in causes.cause] == [e["cause"] for e in slow.detections]
    assert set(np.flatnonzero(causes.missed).tolist()) == slow.missed
    assert len({int(c) for c in causes.cause}) >= 6  # all kinds are there
    for area in (EVERYTHING, (0.0, 32.0**2), (32.0**2, 96.0**2)):
        base, gains = ap_costs(truth, matches, causes, area)
        expected = slow.average(area, None)
        assert {c: base[c] for c in expected} == pytest.approx(expected, abs=1e-9)
        for name in CAUSES:
            fixed = slow.average(area, name)
            got = {c: base[c] + gains[name][c] for c in fixed}
            assert got == pytest.approx(fixed, abs=1e-9), (name, area)


@pytest.mark.parametrize("seed", range(3))
def test_base_is_the_ap50_of_coco(seed: int) -> None:
    truth_dict, results = random_case(seed)
    truth = from_coco(*(truth_dict[k] for k in ("images", "annotations", "categories")))
    table = from_results(results)
    matches = match(truth, table)
    base, _ = ap_costs(truth, matches, error_causes(truth, table, matches), EVERYTHING)
    expected = coco_scores(matches).precision[0, :, :, 0].mean(axis=0)
    assert base == pytest.approx(expected, abs=1e-12)
    assert base[base >= 0].mean() == pytest.approx(reference(truth_dict, results).stats[1])


def hand_made(detections: list[tuple[int, list[float], float]]) -> tuple[Any, Any, Any]:
    """One image with a cat (class 1) at 0..100, a dog (2) at 200..300 and a crowd of cats at
    500..600.
    """
    boxes = [(1, [0, 0, 100, 100], 0), (2, [200, 0, 100, 100], 0), (1, [500, 0, 100, 100], 1)]
    truth = from_coco(
        [{"id": 5}],
        [
            {"id": k, "image_id": 5, "category_id": c, "bbox": b, "iscrowd": crowd}
            for k, (c, b, crowd) in enumerate(boxes)
        ],
        [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}],
    )
    table = from_results(
        [{"image_id": 5, "category_id": c, "bbox": b, "score": s} for c, b, s in detections]
    )
    return truth, table, match(truth, table)


@pytest.mark.parametrize(
    ("detection", "cause"),
    [
        ((1, [0, 0, 100, 90], 0.9), "correct"),
        ((2, [0, 0, 100, 90], 0.9), "class"),
        ((1, [60, 0, 100, 100], 0.9), "location"),
        ((2, [60, 0, 100, 100], 0.9), "both"),
        ((1, [0, 300, 50, 50], 0.9), "background"),
        ((1, [500, 0, 50, 50], 0.9), "left out"),
    ],
)
def test_one_detection(detection: Any, cause: str) -> None:
    truth, table, matches = hand_made([detection])
    code = int(error_causes(truth, table, matches).cause[0])
    assert {CORRECT: "correct", LEFT_OUT: "left out", **dict(enumerate(CAUSES))}[code] == cause


def test_the_second_of_two_is_a_duplicate_and_the_dog_is_missed() -> None:
    truth, table, matches = hand_made([(1, [0, 0, 100, 90], 0.9), (1, [0, 0, 100, 95], 0.8)])
    causes = error_causes(truth, table, matches)
    assert causes.cause.tolist() == [CORRECT, CAUSES.index("duplicate")]
    assert causes.missed.tolist() == [False, True, False]
    base, gains = ap_costs(truth, matches, causes, EVERYTHING)
    assert base.tolist() == [pytest.approx(1.0), 0.0]
    assert gains["missed"].tolist() == [0.0, 1.0]
    assert gains["class"].tolist() == [0.0, 0.0]


def test_a_wrong_class_costs_its_own_and_the_other() -> None:
    truth, table, matches = hand_made([(1, [200, 0, 100, 90], 0.9), (1, [0, 0, 100, 90], 0.8)])
    causes = error_causes(truth, table, matches)
    base, gains = ap_costs(truth, matches, causes, EVERYTHING)
    assert base.tolist() == [pytest.approx(0.5), 0.0]
    assert gains["class"].tolist() == [pytest.approx(0.5), pytest.approx(1.0)]
    assert not causes.missed.any()


def test_nothing_to_judge() -> None:
    truth, table, matches = hand_made([])
    causes = error_causes(truth, table, matches)
    assert causes.missed.tolist() == [True, True, False]
    assert confusion(truth, table, matches, 0.5).counts.tolist() == [
        [0, 0, 1],
        [0, 0, 1],
        [0, 0, 0],
    ]


def test_confusion_by_hand() -> None:
    truth, table, matches = hand_made(
        [
            (2, [0, 0, 100, 90], 0.9),  # the cat, taken for a dog
            (2, [200, 0, 100, 90], 0.8),  # the dog
            (1, [200, 0, 100, 95], 0.85),  # nothing is left for it
            (1, [500, 0, 50, 50], 0.7),  # on the crowd
            (1, [0, 0, 100, 100], 0.3),  # the cat, too faint
        ]
    )
    assert confusion(truth, table, matches, 0.5).counts.tolist() == [
        [0, 1, 0],
        [0, 1, 0],
        [1, 0, 0],
    ]
    assert confusion(truth, table, matches, 0.2).counts.tolist() == [
        [1, 0, 0],
        [0, 1, 0],
        [1, 1, 0],
    ]


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("threshold", [0.0, 0.5])
def test_confusion_is_that_of_the_slow_reading(seed: int, threshold: float) -> None:
    truth_dict, results = random_case(seed)
    truth = from_coco(*(truth_dict[k] for k in ("images", "annotations", "categories")))
    table = from_results(without_ties(results))
    matches = match(truth, table)
    size = len(truth.category_ids)
    expected = np.zeros((size + 1, size + 1), int)
    free = {g for g in range(len(truth.area)) if not truth.iscrowd[g]}
    left = []
    for d in sorted(range(len(table)), key=lambda d: -table.score[d]):
        if table.score[d] < threshold:
            continue
        g = int(matches.owner[d])
        if g < 0:
            left.append(d)
        elif not truth.iscrowd[g]:
            expected[truth.category[g], matches.category[d]] += 1
            free.remove(g)
    for d in left:
        near = {
            g: overlap(table.boxes_xywh_px[d], truth.boxes_xywh_px[g])
            for g in free
            if truth.image[g] == matches.image[d]
        }
        row = size
        if max(near.values(), default=0) >= 0.5:
            g = max(near, key=lambda g: near[g])
            free.remove(g)
            row = int(truth.category[g])
        expected[row, matches.category[d]] += 1
    for g in free:
        expected[truth.category[g], size] += 1
    assert np.array_equal(confusion(truth, table, matches, threshold).counts, expected)
