"""What a user is told to do next: never to convert over a finished set, and what lies where a file
was looked for.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from data_tools.convert.extend import open_parents
from data_tools.converted.verify import split_folders
from data_tools.core.errors import CheckpointError, DataError
from data_tools.shards.manifest import open_split
from data_tools.sources.image_files import require_file
from tests.helpers.run_helpers import make_set
from training.command_line.configure import run_command
from training.evaluation.foreign_results import read_foreign_results
from training.evaluation.ground_truth import GroundTruth
from training.inference.image_source import find_images
from training.inference.open_model import open_model_file
from training.settings import TrainSettings


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("set") / "cards"
    make_set(folder, 4, 2)
    return folder


def test_a_split_given_as_the_set_is_told(data: Path) -> None:
    with pytest.raises(DataError, match="It is a split itself: give data=.*cards, and") as caught:
        open_split(data / "train", "train")
    assert "convert.py" not in str(caught.value)


def test_a_split_that_is_not_there_does_not_cost_those_that_are(data: Path) -> None:
    with pytest.raises(
        DataError, match=r"It has the splits \['train', 'val'\]: name one"
    ) as caught:
        open_split(data, "test")
    assert f"out={data}" not in str(caught.value) and "into a new folder" in str(caught.value)


def test_a_missing_set_lists_its_neighbours(data: Path) -> None:
    with pytest.raises(DataError, match=r"No such folder\. .* holds cards\. Convert"):
        open_split(data.with_name("crads"), "train")


def test_a_missing_checkpoint_lists_its_neighbours_and_a_run_gives_its_best(tmp_path: Path) -> None:
    (tmp_path / "checkpoints").mkdir()
    best = tmp_path / "checkpoints" / "best.ckpt"
    with pytest.raises(
        CheckpointError, match="a folder without checkpoints/best.ckpt.*no detector"
    ):
        open_model_file(tmp_path)
    best.write_bytes(b"no checkpoint")
    with pytest.raises(CheckpointError, match=r"no such file\. .*checkpoints holds best\.ckpt"):
        open_model_file(tmp_path / "checkpoints" / "bets.ckpt")
    for folder in (tmp_path, tmp_path / "checkpoints"):
        with pytest.raises(CheckpointError, match=r"checkpoints/best\.ckpt"):  # taken, and damaged
            open_model_file(folder)


def test_whatever_names_a_path_that_is_not_there_says_what_is(data: Path) -> None:
    absent, truth = data.with_name("crads"), GroundTruth.__new__(GroundTruth)
    for look in (
        lambda: split_folders(absent),
        lambda: open_parents(absent),
        lambda: find_images(str(absent)),
        lambda: read_foreign_results(absent, truth),
    ):
        with pytest.raises(DataError, match=r"[Nn]o such f.* holds cards\."):
            look()
    with pytest.raises(DataError, match=r"not found\. Next to it: cards\."):
        require_file(absent, "exclude=crads")


def print_much(settings: TrainSettings) -> None:
    for _ in range(100_000):
        print("line")


def test_a_reader_that_leaves_is_no_error(repository: Path) -> None:
    code = (
        "import sys; sys.argv = ['train.py', 'model=ssd_tiny'];"
        "from training.command_line.configure import run_command;"
        f"run_command('train', 'training.settings:TrainSettings', '{__name__}:print_much')"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code], cwd=repository, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout is not None and process.stderr is not None
    assert process.stdout.readline() == b"line\n"
    process.stdout.close()
    assert process.stderr.read() == b""
    assert process.wait() == 141


def test_a_launcher_without_its_package_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["-m", "seed=1,2", "hydra.launcher._target_=hydra_plugins.nothing_such.Launcher"]
    monkeypatch.setattr("sys.argv", ["train.py", *arguments])
    with pytest.raises(SystemExit):
        run_command("train", "training.settings:TrainSettings", "builtins:repr")
    told = capsys.readouterr().err
    assert (
        "needs the Python package" in told and "hydra_plugins" in told and "Traceback" not in told
    )
    assert os.linesep not in told.strip()
