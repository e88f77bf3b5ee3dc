"""A disk that is full while a run writes its log, its events or its summary."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest

from data_tools.core.errors import UserError
from tests.helpers.run_helpers import SMALL, events_in, make_set, read_run
from training.command_line.configure import compose
from training.process.disk_errors import DiskError, disk_errors
from training.process.world import World
from training.run.loop import run
from training.run.save_and_evaluate import SaveAndEvaluate
from training.run.trainer import Trainer
from training.settings import TrainSettings
from training.watching.log import LogFile
from training.watching.run_folder import write_settings, write_summary
from training.watching.tensorboard import TensorBoard

FULL = r"could not be written \(No space left on device\)"


def no_space() -> OSError:
    return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_set(tmp_path_factory.mktemp("set") / "data")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 64 KiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = shutil.which("mount")
    command = [str(mount), "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)]
    if mount is None or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("a tmpfs can only be mounted by root")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def test_a_disk_that_is_really_full(small_disk: Path) -> None:
    board = TensorBoard(small_disk / "tensorboard", True, 0)
    log = LogFile(small_disk / "log.jsonl")
    log.write({"step": 1, "loss": 0.5})
    # More events than tensorboardX's queue holds: its thread would be dead, and this wait for it.
    with pytest.raises(DiskError, match=f"disk/tensorboard: {FULL}"):
        for step in range(1, 1000):
            board.histograms({"weight": np.random.default_rng(step).normal(size=999)}, step)
    with (
        open(small_disk / "rest", "wb", buffering=0) as file,
        pytest.raises(OSError, match="No space"),
    ):
        while True:
            file.write(bytes(1 << 12))
    with pytest.raises(DiskError, match=rf"log\.jsonl: {FULL}"):
        for step in range(2, 1000):
            log.write({"step": step, "loss": 0.5})
    with pytest.raises(DiskError, match=rf"log\.jsonl: {FULL}"):
        log.rewind(999)
    with pytest.raises(DiskError, match=rf"summary\.json: {FULL}"):
        write_summary(small_disk, {"steps": 1})
    with pytest.raises(DiskError, match=rf"settings\.yaml: {FULL}"):
        write_settings(TrainSettings(), small_disk)


def test_the_words() -> None:
    with pytest.raises(DiskError) as caught, disk_errors(Path("RUN/log.jsonl")):
        raise no_space()
    caught.value.saved_step = 12
    assert str(caught.value) == (
        "RUN/log.jsonl: could not be written (No space left on device). Step 12 is saved; free "
        "some space and run again with resume=true."
    )
    what = "No step is saved; mend this and run again"
    with pytest.raises(UserError, match=what), disk_errors(Path("x")):
        raise OSError(errno.EIO, "Input/output error")


def log_is_full(patch: pytest.MonkeyPatch) -> str:
    real = LogFile.write

    def write(self: LogFile, line: dict[str, Any]) -> None:
        with disk_errors(self.path):
            if line["step"] == 3:
                raise no_space()
        real(self, line)

    patch.setattr(LogFile, "write", write)
    return r"log\.jsonl"


def events_are_full(patch: pytest.MonkeyPatch) -> str:
    from tensorboardX.event_file_writer import EventsWriter

    real = EventsWriter.write_event

    def write_event(self: Any, event: Any) -> None:
        if event.step == 3 and event.summary.value:
            raise no_space()
        real(self, event)

    patch.setattr(EventsWriter, "write_event", write_event)
    return "tensorboard"


@pytest.mark.parametrize("fill", [log_is_full, events_are_full])
def test_the_step_is_saved_and_a_resumed_run_goes_on(
    fill: Callable[[pytest.MonkeyPatch], str],
    data: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    output = tmp_path / "run"
    overrides = [*SMALL, f"data={data}", f"output={output}", "max_steps=4", "log.tensorboard=true",
                 "log.histograms_every=0", "checkpoint.every_steps=100"]  # fmt: skip
    settings: TrainSettings = compose("train", "training.settings:TrainSettings", overrides)
    with pytest.MonkeyPatch.context() as patch:
        name = fill(patch)
        with pytest.raises(DiskError, match=f"/{name}: {FULL}. Step 3 is saved; free some space"):
            run(settings)
    again = compose("train", "training.settings:TrainSettings", [*overrides, "resume=true"])
    assert run(again) == 0
    assert "going on after step 3" in capsys.readouterr().out
    assert [line["step"] for line in read_run(output)][-1] == 4
    steps = {step for step, value in events_in(output / "tensorboard") if value.tag == "train/loss"}
    assert {2, 4} <= steps


def test_a_picture_that_found_no_space_is_drawn_by_the_resumed_run(
    data: Path, tmp_path: Path
) -> None:
    output = tmp_path / "run"
    overrides = [*SMALL, f"data={data}", f"output={output}", "max_steps=2", "evaluate_at_end=true",
                 "evaluate_every_epochs=1", "log.pictures=2"]  # fmt: skip
    real = Path.write_bytes

    def half(self: Path, content: Any) -> int:
        if self.name.startswith("predictions.png"):
            real(self, content[: len(content) // 2])
            raise no_space()
        return real(self, content)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Path, "write_bytes", half)
        with pytest.raises(UserError, match=r"predictions\.png: .*No space left"):
            run(compose("train", "training.settings:TrainSettings", overrides))
    assert not list(output.glob("predictions*"))
    again = [*overrides, "resume=true"]
    assert run(compose("train", "training.settings:TrainSettings", again)) == 0
    assert cv2.imread(str(output / "predictions.png")) is not None
    lines = (output / "evaluations.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [2]
    assert json.loads((output / "summary.json").read_text())["finished"]


def test_a_call_of_several_steps_is_saved_at_its_end(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """After a call the weights are those of its last step, whichever line found the disk full."""
    stub: Any = SimpleNamespace
    trainer = Trainer(TrainSettings(output=str(tmp_path)), World(), stub(), stub(), 0.0)
    reported, saved = [], []

    def step(number: int, done: object, last: bool) -> None:
        reported.append(number)
        if number == 2:
            raise DiskError(tmp_path, no_space())

    done = stub(result=stub(stop=False, applied=True))
    trainer.components = stub(total_steps=9)
    trainer.triggers = stub(call_length=lambda step, most: 3)
    trainer.reporter = stub(step=step)
    trainer.step = 0
    monkeypatch.setattr(SaveAndEvaluate, "save", lambda self, step: saved.append(step))
    with pytest.raises(DiskError):
        call = {"compiles": lambda step: False, "call": lambda *arguments: [done] * 3}
        trainer.one_call(stub(longest=3, **call), 9)
    assert (reported, saved) == ([1, 2], [3])
