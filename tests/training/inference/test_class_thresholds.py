"""`threshold=auto`: from an evaluation to the card, to exported files, to detections."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from data_tools.core.errors import SettingError
from data_tools.core.sample import ClassInfo
from tests.helpers.checkpoints import write_checkpoint
from tests.helpers.eval_fixtures import CLASSES, shapes_split
from training.checkpoints.checkpoint import parse_card
from training.commands.evaluate import run as run_eval
from training.commands.evaluate import store_thresholds
from training.evaluation.settings import EvalCommand, EvaluateSettings
from training.exporting.export import run as run_export
from training.exporting.settings import ExportCommand
from training.inference.class_thresholds import thresholds_by_label
from training.inference.detector import Choice, Detector
from training.inference.open_model import open_model_file
from training.inference.predict import run as run_predict
from training.inference.settings import PredictCommand


def test_each_class_has_its_own_or_that_of_all() -> None:
    classes = (
        ClassInfo(1, "a", 5),
        ClassInfo(2, "b", 6),
        ClassInfo(3, "b", 7),
        ClassInfo(4, "d", 8),
    )
    section = {
        "all": {"threshold": 0.5},
        "per_class": {
            "a": {"threshold": 0.2},
            "b (6)": {"threshold": 0.7},
            "b (7)": {"threshold": -1.0},
        },
    }
    assert thresholds_by_label(section, classes) == (0.2, 0.7, 0.5, 0.5)


@pytest.mark.parametrize(
    "section",
    [None, 3, {}, {"all": {"threshold": -1.0}, "per_class": {}}, {"all": {"threshold": 0.5}}],
)
def test_what_says_nothing_is_none(section: Any) -> None:
    assert thresholds_by_label(section, CLASSES) == ()


def test_detections_are_those_of_each_class_alone_at_its_threshold() -> None:
    rng = np.random.default_rng(0)
    corner = rng.random((1, 60, 2)) * 0.6
    boxes = np.concatenate([corner, corner + 0.3], 2).astype(np.float32)
    scores = rng.random((1, 60, len(CLASSES) + 1)).astype(np.float32)
    thresholds = tuple(float(t) for t in rng.random(len(CLASSES)).round(2))
    detector = Detector(lambda batch: (boxes, scores), (32, 32), CLASSES, 1, thresholds)
    image = np.zeros((40, 50, 3), np.uint8)
    (found,) = detector.predict_batch([image], detector.choice("auto", 10_000, 0.5, (), None))
    got = sorted(zip(found.labels.tolist(), found.scores.tolist(), strict=True))
    expected = []
    for label, threshold in enumerate(thresholds, 1):
        choice = Choice(threshold, 10_000, 0.5, frozenset({label}), one_name_iou=None)
        (alone,) = detector.predict_batch([image], choice)
        expected += list(zip(alone.labels.tolist(), alone.scores.tolist(), strict=True))
    assert got == sorted(expected) and len(set(found.labels.tolist())) == len(CLASSES)


def test_from_evaluation_to_card_to_prediction_and_export(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint = tmp_path / "step-00000001.ckpt"
    write_checkpoint(checkpoint)
    shapes_split(tmp_path / "data", count=4)
    images = tmp_path / "pictures"
    images.mkdir()
    import cv2

    cv2.imwrite(str(images / "a.png"), np.full((60, 70, 3), 90, np.uint8))
    predict = PredictCommand(
        checkpoint=str(checkpoint), images=str(images), out=str(tmp_path / "out"), threshold="auto"
    )
    with pytest.raises(SettingError, match=r"threshold=auto.*eval\.py"):
        run_predict(predict)
    run_eval(
        EvalCommand(
            checkpoint=str(checkpoint),
            data=str(tmp_path / "data"),
            output=str(tmp_path / "run"),
            evaluate=EvaluateSettings(score_floor=0.0001, nms_iou=0.95),
        )
    )
    found = json.loads((tmp_path / "run" / "metrics.json").read_text())["thresholds"]
    if found["all"]["threshold"] < 0:  # a network with random weights need not find anything
        store_thresholds(
            open_model_file(checkpoint),
            {"all": {"threshold": 0.125}, "per_class": {"square": {"threshold": 0.25}}},
        )
    card = parse_card(checkpoint.with_suffix(".json"))
    assert card.thresholds is not None
    assert "thresholds stored" in capsys.readouterr().out
    expected = thresholds_by_label(card.thresholds, CLASSES)
    assert run_predict(predict) == 0
    assert "by class (threshold=auto)" in capsys.readouterr().out
    # What is known already stays: another split must not change it.
    store_thresholds(open_model_file(checkpoint), {"all": {"threshold": 0.9}, "per_class": {}})
    assert parse_card(checkpoint.with_suffix(".json")).thresholds == card.thresholds
    for name in ("a.onnx", "a.mindir"):
        command = ExportCommand(
            checkpoint=str(checkpoint), format=name.split(".")[1], out=str(tmp_path / name),
            parity_images=1,
        )  # fmt: skip
        run_export(command)
        assert Detector.load(tmp_path / name).choice("auto", 9, 0.5, ()).by_label == expected
