"""`eval.py` as its function: files, refusals, and settings as the command line composes them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import pytest

from data_tools.core.errors import CheckpointError, DataError, SettingError
from data_tools.core.files import sha256_of_file
from data_tools.core.sample import ClassInfo
from data_tools.sources.shapes import shape_samples
from tests.helpers.checkpoints import write_checkpoint
from tests.helpers.eval_fixtures import CLASSES, shapes_split, write_split
from training.command_line.configure import compose
from training.commands.evaluate import graph_nms_note, run
from training.evaluation.crosscheck import pycocotools_numbers
from training.evaluation.detection_table import read_results
from training.evaluation.settings import EvalCommand, EvaluateSettings
from training.exporting.export import run as run_export
from training.exporting.settings import ExportCommand
from training.inference.exported import read_metadata
from training.inference.graph_cache import package_version
from training.inference.settings import PredictCommand


@pytest.fixture(scope="module")
def paths(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("eval")
    write_checkpoint(folder / "c.ckpt")
    shapes_split(folder / "data", count=6)
    return folder / "c.ckpt", folder / "data"


def command(paths: tuple[Path, Path], out: Path, **changes: object) -> EvalCommand:
    return EvalCommand(
        checkpoint=str(paths[0]),
        data=str(paths[1]),
        output=str(out),
        evaluate=EvaluateSettings(score_floor=0.001, batch_size=4),
        **changes,  # type: ignore[arg-type]
    )


def test_everything_is_written(
    tmp_path: Path, paths: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(command(paths, tmp_path, crosscheck=True)) == 0
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert metrics["checkpoint_sha256"] == sha256_of_file(paths[0])
    manifest = json.loads((paths[1] / "val" / "manifest.json").read_text())
    assert metrics["data_fingerprint"] == manifest["fingerprint"]
    assert metrics["coco"]["num_images"] == 6
    table = read_results(tmp_path / "detections.json")
    theirs = pycocotools_numbers(paths[1] / "val" / "annotations.json", table)
    assert {k: metrics["coco"][k] for k in theirs} == theirs
    for name in ("predictions.png", "worst.png", "precision_recall.png"):
        assert cv2.imread(str(tmp_path / name)) is not None
    printed = capsys.readouterr().out
    assert "pycocotools agrees" in printed and "published" in printed
    # As in training, unless told otherwise.
    assert metrics["engine"] == {"name": "mindspore", "version": package_version("mindspore")}
    assert f"\ncomputed by mindspore {package_version('mindspore')}\n" in printed


def test_onnxruntime_gives_the_same_figures(
    tmp_path: Path, paths: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    bare: dict[str, Any] = {"worst": 0, "curves": False, "report": 0}
    assert run(command(paths, tmp_path / "a", **bare)) == 0
    assert run(command(paths, tmp_path / "b", engine="auto", **bare)) == 0
    one, other = (json.loads((tmp_path / k / "metrics.json").read_text()) for k in "ab")
    assert other["coco"] == pytest.approx(one["coco"], abs=1e-6)
    assert other["engine"]["name"] == "onnxruntime" and other["engine"]["parity"]["images"] == 4
    assert "computed by onnxruntime" in capsys.readouterr().out


def test_a_failed_run_leaves_no_old_metrics(tmp_path: Path, paths: tuple[Path, Path]) -> None:
    data = tmp_path / "data"
    split = shapes_split(data, count=4)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "metrics.json").write_text("{}")
    split.annotations_path.write_text('{"images": [], "annotations": [], "categories": []}')
    with pytest.raises(DataError):
        run(command((paths[0], data), tmp_path / "out"))
    assert not (tmp_path / "out" / "metrics.json").exists()


def test_pictures_of_an_earlier_run_do_not_stay(
    tmp_path: Path, paths: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("worst.png", "precision_recall.png", "suspects.png", "suspects.csv"):
        (tmp_path / name).write_text("old")
    assert run(command(paths, tmp_path, worst=0, curves=False, suspects=0)) == 0
    assert {p.name for p in tmp_path.glob("*.png")} == {"predictions.png"}
    assert "detections.json, predictions.png, report.html\n" in capsys.readouterr().out


def test_a_folder_that_cannot_be_made_is_an_error(tmp_path: Path, paths: tuple[Path, Path]) -> None:
    (tmp_path / "taken").write_text("")
    with pytest.raises(SettingError, match="output=.*taken: the folder cannot be made"):
        run(command(paths, tmp_path / "taken"))


def test_nms_in_the_graph_is_told(
    tmp_path: Path, paths: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    exported = tmp_path / "nms.onnx"
    export = ExportCommand(
        checkpoint=str(paths[0]), out=str(exported), nms=True, score_floor=0.3, parity_images=1
    )
    assert run_export(export) == 0
    assert run(command((exported, paths[1]), tmp_path, worst=0, curves=False)) == 0
    assert "coco, published and voc figures are the file's own" in capsys.readouterr().out
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert metrics["engine"]["name"] == "onnxruntime"
    with pytest.raises(SettingError, match="engine=mindspore: .*which only onnxruntime runs"):
        run(command((exported, paths[1]), tmp_path, engine="mindspore"))
    assert metrics["graph_nms"] == {"score_floor": 0.3, "nms_iou": 0.6, "max_detections": 100}
    file = read_metadata(exported)
    assert ": published figures" in graph_nms_note(file, EvaluateSettings(score_floor=0.3))


def test_other_classes_are_refused(tmp_path: Path, paths: tuple[Path, Path]) -> None:
    samples = list(shape_samples(3, "val", 3, min_side=96, max_side=150))
    renamed = (ClassInfo(1, "disc", 1), *CLASSES[1:])
    write_split(tmp_path / "data", samples, classes=renamed)
    with pytest.raises(CheckpointError, match=r"label 1 is 'circle' in .* and 'disc' in"):
        run(command((paths[0], tmp_path / "data"), tmp_path / "out"))
    accepted = command((paths[0], tmp_path / "data"), tmp_path / "out", accept_other_classes=True)
    assert run(accepted) == 0
    more = (*CLASSES, ClassInfo(7, "seventh", 99))
    write_split(tmp_path / "more", samples, classes=more)
    with pytest.raises(CheckpointError, match=r"has 6 classes, .* has 7"):
        run(command((paths[0], tmp_path / "more"), tmp_path / "out"))


def test_a_missing_split_names_those_there_are(tmp_path: Path, paths: tuple[Path, Path]) -> None:
    with pytest.raises(DataError, match=r"no split 'test'. It has the splits \['val'\]"):
        run(command(paths, tmp_path, split="test"))


def test_configuration_files_hold_the_defaults() -> None:
    composed = compose(
        "eval", "training.evaluation.settings:EvalCommand", ["checkpoint=a", "data=b"]
    )
    assert composed == EvalCommand(checkpoint="a", data="b")
    composed = compose("predict", "training.inference.settings:PredictCommand", ["checkpoint=a"])
    assert composed == PredictCommand(checkpoint="a")
    composed = compose(
        "export", "training.exporting.settings:ExportCommand", ["checkpoint=a", "out=b"]
    )
    assert composed == ExportCommand(checkpoint="a", out="b")


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ("evaluate.score_floor=1.5", "evaluate.score_floor=1.5: expected 0 <= floor < 1"),
        ("evaluate.nms_iou=0", "evaluate.nms_iou=0"),
        ("evaluate.max_detections=101", "1..100"),
        ("evaluate.batch_size=0", "a count >= 1"),
        ("device=GPU", "one of CPU, Ascend"),
        ("engine=torch", "engine='torch': expected one of auto, mindspore, onnxruntime"),
        ("evaluate.score_flor=0.1", "evaluate.score_flor"),
    ],
)
def test_bad_settings_name_the_key(key: str, message: str) -> None:
    arguments = ["checkpoint=a", "data=b", key]
    with pytest.raises(SettingError, match=message.replace(".", r"\.")):
        compose("eval", "training.evaluation.settings:EvalCommand", arguments)
