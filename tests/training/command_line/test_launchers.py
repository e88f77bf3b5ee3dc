"""Hydra's launchers convert the parts of a set as one run after the other does; a missing one names
its package.
"""

from __future__ import annotations

import importlib.metadata
import subprocess
import sys
from pathlib import Path

import pytest

from data_tools.convert.settings import ConvertSettings
from tests.helpers.raw_sets import tree_bytes
from training.command_line.error_words import in_plain_words

REPOSITORY = Path(__file__).resolve().parents[3]
PLUGINS = {"joblib": "joblib", "submitit_local": "submitit", "ray": "ray"}


class LauncherError(RuntimeError):
    """What a launcher of a cluster raises where there is none."""


@pytest.mark.parametrize("launcher", [*PLUGINS, "submitit_slurm"])
def test_a_missing_launcher_names_its_package(launcher: str) -> None:
    extra = {**PLUGINS, "submitit_slurm": "submitit"}[launcher]
    error = LookupError(f"In 'hydra/config': Could not find 'hydra/launcher/{launcher}'")
    text = in_plain_words(error, {"a": f"hydra/launcher={launcher}"}, ConvertSettings)
    assert text.startswith(f"hydra/launcher={launcher}: needs the Python package")
    assert f"pip install hydra-{extra}-launcher" in text


def test_a_launcher_without_its_cluster_is_no_wrong_value() -> None:
    error = LauncherError('Could not detect "srun", are you indeed on a slurm cluster?')
    text = in_plain_words(error, {"a": "hydra/launcher=submitit_slurm"}, ConvertSettings)
    assert text.startswith("hydra/launcher=submitit_slurm: the launcher refused (Could not detect")
    assert "wrong kind" not in text


@pytest.mark.slow
@pytest.mark.several_processes
@pytest.mark.parametrize("launcher", list(PLUGINS))
def test_parts_by_a_launcher(launcher: str, tmp_path: Path) -> None:
    package = f"hydra-{PLUGINS[launcher]}-launcher"
    if package not in {found.metadata["Name"] for found in importlib.metadata.distributions()}:
        pytest.skip(f"{package} is not installed")
    settings = [
        *("dataset=shapes", "dataset.splits.train.count=8", "dataset.splits.val.count=4"),
        *("shards=2", f"hydra.sweep.dir={tmp_path / 'sweep'}"),
    ]

    def convert(*arguments: str) -> None:
        command = [sys.executable, "convert.py", *arguments]
        done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr

    out = tmp_path / "out"
    parts = [f"out={out}", "parts=2", "part=1,2", "--multirun", f"hydra/launcher={launcher}"]
    convert(*settings, *parts)
    convert(f"merge={out}")
    convert(*settings[:-1], f"out={tmp_path / 'alone'}")
    ours, alone = tree_bytes(out), tree_bytes(tmp_path / "alone")
    assert {name: data for name, data in ours.items() if not name.startswith("part-")} == alone
