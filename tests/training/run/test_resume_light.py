"""A run of `ssd_light` that was stopped ends with the bits of one that was not: the assignment in
the graph, bins, AdamW, corrected batch norms and the average go on where they were.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.helpers.checkpoints import require_same_end
from tests.helpers.run_helpers import SMALL, make_set
from training.command_line.configure import compose
from training.run.loop import run

pytestmark = pytest.mark.slow
LIGHT = ("model=ssd_light", "model.image_size=[64,64]", "model.max_boxes=20", "model.box_bins=8",
         "loss=varifocal", "optim=adamw", "optim.norm_correction=true", "optim.ema=0.9",
         "optim.clip_norm=10", "checkpoint.every_steps=2", "checkpoint.keep=9")  # fmt: skip
STEPS = 5


def test_a_stopped_run_of_ssd_light_goes_on_to_the_bit(tmp_path: Path) -> None:
    data = make_set(tmp_path / "data", 12, 1)

    def train(name: str, *overrides: str) -> None:
        words = [*SMALL, *LIGHT, f"data={data}", f"output={tmp_path / name}", *overrides]
        assert run(compose("train", "training.settings:TrainSettings", words)) == 0

    train("whole", f"max_steps={STEPS}")
    train("stopped", "max_steps=3")
    train("stopped", f"max_steps={STEPS}", "resume=true")
    state = require_same_end(tmp_path / "whole", tmp_path / "stopped", STEPS)
    kinds = {name.partition(".")[0] for name in state}
    assert kinds >= {"moment1", "moment2", "moment_shares", "norm_shares", "raw"}
