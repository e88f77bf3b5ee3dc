"""Freezing, thawing and half precision: each by its effect on weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from mindspore import nn

from tests.helpers.run_helpers import make_set
from tests.helpers.toy import toy_batch, toy_state, toy_step
from training.command_line.configure import compose
from training.learning.assemble import (
    build_components,
    build_phase_cells,
    build_phases,
)
from training.learning.settings import OptimSettings
from training.learning.step import build_step
from training.learning.training_network import lower_precision
from training.process.world import World
from training.run.loop import open_training_split
from training.settings import TrainSettings


@pytest.mark.slow
def test_frozen_layers_thaw_after_their_epochs(tmp_path: Path) -> None:
    data = make_set(tmp_path / "data", 8, 1)
    settings: TrainSettings = compose(
        "train",
        "training.settings:TrainSettings",
        [f"data={data}", "model=ssd_tiny", "model.image_size=[64,64]", "batch_size=4", "epochs=3",
         "optim.freeze=[stem*]", "optim.freeze_epochs=1", "optim.warmup_epochs=0"],
    )  # fmt: skip
    assert [p.first_step for p in build_phases(settings, 2)] == [0, 2]
    parts = build_components(settings, World(), open_training_split(settings))
    network = parts.state.network
    names = [p.name for p in network.get_parameters() if p.name.startswith("stem")]
    assert any(name.endswith("moving_mean") for name in names)

    def stem() -> dict[str, np.ndarray]:
        return {p.name: p.asnumpy().copy() for p in network.get_parameters() if p.name in names}

    before = stem()
    for phase, frozen in zip(parts.phases, (True, False), strict=True):
        step = build_step(*build_phase_cells(parts, phase), 1)
        batch = parts.pipeline.batch_at(phase.first_step)
        assert step(batch.images, batch.loc_targets, batch.labels, 0.05).applied
        after = stem()
        same = [np.array_equal(before[name], after[name]) for name in names]
        # Frozen layers keep their batch-norm statistics too.
        assert all(same) if frozen else not any(same)


@pytest.mark.parametrize("half_norms", [False, True])
def test_half_precision_keeps_float_weights_and_trains(half_norms: bool) -> None:
    optim = OptimSettings(momentum=0.0, weight_decay=0.0)
    full, half = toy_state(optim), toy_state(optim, scaled=True)
    lower_precision(half.network, "fp16", half_norms)
    dtypes = {c.to_float_type if hasattr(c, "to_float_type") else None
              for _, c in half.network.cells_and_names() if isinstance(c, nn.Conv2d)}  # fmt: skip
    assert dtypes
    results = []
    for state in (full, half):
        step = toy_step(state, optim)
        results.append([step(*toy_batch(), 0.02) for _ in range(5)])
        assert all(str(p.dtype) == "Float32" for p in state.network.get_parameters())
    assert [r.loss_scale for r in results[1]] == [256, 256, 256, 512, 512]
    pairs = list(zip(*results, strict=True))
    for a, b in pairs:
        assert b.loss == pytest.approx(a.loss, rel=2e-2)
    assert any(a.loss != b.loss for a, b in pairs)  # it was not float32 after all
    assert results[1][-1].loss < results[1][0].loss
