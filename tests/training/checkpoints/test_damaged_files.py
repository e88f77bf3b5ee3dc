"""What a run and an export leave behind - cards, black boxes, logs, metadata - with something wrong
in it.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from data_tools.core.errors import CheckpointError, DataError, SettingError
from training.checkpoints.checkpoint import Card, parse_card
from training.evaluation.ground_truth import read_ground_truth
from training.exporting.export import metadata_of
from training.exporting.settings import ExportCommand
from training.inference.file_metadata import parse_metadata
from training.inference.model_file import ModelFile
from training.nets.build import build_network
from training.nets.settings import ModelSettings, model_settings, settings_from_dict
from training.settings import TrainSettings
from training.watching.blackbox import RankRecord, Record
from training.watching.log import read_log
from training.watching.replay import read_record

CLASSES = [{"label": 1, "name": "a", "category_id": 4}, {"label": 2, "name": "b", "category_id": 9}]


def card(**changes: Any) -> dict[str, Any]:
    made = Card(3, 0, 1, dataclasses.asdict(ModelSettings()), 3, CLASSES, "f" * 64)
    return {**dataclasses.asdict(made), **changes}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_classes": "3"}, "num_classes: '3', expected a whole number"),
        ({"num_classes": 7}, "2 classes, but num_classes=7"),
        ({"files": []}, r"files: \[\], expected a mapping"),
        ({"classes": [{"label": 1}]}, "classes.name: missing"),
        ({"classes": [7]}, r"classes\[0\]: 7, expected a mapping"),
        ({"step": None}, "step: None, expected a whole number"),
    ],
)
def test_a_card_of_wrong_values_is_refused(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    path = tmp_path / "x.json"
    path.write_text(json.dumps(card()))
    assert parse_card(path).class_infos[1].category_id == 9
    path.write_text(json.dumps(card(**changes)))
    with pytest.raises(CheckpointError, match=f"x.json: not a checkpoint's card.*{message}"):
        parse_card(path)


def record(**changes: Any) -> dict[str, Any]:
    made = Record(2, 1, {}, (RankRecord((1, 2), "0" * 64),), "f" * 64, 7, "s.ckpt", TrainSettings())
    return {**dataclasses.asdict(made), **changes}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"settings": True}, "settings: True, expected settings of its own"),
        ({"settings": {"batch_size": "2"}}, "settings.batch_size: '2', expected a whole number"),
        ({"settings": {"optim": {"lr": [1]}}}, r"settings.optim.lr: \[1\], expected a number"),
        ({"settings": {"optim": {"momentum": 2.0}}}, "optim.momentum=2.0: expected"),
        ({"ranks": [3]}, r"ranks\[0\]: 3"),
        ({"ranks": []}, "0 of 1 ranks"),
        ({"step": -1}, "step -1"),
        ({"weights": "../../x.ckpt"}, "weights '../../x.ckpt' leave the folder"),
        ({"weights": "/etc/passwd"}, "weights '/etc/passwd' leave the folder"),
        ({"weights": ""}, "weights '' leave the folder"),
        ({"weights": None}, "weights: None"),
        ({"format": 3}, "it is not of format"),
    ],
)
def test_a_black_box_of_wrong_values_is_refused(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    path = tmp_path / "box.json"
    path.write_text(json.dumps(record()))
    assert read_record(path).settings == TrainSettings()
    path.write_text(json.dumps(record(**changes)))
    with pytest.raises(CheckpointError, match=f"box.json: not a black box, or damaged .*{message}"):
        read_record(path)
    path.write_text("[" * 100_000)
    with pytest.raises(CheckpointError, match="nested too deep"):
        read_record(path)


@pytest.mark.parametrize(
    ("key", "text", "message"),
    [
        ("num_classes", "true", "num_classes: True, expected a whole number"),
        ("num_classes", "9", "2 classes, num_classes=9"),
        ("batch_size", "-1", "batch_size=-1"),
        ("classes", '[{"label": "1", "name": "a", "category_id": 4}]', "classes.label: '1'"),
        ("classes", "[" * 100_000, "nested too deep"),
        ("nms_iou", "NaN", "nms_iou: nan"),
        ("decode", "1", "decode: 1, expected true or false"),
        ("model", '{"image_size": 3}', "model.image_size: 3, expected a list"),
    ],
)
def test_metadata_of_wrong_values_are_refused(key: str, text: str, message: str) -> None:
    path = Path("m.onnx")
    command = ExportCommand(checkpoint="c.ckpt", out="m.onnx", nms=True)
    from data_tools.core.sample import ClassInfo

    classes = tuple(ClassInfo(**entry) for entry in CLASSES)  # type: ignore[arg-type]
    values = metadata_of(ModelFile(path, ModelSettings(), 3, classes, "0", "f"), classes, command)
    assert parse_metadata(path, values, "0").classes == classes
    with pytest.raises(CheckpointError, match=f"m.onnx: its metadata is damaged .*{message}"):
        parse_metadata(path, {**values, key: text}, "0")


def test_a_log_with_garbage_in_it_is_read_as_far_as_it_is_one(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    good = {"step": 1, "loss": 2.5}
    lines = [json.dumps(good), '{"step": "1"}', '{"step": 2, "loss": [1]}', "[" * 9999, "3", "{"]
    path.write_bytes("\n".join(lines).encode() + b"\n\xff\xfe\xba\n" + json.dumps(good).encode())
    assert read_log(path) == [good, good]


@pytest.mark.parametrize("boxes", [[1], [1e400] * 4, ["a"] * 4, None, [[1, 2, 3, 4]] * 2])
def test_a_ground_truth_of_wrong_boxes_is_refused(tmp_path: Path, boxes: Any) -> None:
    entry = {"id": 1, "image_id": 1, "category_id": 1, "bbox": boxes, "area": None}
    content = {
        "images": [{"id": 1}],
        "categories": [{"id": 1, "name": "a"}],
        "annotations": [entry],
    }
    path = tmp_path / "annotations.json"
    path.write_text(json.dumps(content))
    with pytest.raises(DataError, match=r"annotations.json: not a COCO .* convert the set again"):
        read_ground_truth(path)


def test_model_settings_of_wrong_types_are_named() -> None:
    for key, value in (("image_size", 0.5), ("anchors", -1), ("anchors", True), ("std", ["a"] * 3)):
        with pytest.raises(SettingError, match=rf"model.{key}.*expected"):
            model_settings("ssd_tiny", **{key: value})
    with pytest.raises(SettingError, match="model.head_prior: nan, expected a finite number"):
        settings_from_dict({"head_prior": float("nan")})
    for count in (1, 0, -1, True, 2.0):
        with pytest.raises(SettingError, match="num_classes=.*with the background, 2 or more"):
            build_network(model_settings("ssd_tiny"), count)  # type: ignore[arg-type]
