"""Whole runs in this process: what a run writes, refuses, goes on with and replays."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import psutil
import pytest

import training.learning.assemble
from data_tools.core.errors import CheckpointError, DataError, SettingError, UserError
from data_tools.pipeline.order import generator
from data_tools.pipeline.workers import worker_count
from data_tools.shards.manifest import open_split
from data_tools.shards.reader import RowReader
from tests.helpers.run_helpers import SMALL, events_in, make_set, read_run
from training.checkpoints.checkpoint import parse_card, read_card
from training.command_line.configure import compose
from training.process.world import World
from training.run.evaluator import Evaluator, ap_by_class
from training.run.loop import run
from training.run.save_and_evaluate import SaveAndEvaluate
from training.run.trainer import Trainer
from training.settings import TrainSettings
from training.watching.blackbox import NotFiniteError
from training.watching.log import read_log
from training.watching.nan_diagnosis import box_defect, matched_boxes
from training.watching.settings import LogSettings
from training.watching.triggers import Triggers

LOGGED = {"step", "epoch", "loss", "loc_loss", "cls_loss", "lr", "images_per_s", "data_wait",
          "compute", "positives", "grad_norm",
          "read_ms", "choose_ms", "decode_ms", "render_ms", "encode_ms"}  # fmt: skip


def settings_of(*overrides: str) -> TrainSettings:
    composed: TrainSettings = compose(
        "train", "training.settings:TrainSettings", [*SMALL, *overrides]
    )
    return composed


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_set(tmp_path_factory.mktemp("set") / "data")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, data: Path) -> Iterator[TrainSettings]:
    """A run of six steps with an evaluation at the end."""
    output = tmp_path_factory.mktemp("run") / "run"
    settings = settings_of(
        f"data={data}", f"output={output}", "max_steps=6", "evaluate_at_end=true",
        "checkpoint.every_steps=4", "checkpoint.keep=1", "log.pictures=2", "optim.ema=0.9",
        "log.tensorboard=true",
    )  # fmt: skip
    assert run(settings) == 0
    yield settings


def test_a_run_leaves_what_it_promises(finished: TrainSettings) -> None:
    output = Path(finished.output)
    lines = read_run(output)
    assert [line["step"] for line in lines] == [1, 2, 3, 4, 5, 6]
    for line in lines:
        assert set(line) >= LOGGED
        assert all(np.isfinite(value) for value in line.values())
    assert lines[0]["lr"] == 0.001
    assert lines[4]["epoch"] == 1.0
    assert [line["step"] for line in lines if "val_loss" in line] == [6]
    evaluated = read_log(output / "evaluations.jsonl")[-1]
    assert evaluated["val_loss"] == lines[-1]["val_loss"] > 0
    scalars = {value.tag for _, value in events_in(output / "tensorboard")}
    assert "val/loss" in scalars
    summary = json.loads((output / "summary.json").read_text())
    assert summary["steps"] == 6
    assert summary["final_loss"] == lines[-1]["loss"]
    assert summary["finished"] is True
    assert summary["wall_seconds"] > 0
    assert 0 < summary["processor_seconds"] < psutil.cpu_count() * 3600
    assert summary["images_seen"] == 24
    assert summary["skipped_steps"] == 0
    assert summary["metrics"]["coco"]["num_images"] == 6
    assert summary["best"]["step"] == 6
    names = {path.name for path in output.iterdir()}
    assert names >= {
        "settings.yaml",
        "curves.png",
        "predictions.png",
        "metrics.json",
        "tensorboard",
    }
    assert not any(name.endswith(".tmp") for name in names)
    assert "batch_size: 4" in (output / "settings.yaml").read_text()


def test_histograms_are_on_by_default_and_a_short_run_has_those_of_its_last_step(
    finished: TrainSettings,
) -> None:
    events = events_in(Path(finished.output) / "tensorboard")
    found = {(step, value.tag) for step, value in events if value.WhichOneof("value") == "histo"}
    assert {step for step, _ in found} == {6}
    assert len(found) > 10

    def due(every: int, total: int) -> list[int]:
        log = LogSettings(histograms_every=every)
        parts: Any = SimpleNamespace(
            settings=TrainSettings(log=log), total_steps=total, steps_per_epoch=5
        )
        return [step for step in range(1, total + 1) if Triggers(parts).histograms(step)]

    assert due(LogSettings().histograms_every, 12_000) == [5000, 10_000, 12_000]
    assert due(4, 8) == [4, 8]
    assert due(0, 8) == []


def test_its_checkpoint_says_what_it_is(finished: TrainSettings) -> None:
    folder = Path(finished.output) / "checkpoints"
    assert {p.name for p in folder.iterdir()} == {
        "step-00000006.ckpt", "step-00000006.state.ckpt", "step-00000006.json",
        "best.ckpt", "best.json",
    }  # fmt: skip
    card = read_card(folder / "step-00000006.ckpt")
    assert card is not None
    assert (card.step, card.epoch, card.num_classes) == (6, 1, 7)
    assert card.classes[0] == {"label": 1, "name": "circle", "category_id": 1}
    assert card.metrics is not None
    assert card.settings["optim"]["ema"] == 0.9


def test_evaluating_the_checkpoint_gives_the_same_digits(finished: TrainSettings) -> None:
    from data_tools.shards.manifest import open_split
    from training.checkpoints.weight_files import read_weights
    from training.checkpoints.weights import load_weights
    from training.evaluation.evaluate import evaluate
    from training.inference.predictor import build_predictor
    from training.nets.build import build_network

    path = Path(finished.output) / "checkpoints" / "best.ckpt"
    network = build_network(finished.model, 7)
    load_weights(network, read_weights(path))
    predict = build_predictor(network, finished.evaluate.batch_size)
    split = open_split(finished.data, "val")
    metrics = evaluate(predict, split, (64, 64), finished.evaluate, show_progress=False).metrics
    card = read_card(path)
    assert card is not None
    assert card.metrics is not None
    assert card.metrics["coco"] == metrics["coco"]
    assert card.metrics["per_class"] == json.loads(json.dumps(metrics["per_class"]))


def test_a_finished_run_is_not_started_over(
    finished: TrainSettings, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SettingError, match=r"holds an earlier run .*resume=true.*overwrite=true"):
        run(finished)
    before = read_run(Path(finished.output))
    assert run(dataclasses.replace(finished, resume=True)) == 0
    told = capsys.readouterr().out
    assert "going on after step 6" in told
    assert "steps 7 to 6" not in told and ("finished: all 6" in told or "step 6 of max" in told)
    assert read_run(Path(finished.output)) == before
    with pytest.raises(CheckpointError, match="seed: 1 in the checkpoint, 2 in this run"):
        run(dataclasses.replace(finished, resume=True, seed=2))


def test_checkpoints_of_another_version_are_not_dropped(
    finished: TrainSettings, tmp_path: Path
) -> None:
    output = tmp_path / "run"
    shutil.copytree(finished.output, output)
    card = output / "checkpoints" / "step-00000006.json"
    card.write_text(card.read_text().replace("ssd-checkpoint/1", "ssd-checkpoint/2"))
    before = {path: path.read_bytes() for path in output.rglob("*") if path.is_file()}
    with pytest.raises(CheckpointError, match="cannot open any of the checkpoints"):
        run(dataclasses.replace(finished, output=str(output), resume=True))
    assert {path: path.read_bytes() for path in output.rglob("*") if path.is_file()} == before


def test_a_run_stopped_in_an_evaluation_says_how_to_go_on(
    finished: TrainSettings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    output = tmp_path / "run"
    shutil.copytree(finished.output, output)
    card = output / "checkpoints" / "step-00000006.json"
    content = parse_card(card)
    content.metrics = None  # as if stopped after saving
    content.write(card)
    for name in ("summary.json", "curves.png"):
        (output / name).unlink()
    again = dataclasses.replace(finished, output=str(output), resume=True)

    def asked_to_stop(evaluator: Evaluator, say: object) -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(5)

    with monkeypatch.context() as patch:
        patch.setattr(Evaluator, "evaluate", asked_to_stop)
        assert run(again) == 143
    summary = json.loads((output / "summary.json").read_text())
    assert (summary["steps"], summary["metrics"], summary["finished"]) == (6, None, False)
    assert (output / "curves.png").is_file()
    text = capsys.readouterr().out
    assert "evaluation after step 6 stopped by a signal" in text
    assert "go on with resume=true" in text
    assert run(again) == 0
    summary = json.loads((output / "summary.json").read_text())
    assert summary["finished"] is True
    assert summary["metrics"]["coco"]["num_images"] == 6


def test_a_mistake_does_not_cost_the_run_that_would_be_overwritten(
    finished: TrainSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / "run"
    shutil.copytree(finished.output, output)
    before = {path: path.read_bytes() for path in output.rglob("*") if path.is_file()}
    anew = dataclasses.replace(finished, output=str(output), overwrite=True)
    best = str(output / "checkpoints" / "best.ckpt")
    change = dataclasses.replace
    wrong = [
        (r"init\.checkpoint=.*best\.ckpt: lies in output=.*copy the file elsewhere",
         {"init": change(anew.init, checkpoint=best)}),
        (r"init\.backbone=.*best\.ckpt: lies in output=",
         {"init": change(anew.init, backbone=best)}),
        ("no such|missing|not found",
         {"init": change(anew.init, checkpoint=f"{tmp_path}/none.ckpt")}),
        ("optim.freeze: 'nothing' fits no parameter",
         {"optim": change(anew.optim, freeze=["nothing"])}),
    ]  # fmt: skip
    for message, changes in wrong:
        with pytest.raises(UserError, match=message):
            run(dataclasses.replace(anew, **changes))  # type: ignore[arg-type]
        assert {path: path.read_bytes() for path in output.rglob("*") if path.is_file()} == before
    # Without a mistake the old run goes, and with it nothing that is not a run's.
    moved = shutil.copyfile(best, tmp_path / "best.ckpt")
    (output / "mine.txt").write_text("mine")
    monkeypatch.setattr(Trainer, "steps", lambda trainer: None)  # compiling takes long
    assert run(dataclasses.replace(anew, init=change(anew.init, checkpoint=str(moved)))) == 0
    names = {path.name for path in output.iterdir()}
    assert names == {
        "settings.yaml",
        "summary.json",
        "tensorboard",
        "mine.txt",
        "first_weights.parity.json",
    }


def test_missing_data_say_how_to_make_them(tmp_path: Path) -> None:
    with pytest.raises(
        SettingError, match=r"data: required.*\n.*python convert.py dataset=coco2017"
    ):
        run(settings_of(f"output={tmp_path / 'run'}"))
    with pytest.raises(DataError, match=f"no such folder.*\n.*out={tmp_path}/nothing"):
        run(settings_of(f"data={tmp_path}/nothing"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="there is no split 'train'"):
        run(settings_of(f"data={tmp_path}/empty"))
    assert not (tmp_path / "run").exists()


def fail_on(image_labels: Any, spoil: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the encoder fail on the image with these labels, as no sound one would.

    `spoil` gets the real encoder, the image's boxes, and its row of targets and of labels found.
    """

    class Faulty:
        def __init__(self, inner: Any) -> None:
            self.inner, self.num_anchors = inner, inner.num_anchors

        def encode_batch(
            self, boxes: Any, labels: Any, crowd: Any, images: Any, targets: Any, found: Any
        ) -> None:
            self.inner.encode_batch(boxes, labels, crowd, images, targets, found)
            for place in range(len(found)):
                mine = images == place
                if labels[mine].tobytes() == image_labels.tobytes():
                    spoil(self.inner, boxes[mine], targets[place], found[place])

    real = training.learning.assemble.build_targets
    monkeypatch.setattr(training.learning.assemble, "build_targets", lambda *a: Faulty(real(*a)))


def test_a_bad_box_is_found_by_replay(
    data: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    reader = RowReader(open_split(data, "train"))
    marked = next(k for k in range(20) if {1, 2} <= set(reader[k].labels.tolist()))

    def spoil(inner: Any, boxes: Any, target: Any, found: Any) -> None:
        target[found == 2] = np.inf

    fail_on(reader[marked].labels, spoil, monkeypatch)
    output = tmp_path / "run"
    settings = settings_of(f"data={data}", f"output={output}", "augment=none")
    with pytest.raises(NotFiniteError, match=r"the loss is not finite.*replay=") as caught:
        run(settings)
    found = list((output / "blackbox").glob("*.json"))
    assert len(found) == 1
    assert str(found[0]) in str(caught.value)
    capsys.readouterr()
    assert run(TrainSettings(replay=str(found[0]))) == 0
    told = capsys.readouterr().out
    assert "1 rank(s) rebuilt bit for bit" in told
    assert f"image {reader[marked].image_id} (position" in told
    assert told.count("image ") == 1
    assert told.count("(square), yxyx [") == (reader[marked].labels == 2).sum()
    record = json.loads(found[0].read_text())
    record["ranks"][0]["sha256"] = "0" * 64
    found[0].write_text(json.dumps(record))
    with pytest.raises(DataError, match="came out differently"):
        run(TrainSettings(replay=str(found[0])))
    with pytest.raises(CheckpointError, match="not a black box"):
        run(TrainSettings(replay=str(data / "train" / "manifest.json")))


def test_replay_names_the_one_box_of_two_of_a_class(
    data: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    reader = RowReader(open_split(data, "train"))
    marked = next(k for k in range(20) if np.bincount(reader[k].labels).max() > 1)
    row = reader[marked]
    label = int(np.bincount(row.labels).argmax())
    culprit = int(np.flatnonzero(row.labels == label)[-1])

    def spoil(inner: Any, boxes: Any, target: Any, found: Any) -> None:
        anchors, owners = inner.match(boxes)
        target[anchors[owners == culprit]] = np.inf

    fail_on(row.labels, spoil, monkeypatch)
    output = tmp_path / "run"
    with pytest.raises(NotFiniteError):
        run(settings_of(f"data={data}", f"output={output}", "augment=none"))
    (found,) = (output / "blackbox").glob("*.json")
    capsys.readouterr()
    assert run(TrainSettings(replay=str(found))) == 0
    told = capsys.readouterr().out
    assert f"image {row.image_id} (position" in told
    corners = ", ".join(f"{float(value):g}" for value in row.boxes_yxyx_px[culprit])
    assert f"  box {culprit} (" in told
    assert f", yxyx [{corners}], is matched to anchor " in told
    assert told.count("  box ") == 1


def test_the_box_of_every_anchor_is_found_again(data: Path) -> None:
    """Under windows and mirrors: the anchors with a box are the positive ones, of its label."""
    settings = settings_of(f"data={data}", "augment=paper")
    split = open_split(data, "train")
    encoder = training.learning.assemble.build_targets(settings.model)
    pipeline = training.learning.assemble.build_pipeline(settings, split, World())
    reader, dropped = RowReader(split), 0
    for step in range(8):
        batch = pipeline.batch_at(step)
        for place, number in enumerate(pipeline.order.rows(step).tolist()):
            row = reader[number]
            rng = generator(settings.seed, pipeline.order.epoch_of(step), number)
            owners = matched_boxes(row, settings.augment, rng, encoder)
            assert ((owners >= 0) == (batch.labels[place] > 0)).all()
            matched = owners >= 0
            np.testing.assert_array_equal(row.labels[owners[matched]], batch.labels[place][matched])
            dropped += len(row.labels) > len(set(owners[matched].tolist()))
    assert dropped  # or places could have been taken for those of the boxes that are left


def test_defects_of_a_stored_box() -> None:
    def defect(*box: float) -> str:
        return box_defect(np.array(box, np.float32), 50, 100)

    assert defect(1, 2, 30, 90) == ""
    assert defect(1, 2, np.nan, 9) == "is not finite"
    assert defect(5, 2, 5, 9) == "has next to no area (7 x 0 pixels)"
    assert defect(0, 0, 80, 90) == "leaves the image of 100 x 50 pixels"


def test_a_run_says_its_epochs_its_classes_and_where_its_pictures_are(
    finished: TrainSettings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = dataclasses.replace(finished, output=str(tmp_path / "run"))
    assert run(settings) == 0
    text = capsys.readouterr().out
    lines = read_log(tmp_path / "run" / "log.jsonl")
    assert "step 1 compiles the network first" in text
    # Not before each worker has made its first batch, which loads or compiles its code.
    before, pipeline, _ = text.partition("\npipeline: ")
    workers = worker_count(settings.pipeline.workers)
    assert pipeline and before.splitlines()[-1].startswith(f"step {1 + workers}/")
    assert "  validation loss " in text and "; training, mean of epoch 1: " in text
    assert "epoch 1: mean loss " in text and "AP by class: " in text
    assert f"look at it: pictures: curves.png, predictions.png in {tmp_path / 'run'}" in text
    assert len(lines) > 0
    many = {f"c{k}": {"AP": k / 100} for k in range(30)}
    assert ap_by_class(many).startswith("c0 0.000, c1 0.010")
    assert ap_by_class(many).endswith("c9 0.090, ... the 10 worst of 30; all in metrics.json")
    few = {"cat": {"AP": 0.5}, "dog": {"AP": float("nan")}}
    assert ap_by_class(few) == "cat 0.500, without objects: dog"


@pytest.mark.slow
def test_a_run_that_gets_no_better_ends_and_a_resumed_one_judges_alike(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    aps = iter([0.1, 0.3, 0.2, 0.3])  # an AP that is only equal is no better one

    def evaluate(self: Evaluator, say: Callable[[str], None]) -> dict[str, Any]:
        return {"coco": {"AP": next(aps)}, "per_class": {}}

    monkeypatch.setattr(Evaluator, "evaluate", evaluate)
    settings = settings_of(
        f"data={data}", f"output={tmp_path / 'run'}", "evaluate_every_epochs=1", "log.pictures=0",
        "batch_size=10", "early_stop.patience=2", "checkpoint.every_epochs=1",
    )  # fmt: skip
    assert run(settings) == 0
    told = "early stop after step 8: no better AP than 0.3000 of step 4 in 2 epochs"
    assert told in capsys.readouterr().out
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert (summary["steps"], summary["stopped_early"], summary["finished"]) == (8, True, True)
    assert summary["best"] == {"step": 4, "AP": 0.3}
    assert run(dataclasses.replace(settings, resume=True)) == 0  # trains and evaluates nothing
    assert told in capsys.readouterr().out


def test_patience_is_counted_from_the_best_step_in_epochs() -> None:
    settings = settings_of("early_stop.patience=3", "evaluate_every_epochs=1")
    saver = SaveAndEvaluate(*[None] * 5)  # type: ignore[arg-type]
    parts: Any = SimpleNamespace(settings=settings, steps_per_epoch=2)
    saver.components, saver.metrics = parts, {}
    assert not saver.patience_ends(100)  # nothing was best yet
    saver.best = {"step": 4, "AP": 0.3}
    assert [saver.patience_ends(step) for step in (8, 9, 10)] == [False, False, True]
    saver.metrics = None  # the evaluation of this step was not made: a resumed run makes up for it
    assert not saver.patience_ends(10)
    with pytest.raises(SettingError, match=r"early_stop.patience=3.*evaluate_every_epochs=0"):
        settings_of("early_stop.patience=3")
