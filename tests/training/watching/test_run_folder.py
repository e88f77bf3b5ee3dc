"""The run's folder: one training at a time, and settings that a resumed run finds in it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from data_tools.core.errors import SettingError
from training.command_line.configure import compose
from training.settings import TrainSettings
from training.watching.run_folder import LOCK, locked_run, refuse_live_run, write_settings

TRAIN = ("train", "training.settings:TrainSettings")
HOLD = """
import sys, pathlib
from training.watching.run_folder import locked_run
with locked_run(pathlib.Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_second_training_is_refused_while_the_first_lives(
    tmp_path: Path, repository: Path
) -> None:
    output = tmp_path / "run"
    refuse_live_run(output)
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(output)],
        cwd=repository, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    ) as holder:  # fmt: skip
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        for refuse in (lambda: refuse_live_run(output), lambda: locked_run(output).__enter__()):
            with pytest.raises(
                SettingError, match=rf"another training .*\(process {holder.pid} on"
            ):
                refuse()
        assert f"process {holder.pid}" in (output / LOCK).read_text()  # the refused wrote nothing
        holder.kill()
    with locked_run(output):  # what a killed one leaves holds nobody up
        assert (output / LOCK).exists()
    assert list(output.iterdir()) == []


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(SettingError, match="cannot be made and locked"),
        locked_run(tmp_path / "file"),
    ):
        pass


@pytest.fixture
def started(tmp_path: Path) -> Path:
    """The folder of a run that was started with settings unlike the defaults."""
    given = ["+experiment=demo", f"data={tmp_path}/1.10", f"output={tmp_path}/run", "max_steps=4",
             "model=ssd_tiny", "optim.lr=1e-5", "optim.freeze=[1e3, 猫]",
             "optim.lr_factors={a.*: 2}",
             "split=2024_05_01", "max_minutes=5", "checkpoint=1e3"]  # fmt: skip
    settings = compose(*TRAIN, given)
    (tmp_path / "run").mkdir()
    write_settings(settings, tmp_path / "run")
    return tmp_path / "run"


def test_resume_alone_takes_the_settings_of_the_run(started: Path) -> None:
    first = compose(*TRAIN, ["+experiment=demo", "model=ssd_tiny"])
    settings: TrainSettings = compose(*TRAIN, [f"output={started}", "resume=true"])
    assert settings.model == first.model and settings.augment == first.augment
    assert settings.data == f"{started.parent}/1.10" and settings.split == "2024_05_01"
    assert (settings.optim.lr, settings.optim.freeze) == (1e-5, ["1e3", "猫"])
    assert settings.optim.lr_factors == {"a.*": 2.0}
    assert settings.init.checkpoint == "1e3"
    # What was said for one call only is not taken over.
    assert settings.max_steps is None and settings.max_minutes is None and settings.resume


def test_what_is_given_goes_before_and_a_recipe_stands_for_itself(started: Path) -> None:
    given = [
        f"output={started}",
        "resume=true",
        "batch_size=5",
        "optim.lr_factors={b: 3}",
        "data=x",
    ]
    settings = compose(*TRAIN, given)
    assert (settings.batch_size, settings.data, settings.optim.lr) == (5, "x", 1e-5)
    assert settings.optim.lr_factors == {"b": 3.0}
    whole = compose(*TRAIN, [f"output={started}", "resume=true", "model=ssd300"])
    assert whole.model.name == "ssd300" and whole.split == "train"
    assert compose(*TRAIN, [f"output={started}"]).split == "train"


@pytest.mark.parametrize("content", ["{", "- 1", "nothing_such: 3", "batch_size: [1]"])
def test_settings_that_cannot_be_taken_over_are_told(started: Path, content: str) -> None:
    (started / "settings.yaml").write_text(content)
    with pytest.raises(SettingError, match=r"settings.yaml: the settings .* cannot be taken over"):
        compose(*TRAIN, [f"output={started}", "resume=true"])
