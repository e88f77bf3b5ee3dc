"""The bootstrap: every draw is COCO's AP of the images that were drawn, copies and all."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.helpers.coco_cases import random_case, scores_of
from training.evaluation.detection_table import from_results
from training.evaluation.ground_truth import from_coco
from training.insight.compare_runs import bootstrap, draw


def copied(
    truth: dict[str, Any], results: list[dict[str, Any]], weights: list[int]
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Write out a set in which every image stands as often as its weight."""
    ids = sorted(image["id"] for image in truth["images"])
    images, annotations, copies = [], [], []
    for position, number in enumerate(ids):
        for k in range(weights[position]):
            new = 1000 * (position + 1) + k
            images.append({"id": new})
            annotations += [
                {**a, "image_id": new} for a in truth["annotations"] if a["image_id"] == number
            ]
            copies += [{**r, "image_id": new} for r in results if r["image_id"] == number]
    for k, annotation in enumerate(annotations):
        annotation["id"] = k + 1
    return {**truth, "images": images, "annotations": annotations}, copies


@pytest.mark.parametrize("seed", range(4))
def test_every_draw_is_the_ap_of_its_images(seed: int) -> None:
    truth, a = random_case(seed)
    _, b = random_case(seed)
    rng = np.random.default_rng(seed)
    # Equal scores on different images, not within one: there copies are taken detection by
    # detection.
    for run in (a, b):
        for number in {row["image_id"] for row in run}:
            rows = [row for row in run if row["image_id"] == number]
            for row, score in zip(rows, rng.permutation(64), strict=False):
                row["score"] = float(score) / 64
    parsed = from_coco(*(truth[k] for k in ("images", "annotations", "categories")))
    draws, run_seed = 12, 7
    compared = bootstrap(parsed, (from_results(a), from_results(b)), draws, run_seed, 1)
    differences: dict[str, list[float]] = {"AP": [], "AP50": []}
    for number in range(draws):
        weights = draw(run_seed, number, parsed.num_images).tolist()
        assert sum(weights) == parsed.num_images
        numbers = [scores_of(*copied(truth, run, weights)).numbers() for run in (a, b)]
        for name, values in differences.items():
            values.append(numbers[1][name] - numbers[0][name])
    whole = [scores_of(truth, run).numbers() for run in (a, b)]
    for name, values in differences.items():
        low, high = np.quantile(values, [0.025, 0.975])
        assert compared[name]["a"] == pytest.approx(whole[0][name], abs=1e-12)
        assert compared[name]["b"] == pytest.approx(whole[1][name], abs=1e-12)
        assert compared[name]["low"] == pytest.approx(low, abs=1e-12)
        assert compared[name]["high"] == pytest.approx(high, abs=1e-12)
    assert compared["per_class"]["c90"]["verdict"] is None


def test_same_seed_same_digits_for_any_number_of_threads() -> None:
    truth, a = random_case(1)
    b = [{**row, "score": row["score"] * 0.9 if k % 3 else 0.2} for k, row in enumerate(a)]
    parsed = from_coco(*(truth[k] for k in ("images", "annotations", "categories")))
    tables = from_results(a), from_results(b)
    first = bootstrap(parsed, tables, 40, 3, 1)
    assert bootstrap(parsed, tables, 40, 3, 3) == first
    assert bootstrap(parsed, tables, 40, 4, 1) != first


def test_a_run_with_better_boxes_wins_and_against_itself_nobody_does() -> None:
    truth, noisy = random_case(2)
    exact = [
        {
            "image_id": a["image_id"],
            "category_id": a["category_id"],
            "bbox": a["bbox"],
            "score": 0.9,
        }
        for a in truth["annotations"]
    ]
    parsed = from_coco(*(truth[k] for k in ("images", "annotations", "categories")))
    a, b = from_results(noisy), from_results(exact)
    assert bootstrap(parsed, (a, b), 50, 0, 1)["AP"]["verdict"] == "B"
    assert bootstrap(parsed, (b, a), 50, 0, 1)["AP"]["verdict"] == "A"
    same = bootstrap(parsed, (a, a), 50, 0, 1)["AP"]
    assert (same["low"], same["high"], same["better"], same["verdict"]) == (0, 0, 0.5, "undecided")
