"""Exported files compute what the checkpoint computes; parity is measured, and its failure is an
error.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest

import training.exporting.parity
import training.inference.exported
from data_tools.core.errors import CheckpointError, SettingError
from data_tools.shards.manifest import open_split
from tests.helpers.checkpoints import write_checkpoint
from tests.helpers.eval_fixtures import CLASSES, fill_like_golden, shapes_split
from training.boxes.postprocess import Protocol, detect
from training.evaluation.detection_table import DetectionTable
from training.evaluation.evaluate import evaluate
from training.evaluation.ground_truth import read_ground_truth
from training.evaluation.settings import EvaluateSettings
from training.exporting.export import run, summary
from training.exporting.settings import ExportCommand
from training.inference.detector import Detector
from training.inference.exported import load_exported, read_metadata
from training.inference.open_model import load_predictor, open_model_file
from training.nets.build import build_network
from training.nets.settings import model_settings


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("run") / "step-00000001.ckpt"
    write_checkpoint(path)
    return path


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    shapes_split(folder, count=5)
    return folder


def export(checkpoint: Path, out: Path, **changes: Any) -> dict[str, Any]:
    """Export and return the parity report."""
    settings: dict[str, Any] = {"parity_images": 3, **changes}
    command = ExportCommand(
        checkpoint=str(checkpoint), format=out.suffix[1:], out=str(out), **settings
    )
    assert run(command) == 0
    report: dict[str, Any] = json.loads(out.with_name(out.name + ".parity.json").read_text())
    return report


def pixels(count: int) -> np.ndarray:
    return np.random.default_rng(2).integers(0, 256, (count, 3, 64, 64), np.uint8)


@pytest.fixture(scope="module")
def expected(checkpoint: Path) -> tuple[np.ndarray, np.ndarray]:
    """Boxes and scores of the checkpoint on `pixels(5)`."""
    boxes, scores = load_predictor(open_model_file(checkpoint), 5)(pixels(5))
    return boxes, scores


Outputs = tuple[np.ndarray, np.ndarray]
slow = pytest.mark.slow


@pytest.mark.parametrize(
    "name",
    [
        "any.onnx",
        "any.mindir",
        pytest.param("two.onnx", marks=slow),
        pytest.param("raw.onnx", marks=slow),
        pytest.param("two.mindir", marks=slow),
        pytest.param("raw.mindir", marks=slow),
    ],
)
def test_file_agrees_with_the_checkpoint(
    tmp_path: Path, checkpoint: Path, expected: Outputs, name: str
) -> None:
    size = 0 if name.startswith("any") else 2
    report = export(checkpoint, tmp_path / name, batch_size=size, decode="raw" not in name)
    assert report["passed"] and report["images"] == 3
    assert report["max_score_difference"] < 1e-5 and report["max_box_difference"] < 1e-5
    assert report["detections"]["checkpoint"] == report["detections"]["file"] > 0
    file = open_model_file(tmp_path / name)
    assert file.classes == CLASSES and file.data_fingerprint == "f" * 64
    for count in (1, 3, 5):
        boxes, scores = load_predictor(file, 4)(pixels(5)[:count])
        np.testing.assert_allclose(boxes, expected[0][:count], atol=1e-5)
        np.testing.assert_allclose(scores, expected[1][:count], atol=1e-5)
    assert sorted(p.name for p in tmp_path.iterdir()) == [name, f"{name}.parity.json"]


@slow
@pytest.mark.parametrize("name", ["light.onnx", "light.mindir"])
@pytest.mark.parametrize("bins", [0, 8])
def test_ssd_light_agrees_with_plain_boxes_out_of_bins(
    tmp_path: Path, name: str, bins: int
) -> None:
    model = model_settings("ssd_light", image_size=[64, 64], box_bins=bins)
    network = build_network(model, len(CLASSES) + 1, seed=1)
    write_checkpoint(tmp_path / "c.ckpt", network=network)
    wanted = load_predictor(open_model_file(tmp_path / "c.ckpt"), 5)(pixels(5))
    report = export(tmp_path / "c.ckpt", tmp_path / name, score_floor=0.005)
    assert report["passed"]
    assert report["max_score_difference"] < 1e-5 and report["max_box_difference"] < 1e-5
    found = load_predictor(open_model_file(tmp_path / name), 4)(pixels(5))
    assert found[0].shape[2] == 4
    for mine, expected in zip(found, wanted, strict=True):
        np.testing.assert_allclose(mine, expected, atol=1e-5)


@pytest.mark.parametrize("size", [0, pytest.param(1, marks=slow), pytest.param(3, marks=slow)])
def test_nms_in_the_graph_finds_the_same(
    tmp_path: Path, checkpoint: Path, expected: Outputs, size: int
) -> None:
    out = tmp_path / "nms.onnx"
    numbers = {"score_floor": 0.005, "nms_iou": 0.4, "max_detections": 30}
    report = export(checkpoint, out, batch_size=size, nms=True, **numbers)
    assert report["passed"] and report["detections"]["unmatched"] == 0
    exported = load_exported(read_metadata(out), 2)
    boxes, scores, labels, count = exported.outputs(pixels(5))
    assert boxes.shape == (5, 30, 4) and labels.dtype == np.int64
    protocol = Protocol("p", 0.005, 0.4, max_per_image=30)
    for k in range(5):
        mine = detect(expected[0][k], expected[1][k], 1, 1, protocol)
        assert count[k] == len(mine) > 0
        np.testing.assert_array_equal(labels[k, : len(mine)], mine.labels)
        np.testing.assert_allclose(scores[k, : len(mine)], mine.scores, atol=1e-5)
        np.testing.assert_allclose(boxes[k, : len(mine)], mine.boxes_yxyx_px, atol=1e-5)
        assert not scores[k, len(mine) :].any() and not labels[k, len(mine) :].any()


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory, checkpoint: Path) -> Path:
    """A file with all defaults."""
    out = tmp_path_factory.mktemp("plain") / "m.onnx"
    export(checkpoint, out, parity_images=1)
    return out


@slow
def test_an_image_without_detections_has_count_zero(tmp_path: Path, checkpoint: Path) -> None:
    export(checkpoint, tmp_path / "n.onnx", nms=True, score_floor=0.99)
    exported = load_exported(read_metadata(tmp_path / "n.onnx"), 1)
    boxes, scores, labels, count = exported.outputs(pixels(1))
    assert count.tolist() == [0] and not scores.any() and not boxes.any() and not labels.any()
    found = Detector.load(tmp_path / "n.onnx").predict(pixels(1)[0].transpose(1, 2, 0))
    assert len(found) == 0


def test_metadata_says_how_to_use_the_file(plain: Path) -> None:
    session = onnxruntime.InferenceSession(str(plain))
    said = session.get_modelmeta().custom_metadata_map
    assert json.loads(said["image_size"]) == [64, 64]
    assert [c["name"] for c in json.loads(said["classes"])] == [c.name for c in CLASSES]
    assert json.loads(said["mean"])[0] == pytest.approx(123.675)
    assert said["box_format"].startswith("y1, x1, y2, x2 relative")
    assert "bilinear" in said["preprocessing"] and said["data_fingerprint"] == "f" * 64
    assert [(i.name, i.type) for i in session.get_inputs()] == [("images", "tensor(uint8)")]
    assert [o.name for o in session.get_outputs()] == ["boxes", "scores"]


def test_a_file_is_parsed_and_hashed_once(
    tmp_path: Path, checkpoint: Path, plain: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hashed = []
    honest = training.inference.exported.sha256_of_file

    def counted(path: Path) -> str:
        hashed.append(path)
        return honest(path)

    monkeypatch.setattr(training.inference.exported, "sha256_of_file", counted)
    file = open_model_file(plain)
    assert file.export is not None
    assert load_predictor(file, 2)(pixels(2))[0].shape[0] == 2
    assert hashed == [plain]
    export(checkpoint, tmp_path / "m.onnx", parity_images=1)
    assert len(hashed) == 2


@slow
def test_ap_on_a_converted_set(tmp_path: Path, checkpoint: Path, data: Path) -> None:
    report = export(checkpoint, tmp_path / "a.onnx", data=str(data), batch_size=2)
    assert report["ap"]["images"] == 3 and report["ap"]["delta"] == pytest.approx(0, abs=1e-6)
    file = open_model_file(tmp_path / "a.onnx")
    split = training.exporting.export.open_split(str(data), "val")
    mine = evaluate(
        load_predictor(open_model_file(checkpoint), 4), split, (64, 64), EvaluateSettings()
    )
    yours = evaluate(load_predictor(file, 4), split, (64, 64), EvaluateSettings())
    assert mine.metrics["coco"]["AP50"] == pytest.approx(yours.metrics["coco"]["AP50"], abs=1e-6)


def test_a_file_that_disagrees_is_not_written(
    tmp_path: Path, checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = training.exporting.parity.load_exported

    def dishonest(*args: Any) -> Any:
        predict = honest(*args)
        return lambda images: (predict(images)[0], predict(images)[1] * 0.9)

    monkeypatch.setattr(training.exporting.parity, "load_exported", dishonest)
    with pytest.raises(CheckpointError, match="does not agree with"):
        export(checkpoint, tmp_path / "bad.onnx")
    assert [p.name for p in tmp_path.iterdir()] == ["bad.onnx.parity.json"]
    report = json.loads((tmp_path / "bad.onnx.parity.json").read_text())
    assert report["passed"] is False and report["max_score_difference"] > 1e-3


def test_detections_that_differ_are_an_error_where_they_are_all_there_is(
    tmp_path: Path, checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = training.exporting.parity.load_exported

    def forgetful(*args: Any) -> Any:
        predict = honest(*args)
        return lambda images: tuple(part[:, 1:] for part in predict(images))

    monkeypatch.setattr(training.exporting.parity, "load_exported", forgetful)
    with pytest.raises(CheckpointError, match="does not agree with"):
        export(checkpoint, tmp_path / "bad.onnx", nms=True)
    report = json.loads((tmp_path / "bad.onnx.parity.json").read_text())
    assert report["passed"] is False and report["detections"]["faults"] >= 3


def test_outputs_are_protected_and_named(tmp_path: Path, checkpoint: Path, plain: Path) -> None:
    (tmp_path / "there.onnx").write_text("precious")
    with pytest.raises(SettingError, match=r"exists\. Choose another name"):
        export(checkpoint, tmp_path / "there.onnx")
    command = ExportCommand(checkpoint=str(checkpoint), format="onnx", out=str(tmp_path / "a.bin"))
    with pytest.raises(SettingError, match=r"called NAME\.onnx"):
        run(command)
    with pytest.raises(CheckpointError, match="already an exported file"):
        export(plain, tmp_path / "there.onnx", overwrite=True)
    assert (tmp_path / "there.onnx").read_text() == "precious"


def test_foreign_files_are_refused(tmp_path: Path, plain: Path) -> None:
    model = onnx.load(str(plain))
    del model.metadata_props[:]
    onnx.save(model, str(tmp_path / "foreign.onnx"))
    with pytest.raises(CheckpointError, match=r"no metadata of format 'ssd-export/1'"):
        open_model_file(tmp_path / "foreign.onnx")


def test_settings_that_cannot_work() -> None:
    with pytest.raises(SettingError, match="nms=True: expected false for format=mindir"):
        ExportCommand(checkpoint="a", out="b", format="mindir", nms=True)
    with pytest.raises(SettingError, match="decode=False: expected true with nms=true"):
        ExportCommand(checkpoint="a", out="b", nms=True, decode=False)


@slow
@pytest.mark.parametrize(
    "name",
    [
        "ssd300",
        "ssd_mobilenet_v1",
        "ssd_mobilenet_v1_fpn",
        "ssd_resnet50_fpn",
        "ssd_vgg16",
        "ssdlite_mobilenet_v3",
    ],
)
@pytest.mark.parametrize("kind", ["onnx", "mindir"])
def test_every_network_exports(tmp_path: Path, name: str, kind: str) -> None:
    model = model_settings(name)
    if max(model.image_size) == 640:  # a quarter to compute, in the same graph
        model = model_settings(name, image_size=(320, 320))
    network = build_network(model, len(CLASSES) + 1)
    fill_like_golden(network)
    write_checkpoint(tmp_path / "c.ckpt", network=network)
    report = export(tmp_path / "c.ckpt", tmp_path / f"m.{kind}", parity_images=1)
    assert report["passed"] and report["detections"]["file"] == 100


@slow
@pytest.mark.parametrize("name", ["ssd_mobilenet_v1_fpn", "ssdlite_mobilenet_v3"])
def test_upsampling_and_squeezing_networks_become_onnx(tmp_path: Path, name: str) -> None:
    network = build_network(model_settings(name, image_size=[128, 128]), len(CLASSES) + 1)
    fill_like_golden(network)
    write_checkpoint(tmp_path / "c.ckpt", network=network)
    out = tmp_path / "m.onnx"
    report = export(tmp_path / "c.ckpt", out, batch_size=0, nms=True, parity_images=1)
    assert report["passed"] and report["detections"]["file"] == 100


def test_a_detector_with_more_classes_than_the_set_is_compared_on_those_of_the_set(
    data: Path,
) -> None:
    # As torchvision's 90 labels for COCO's 80 classes: boxes of the others count for neither.
    split = open_split(data, "val")
    truth = read_ground_truth(split.annotations_path)
    perfect = DetectionTable(
        truth.image_ids[truth.image],
        truth.category_ids[truth.category],
        truth.boxes_xywh_px,
        np.full(len(truth.area), 0.9),
    )
    foreign = DetectionTable(
        *(getattr(perfect, f).copy() for f in ("image_id", "category_id", "boxes_xywh_px", "score"))
    )
    foreign.category_id[::2] = 9999
    tables = (perfect, foreign)
    found = training.exporting.parity._ap_delta(split, truth.image_ids.tolist(), tables)
    assert found["checkpoint"] > found["file"] > 0 and found["images"] == truth.num_images


def test_the_summary_says_that_the_ap_is_over_a_few_images() -> None:
    report = {
        "detections": {"checkpoint": 5, "file": 5, "unmatched": 0, "faults": 0},
        "ap": {"checkpoint": 0.5, "file": 0.5, "delta": 0.0, "images": 16},
    }
    assert "on these 16 images alone" in summary(report)
