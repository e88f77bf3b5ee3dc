"""Contact sheets, worst images and curves: the files are there and show what they should."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import cv2
import numpy as np
import pytest

from data_tools.core.errors import DataError
from data_tools.shards.manifest import ConvertedSplit
from data_tools.sources.shapes import shape_samples
from tests.helpers.eval_fixtures import perfect_predictor, write_split
from training.eval_settings import EvaluateSettings
from training.evaluation.evaluate import evaluate
from training.evaluation.scoring import EvaluationResult, score
from training.watching.curves import write_pr_curves, write_training_curves
from training.watching.visualize import (
    find_rows,
    image_errors,
    write_prediction_sheet,
    write_worst_images,
)

SIZE = (48, 64)


@pytest.fixture(scope="module")
def scored(tmp_path_factory: pytest.TempPathFactory) -> tuple[ConvertedSplit, EvaluationResult]:
    samples = list(shape_samples(3, "val", 9, min_side=96, max_side=150))
    split = write_split(tmp_path_factory.mktemp("set"), samples)
    return split, evaluate(perfect_predictor(samples, SIZE), split, SIZE, EvaluateSettings())


def without_image(result: EvaluationResult, image_id: int) -> EvaluationResult:
    """Return the evaluation as if nothing had been found on one image."""
    table, keep = result.detections, result.detections.image_id != image_id
    fields = {f.name: getattr(table, f.name)[keep] for f in dataclasses.fields(table)}
    return score(result.truth, type(table)(**fields), table)


def test_sheet_shows_truth_beside_prediction(
    tmp_path: Path, scored: tuple[ConvertedSplit, EvaluationResult]
) -> None:
    split, result = scored
    write_prediction_sheet(tmp_path / "p.png", split, result, count=4)
    sheet = cv2.imread(str(tmp_path / "p.png"))
    assert sheet is not None and sheet.shape[1] > 1600  # two pairs side by side
    # With nothing found the right half of a pair is the bare image, so the sheet differs.
    empty = result.detections
    none = {f.name: getattr(empty, f.name)[:0] for f in dataclasses.fields(empty)}
    bare = dataclasses.replace(result, detections=type(empty)(**none))
    write_prediction_sheet(tmp_path / "q.png", split, bare, count=4)
    other = cv2.imread(str(tmp_path / "q.png"))
    changed = np.abs(sheet.astype(int) - other).max(axis=(0, 2)) > 0
    assert not changed[:420].any() and changed[430:850].any()


def test_the_worst_image_comes_first(scored: tuple[ConvertedSplit, EvaluationResult]) -> None:
    _, result = scored
    assert len(image_errors(result).worst(5)) == 0
    image_id = int(result.detections.image_id[0])
    errors = image_errors(without_image(result, image_id))
    place = int(np.searchsorted(result.truth.image_ids, image_id))
    assert errors.worst(5).tolist() == [place]
    boxes = (result.truth.image == place) & ~result.truth.iscrowd
    assert errors.missed[place] == boxes.sum() and errors.wrong.sum() == 0


def test_worst_images_are_drawn_only_where_there_are_errors(
    tmp_path: Path, scored: tuple[ConvertedSplit, EvaluationResult]
) -> None:
    split, result = scored
    assert write_worst_images(tmp_path / "w.png", split, result) == 0
    assert not (tmp_path / "w.png").exists()
    lost = without_image(result, int(result.detections.image_id[0]))
    assert write_worst_images(tmp_path / "w.png", split, lost) == 1
    assert cv2.imread(str(tmp_path / "w.png")) is not None


def test_rows_are_found_by_id(scored: tuple[ConvertedSplit, EvaluationResult]) -> None:
    split, _ = scored
    assert find_rows(split, np.array([9, 1])) == {1: 0, 9: 8}
    with pytest.raises(DataError, match=r"images \[77\] are listed"):
        find_rows(split, np.array([1, 77]))


def test_curves(tmp_path: Path, scored: tuple[ConvertedSplit, EvaluationResult]) -> None:
    write_pr_curves(tmp_path / "pr.png", scored[1])
    log = [{"step": k, "epoch": 0, "loss": 5 / (k + 1), "lr": 0.1} for k in range(30)]
    write_training_curves(tmp_path / "loss.png", log)
    evaluated = [*log, {"step": 29, "coco": {"AP": 0.2, "AP50": 0.4, "AP75": 0.1}}]
    write_training_curves(tmp_path / "all.png", evaluated)
    write_training_curves(tmp_path / "none.png", [])
    write_training_curves(tmp_path / "nan.png", [{"step": 1, "loss": float("nan"), "lr": 0.1}])
    shapes = {p.name: cv2.imread(str(p)).shape for p in tmp_path.glob("*.png")}
    assert len(shapes) == 5
    assert shapes["all.png"][1] > shapes["loss.png"][1]  # a third plot for AP
