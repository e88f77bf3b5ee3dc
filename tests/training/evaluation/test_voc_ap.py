"""VOC's AP against hand-made cases and a plain loop written after the devkit's text."""

from __future__ import annotations

import numpy as np
import pytest

from tests.helpers.coco_cases import random_case
from training.evaluation.detection_table import DetectionTable, from_results
from training.evaluation.ground_truth import GroundTruth, from_coco
from training.evaluation.voc_ap import average_2007, average_2010, voc_scores


def devkit(truth: GroundTruth, table: DetectionTable, category: int) -> tuple[float, float]:
    """Score one category with loops, as the devkit describes it."""
    ignored = truth.difficult | truth.iscrowd
    boxes = np.flatnonzero(truth.category == category)
    count = sum(not ignored[g] for g in boxes)
    if not count:
        return -1.0, -1.0
    rows = np.flatnonzero(table.category_id == truth.category_ids[category])
    rows = rows[np.argsort(-table.score[rows], kind="stable")]
    taken: set[int] = set()
    true, false = [], []
    for row in rows:
        image = np.searchsorted(truth.image_ids, table.image_id[row])
        best, owner = -np.inf, -1
        x, y, w, h = table.boxes_xywh_px[row]
        for g in boxes[truth.image[boxes] == image]:
            gx, gy, gw, gh = truth.boxes_xywh_px[g]
            iw, ih = min(x + w, gx + gw) - max(x, gx), min(y + h, gy + gh) - max(y, gy)
            if iw > 0 and ih > 0 and iw * ih / (w * h + gw * gh - iw * ih) > best:
                best, owner = iw * ih / (w * h + gw * gh - iw * ih), int(g)
        if best >= 0.5 and ignored[owner]:
            continue
        hit = best >= 0.5 and owner not in taken
        taken |= {owner} if hit else set()
        true.append(hit)
        false.append(not hit)
    tp, fp = np.cumsum(true), np.cumsum(false)
    recall, precision = tp / count, tp / np.maximum(tp + fp, 1)
    old = sum(max(precision[recall >= t / 10], default=0.0) for t in range(11)) / 11
    new, last = 0.0, 0.0
    for k in range(len(recall)):
        new += (recall[k] - last) * max(precision[k:])
        last = recall[k]
    return float(old), float(new)


@pytest.mark.parametrize("seed", range(8))
def test_equals_the_devkits_loop(seed: int) -> None:
    content, results = random_case(seed)
    for k, annotation in enumerate(content["annotations"]):
        annotation["ignore"] = int(k % 5 == 0)
    truth = from_coco(content["images"], content["annotations"], content["categories"])
    table = from_results(results)
    got = voc_scores(truth, table)
    for c in range(len(truth.category_ids)):
        expected = devkit(truth, table, c)
        assert (got.ap_2007[c], got.ap_2010[c]) == pytest.approx(expected, abs=1e-12)


def one_class(boxes: list[list[float]], difficult: list[int]) -> GroundTruth:
    return from_coco(
        [{"id": 1}],
        [
            {"id": k, "image_id": 1, "category_id": 1, "bbox": box, "ignore": difficult[k]}
            for k, box in enumerate(boxes)
        ],
        [{"id": 1, "name": "a"}],
    )


def found(*rows: tuple[list[float], float]) -> DetectionTable:
    return from_results(
        [{"image_id": 1, "category_id": 1, "bbox": box, "score": score} for box, score in rows]
    )


def test_a_second_detection_of_a_box_is_wrong() -> None:
    truth = one_class([[0, 0, 10, 10], [50, 50, 10, 10]], [0, 0])
    box = [0.0, 0.0, 10.0, 10.0]
    scores = voc_scores(truth, found((box, 0.9), (box, 0.8), ([50.0, 50.0, 10.0, 10.0], 0.7)))
    assert scores.ap_2010[0] == pytest.approx(0.5 + 0.5 * 2 / 3)


def test_difficult_boxes_do_not_count() -> None:
    truth = one_class([[0, 0, 10, 10], [50, 50, 10, 10]], [0, 1])
    scores = voc_scores(
        truth, found(([50.0, 50.0, 10.0, 10.0], 0.9), ([0.0, 0.0, 10.0, 10.0], 0.8))
    )
    assert scores.means() == {"AP2007": 1.0, "AP2010": 1.0}


def test_only_difficult_boxes_leave_nothing_to_measure() -> None:
    truth = one_class([[0, 0, 10, 10]], [1])
    assert voc_scores(truth, found()).means() == {"AP2007": -1.0, "AP2010": -1.0}


def test_overlap_of_exactly_a_half_counts() -> None:
    truth = one_class([[0, 0, 10, 10]], [0])
    assert voc_scores(truth, found(([0.0, 0.0, 10.0, 5.0], 0.9))).ap_2010[0] == 1.0


def test_both_averages_by_hand() -> None:
    # Hits 1, 0, 1 of two boxes: recall .5, .5, 1 at precision 1, 1/2, 2/3.
    recall, precision = np.array([0.5, 0.5, 1.0]), np.array([1.0, 0.5, 2 / 3])
    assert average_2007(recall, precision) == pytest.approx((6 * 1 + 5 * 2 / 3) / 11)
    assert average_2010(recall, precision) == pytest.approx(0.5 + 0.5 * 2 / 3)
    assert average_2007(np.empty(0), np.empty(0)) == 0.0
