"""COCO's numbers: the public known answer, pycocotools itself, and odd cases."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from data_tools.core.errors import DataError
from tests.helpers.coco_cases import random_case, reference, scores_of
from training.evaluation.coco_ap import NAMES, coco_scores
from training.evaluation.coco_matching import match
from training.evaluation.crosscheck import pycocotools_numbers
from training.evaluation.detection_table import DetectionTable, from_results, read_results
from training.evaluation.ground_truth import from_coco, read_ground_truth


def test_public_known_answer(shared_dir: Path) -> None:
    folder = shared_dir / "data" / "metrics" / "cocoapi_fake100"
    truth = read_ground_truth(folder / "instances_val2014_100.json")
    table = read_results(folder / "instances_val2014_fakebbox100_results.json")
    expected = json.loads((folder / "expected.json").read_text())
    got = coco_scores(match(truth, table)).numbers()
    assert list(got.values()) == pytest.approx(list(expected.values()), abs=1e-12)


@pytest.mark.parametrize("seed", range(12))
def test_equals_pycocotools_to_the_bit(seed: int) -> None:
    truth, results = random_case(seed)
    expected, got = reference(truth, results), scores_of(truth, results)
    assert np.array_equal(expected.eval["precision"][..., 2], got.precision)
    assert np.array_equal(expected.eval["recall"], got.recall)
    assert expected.stats.tolist() == list(got.numbers().values())


@pytest.mark.parametrize("seed", range(6))
def test_each_detection_matches_the_box_of_pycocotools(seed: int) -> None:
    truth, results = random_case(seed)
    results = [{**row, "id": k + 1} for k, row in enumerate(results)]
    parsed = from_coco(truth["images"], truth["annotations"], truth["categories"])
    table = from_results(results)
    matches = match(parsed, table)
    # Both tables keep the order of the file within an image.
    ids = sorted(range(len(results)), key=lambda k: results[k]["image_id"])
    order = sorted(
        range(len(truth["annotations"])), key=lambda k: truth["annotations"][k]["image_id"]
    )
    box_id = np.array([truth["annotations"][k]["id"] for k in order])
    row_of = {results[k]["id"]: row for row, k in enumerate(ids)}
    expected = np.zeros(len(results), np.int64)
    ranks = np.zeros(len(results), np.int64)
    for found in reference(truth, results).evalImgs:
        if found is not None and found["aRng"] == [0, 1e10]:
            rows = [row_of[k] for k in found["dtIds"]]
            expected[rows] = found["dtMatches"][0]
            ranks[rows] = np.arange(len(rows))
    got = np.where(matches.owner >= 0, box_id[matches.owner], 0)
    assert np.array_equal(got, expected)
    assert np.array_equal(matches.rank, ranks)
    assert np.array_equal(matches.matched[:, 0] & 1, expected > 0)
    for box in range(len(box_id)):
        scores = table.score[expected == box_id[box]]
        assert matches.best_score[box] == scores.max(initial=-1.0)


def test_more_than_a_hundred_detections_of_a_class() -> None:
    truth, _ = random_case(3)
    rng = np.random.default_rng(0)
    image = truth["annotations"][0]["image_id"]
    results = [
        {"image_id": image, "category_id": 2, "bbox": [*(rng.random(2) * 200).tolist(), 50, 60],
         "score": float(rng.random())}
        for _ in range(250)
    ]  # fmt: skip
    assert reference(truth, results).stats.tolist() == list(
        scores_of(truth, results).numbers().values()
    )


def test_absent_iscrowd_and_area_mean_none_and_box_area() -> None:
    truth, results = random_case(1)
    bare = [
        {k: v for k, v in a.items() if k not in ("iscrowd", "area")} for a in truth["annotations"]
    ]
    filled = [{**a, "iscrowd": 0, "area": a["bbox"][2] * a["bbox"][3]} for a in bare]
    got = scores_of({**truth, "annotations": bare}, results).numbers()
    expected = reference({**truth, "annotations": filled}, results).stats.tolist()
    assert list(got.values()) == expected


def test_no_detections_at_all() -> None:
    truth, _ = random_case(2)
    numbers = scores_of(truth, []).numbers()
    assert [numbers[n] for n in NAMES[:3]] == [0.0, 0.0, 0.0]


def test_no_boxes_at_all() -> None:
    truth, results = random_case(2)
    numbers = scores_of({**truth, "annotations": []}, results).numbers()
    assert set(numbers.values()) == {-1.0}


def test_a_class_without_boxes_is_left_out_of_the_mean() -> None:
    truth, results = random_case(4)
    scores = scores_of(truth, results)
    place = sorted(c["id"] for c in truth["categories"]).index(90)
    assert scores.of_category(place)["AP"] == -1.0
    known = [scores.of_category(k)["AP"] for k in range(4) if k != place]
    assert np.mean(known) == pytest.approx(scores.numbers()["AP"])


def test_unknown_ids_are_named() -> None:
    truth, results = random_case(5)
    with pytest.raises(DataError, match=r"image_id of a detection: \[123456\] not in the data set"):
        scores_of(truth, [*results, {**results[0], "image_id": 123456}])
    with pytest.raises(DataError, match="category_id of a detection"):
        scores_of(truth, [*results, {**results[0], "category_id": 5}])


def test_results_file_round_trip(tmp_path: Path) -> None:
    _, results = random_case(6)
    table = from_results(results)
    table.write_json(tmp_path / "detections.json")
    again = read_results(tmp_path / "detections.json")
    assert np.array_equal(again.boxes_xywh_px, table.boxes_xywh_px)
    assert np.array_equal(again.score, table.score)
    assert sorted(json.loads((tmp_path / "detections.json").read_text())[0]) == [
        "bbox", "category_id", "image_id", "score",
    ]  # fmt: skip
    copy = DetectionTable.from_bytes(table.to_bytes())
    assert np.array_equal(copy.category_id, table.category_id)


def test_crosscheck_agrees_and_survives_no_detections(tmp_path: Path) -> None:
    truth, results = random_case(7)
    (tmp_path / "a.json").write_text(json.dumps(truth))
    assert (
        pycocotools_numbers(tmp_path / "a.json", from_results(results))
        == scores_of(truth, results).numbers()
    )
    assert pycocotools_numbers(tmp_path / "a.json", from_results([]))["AP"] == 0.0


@pytest.mark.parametrize("text", ["{}", "[1]", "not json", '{"images": 3}'])
def test_no_annotation_file(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(DataError, match=r"a\.json"):
        read_ground_truth(tmp_path / "a.json")
    with pytest.raises(DataError, match="not found"):
        read_ground_truth(tmp_path / "b.json")
