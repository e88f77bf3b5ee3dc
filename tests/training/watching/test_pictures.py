"""Contact sheets, worst images and curves: the files are there and show what they should."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import cv2
import numpy as np
import pytest

from data_tools.converted.file_names import file_names
from data_tools.core.errors import DataError
from data_tools.images.draw import MISSED, RIGHT, WRONG
from data_tools.shards.manifest import ConvertedSplit
from data_tools.sources.shapes import shape_samples
from tests.helpers.eval_fixtures import perfect_predictor, write_split
from training.evaluation.evaluate import evaluate
from training.evaluation.scoring import EvaluationResult, score
from training.evaluation.settings import EvaluateSettings
from training.watching.curves import write_pr_curves, write_training_curves
from training.watching.visualize import (
    Pair,
    caption_of,
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
    assert sheet is not None and 1000 < sheet.shape[1] <= 1900 and sheet.shape[0] <= 1010
    # With nothing found the right half of a pair is the bare image, and all boxes on the left are
    # missed.
    empty = result.detections
    none = {f.name: getattr(empty, f.name)[:0] for f in dataclasses.fields(empty)}
    bare = score(result.truth, type(empty)(**none), type(empty)(**none))
    write_prediction_sheet(tmp_path / "q.png", split, bare, count=4)
    other = cv2.imread(str(tmp_path / "q.png"))
    body, missed = slice(40, None), (other == MISSED).all(axis=2)
    assert missed[body].sum() > 500 and not (sheet[body] == MISSED).all(axis=2).any()
    assert (sheet[body] == RIGHT).all(axis=2).sum() > 500
    assert not (other[body] == RIGHT).all(axis=2).any()


def test_right_wrong_and_missed_boxes_have_their_colours(
    scored: tuple[ConvertedSplit, EvaluationResult],
) -> None:
    _, result = scored
    table = result.detections
    position = int(np.searchsorted(result.truth.image_ids, table.image_id[0]))
    fields = {f.name: getattr(table, f.name).copy() for f in dataclasses.fields(table)}
    mine = np.flatnonzero(table.image_id == table.image_id[0])
    fields["boxes_xywh_px"][mine[0]] = (1, 1, 9, 9)  # the best one lies elsewhere now
    moved = score(result.truth, type(table)(**fields), table)
    image = np.zeros((150, 150, 3), np.uint8)

    def colours(drawn: np.ndarray) -> set[str]:
        known = {"right": RIGHT, "wrong": WRONG, "missed": MISSED}
        return {name for name, bgr in known.items() if (drawn == bgr).all(axis=2).any()}

    before, after = (Pair(r, position, 0.5, 300) for r in (result, moved))
    assert (
        colours(before.draw_truth(image, 1.0))
        == {"right"}
        == colours(before.draw_detections(image, 1.0))
    )
    assert "missed" in colours(after.draw_truth(image, 1.0))
    assert "wrong" in colours(after.draw_detections(image, 1.0))


def test_an_object_whose_detection_is_not_drawn_is_not_shown_as_found(
    scored: tuple[ConvertedSplit, EvaluationResult],
) -> None:
    _, result = scored
    truth, owner = result.truth, result.matches.owner
    first, second = next(  # two objects of an image with different names, both found
        (a, b)
        for a in np.flatnonzero(~truth.iscrowd)
        for b in np.flatnonzero(~truth.iscrowd & (truth.image == truth.image[a]))
        if truth.category[a] != truth.category[b] and {a, b} <= set(owner.tolist())
    )
    boxes, found = truth.boxes_xywh_px.copy(), result.detections.boxes_xywh_px.copy()
    boxes[second] = boxes[first]
    found[owner == second] = boxes[first]
    moved = score(
        dataclasses.replace(truth, boxes_xywh_px=boxes),
        dataclasses.replace(result.detections, boxes_xywh_px=found),
        result.detections,
    )
    assert {first, second} <= set(moved.matches.owner.tolist())  # for metrics both are found

    def colours_of_truth(one_name_each: bool) -> set[str]:
        pair = Pair(moved, int(truth.image[first]), 0.5, 300, one_name_each)
        drawn = pair.draw_truth(np.zeros((150, 150, 3), np.uint8), 1.0)
        known = {"right": RIGHT, "missed": MISSED}
        return {name for name, bgr in known.items() if (drawn == bgr).all(axis=2).any()}

    assert colours_of_truth(False) == {"right"}
    assert "missed" in colours_of_truth(True)


def test_captions_name_the_file(scored: tuple[ConvertedSplit, EvaluationResult]) -> None:
    split, result = scored
    assert caption_of(result.truth, 0) == result.truth.file_names[0] != ""
    assert caption_of(dataclasses.replace(result.truth, file_names=()), 0) == "image 1"
    ids = result.truth.image_ids.tolist()
    assert file_names(split, [ids[2], 10**6]) == {
        ids[2]: result.truth.file_names[2],
        10**6: "image 1000000",
    }


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
    assert write_worst_images(tmp_path / "w.png", split, result, 16) == []
    assert not (tmp_path / "w.png").exists()
    lost = without_image(result, int(result.detections.image_id[0]))
    assert write_worst_images(tmp_path / "w.png", split, lost, 16) == [tmp_path / "w.png"]
    table = result.detections
    none = type(table)(**{f.name: getattr(table, f.name)[:0] for f in dataclasses.fields(table)})
    sheets = write_worst_images(tmp_path / "w.png", split, score(result.truth, none, none), 16)
    assert [path.name for path in sheets] == ["w.png", "w-2.png", "w-3.png"][: len(sheets)]
    assert len(sheets) > 1
    for path in sheets:
        height, width = cv2.imread(str(path)).shape[:2]
        assert height <= 1010 and width <= 1900


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
