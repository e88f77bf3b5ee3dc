"""Training at sizes that are drawn for each step: one set of weights, a graph for each size."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from data_tools.core.errors import SettingError
from tests.helpers.checkpoints import require_same_end
from tests.helpers.run_helpers import SMALL, make_set
from training.command_line.configure import compose
from training.learning.assemble import build_components
from training.learning.stepper import build_stepper
from training.process.world import World
from training.run.loop import open_training_split, run
from training.settings import TrainSettings

LIGHT = ("model=ssd_light", "model.max_boxes=20", "model.box_bins=8", "loss=varifocal",
         "optim=adamw", "optim.norm_correction=true", "optim.ema=0.9")  # fmt: skip
SIZES = ("augment.sizes=[[64,64],[96,64]]", "seed=2")


def settings_of(*words: str) -> TrainSettings:
    settings: TrainSettings = compose(
        "train", "training.settings:TrainSettings", [*SMALL, *LIGHT, *words]
    )
    return settings


@pytest.mark.parametrize(
    "word", ["model.assign=published", "model.assign=atss", "runtime.sink_steps=2"]
)
def test_targets_that_depend_on_the_size_are_refused(word: str) -> None:
    with pytest.raises(SettingError, match=r"augment\.sizes=.*model\.assign=tal"):
        settings_of(*SIZES, word)


@pytest.mark.parametrize(
    "sizes", ["[[16,64]]", "[[64]]", "[[64,64,64]]", "[[64,9999]]", "[64,96]", "[a]", "64"]
)
def test_a_size_that_is_none_is_refused(sizes: str) -> None:
    with pytest.raises(SettingError, match=r"augment\.sizes"):
        settings_of(f"augment.sizes={sizes}")


def first_step(settings: TrainSettings) -> tuple[Any, dict[str, np.ndarray]]:
    """Do one step; return its record and the weights after it."""
    parts = build_components(settings, World(), open_training_split(settings))
    stepper = build_stepper(parts, parts.phases[0], 0, 1)
    try:
        assert stepper.compiles(0)
        done = stepper.call(0, 1, lambda text: None, lambda: False)[0]
        assert not stepper.compiles(0)
    finally:
        stepper.close()
    return done, {p.name: p.asnumpy().copy() for p in parts.state.network.get_parameters()}


@pytest.mark.slow
def test_a_step_at_a_drawn_size_is_that_of_a_network_of_that_size(tmp_path: Path) -> None:
    data = make_set(tmp_path / "data", 8, 1)
    drawn = settings_of(f"data={data}", "augment.sizes=[[96,64]]")
    alone = settings_of(f"data={data}", "model.image_size=[96,64]")
    done, weights = first_step(drawn)
    expected, same = first_step(alone)
    assert np.isfinite(done.result.loss) and done.result.applied
    assert dataclasses.replace(done.result, launch_seconds=0) == dataclasses.replace(
        expected.result, launch_seconds=0
    )
    assert weights.keys() == same.keys()
    for name, value in same.items():
        np.testing.assert_array_equal(weights[name], value, err_msg=name)


@pytest.mark.slow
def test_a_stopped_run_goes_on_with_the_sizes_it_would_have_had(tmp_path: Path) -> None:
    data = make_set(tmp_path / "data", 12, 1)
    # A network that compiles sooner: there are six graphs.
    tiny = (
        "model=ssd_tiny",
        "model.assign=tal",
        "model.box_bins=0",
        "loss=focal",
        "loss.box=giou",
        *SIZES,
    )

    def train(name: str, *words: str) -> None:
        output = ("checkpoint.every_steps=2", "checkpoint.keep=9", f"output={tmp_path / name}")
        assert run(settings_of(f"data={data}", *tiny, *output, *words)) == 0

    steps = 7
    parts = settings_of(f"data={data}", *tiny)
    pipeline = build_components(parts, World(), open_training_split(parts)).pipeline
    assert {pipeline.size(step) for step in range(4)} == {(64, 64), (96, 64)}
    assert {pipeline.size(step) for step in range(4, steps)} == {(64, 64), (96, 64)}
    train("whole", f"max_steps={steps}")
    train("stopped", "max_steps=4")
    train("stopped", f"max_steps={steps}", "resume=true")
    require_same_end(tmp_path / "whole", tmp_path / "stopped", steps)
