"""One home for each default: a file of `conf/` holds a `defaults` list and what differs from it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.helpers import conf_files
from tests.helpers.conf_files import CONF, files, repeated
from training.command_line.configure import compose

TRAIN = ("train", "training.settings:TrainSettings")


@pytest.mark.parametrize("path", files(), ids=lambda p: f"{p.parent.name}/{p.stem}")
def test_no_value_says_again_what_it_is_laid_over(path: Path) -> None:
    same = [".".join(leaf) for leaf in repeated(path)]
    assert not same, f"{path.relative_to(CONF.parent)}: these are the values already"


def test_every_file_is_looked_at_and_a_repeated_value_is_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert len(files()) >= 48
    monkeypatch.setattr(conf_files, "CONF", tmp_path)
    for group in ("model", "loss", "augment", "optim", "runtime"):
        (tmp_path / group).mkdir()
        for source in (CONF / group).glob("*.yaml"):
            (tmp_path / group / source.name).write_bytes(source.read_bytes())
    (tmp_path / "train.yaml").write_bytes((CONF / "train.yaml").read_bytes())
    (tmp_path / "experiment").mkdir()
    recipe = tmp_path / "experiment" / "x.yaml"
    recipe.write_text(
        "# @package _global_\ndefaults:\n  - override /model: ssd_tiny\n  - override /loss: focal\n"
        "epochs: 500\nmodel:\n  init: he\n  head_prior: 0.02\nloss:\n  gamma: 2\nbatch_size: 31\n"
    )
    assert repeated(recipe) == [("epochs",), ("model", "init"), ("loss", "gamma")]


def test_workers_is_an_old_name_of_the_setting_of_the_pipeline() -> None:
    assert compose(*TRAIN, ["workers=3"]).pipeline.workers == 3
    assert compose(*TRAIN, ["pipeline.workers=3"]) == compose(*TRAIN, ["workers=3"])
    assert compose(*TRAIN, ["workers=0"]) == compose(*TRAIN, [])
