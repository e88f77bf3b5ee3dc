"""Costs add up, and the conclusion follows from them by plain arithmetic."""

from __future__ import annotations

import numpy as np
import pytest

from data_tools.pipeline.batches import STAGES, TrainBatch
from data_tools.pipeline.stage_costs import STAGE_WORDS, StageCosts, describe_stage_costs


def batch(images: int, seconds: list[float]) -> TrainBatch:
    none = np.zeros(0)
    return TrainBatch(0, none, none, none, np.zeros(images, np.int64), np.array(seconds))  # type: ignore[arg-type]


def costs() -> StageCosts:
    return StageCosts.of([batch(2, [1e-3, 0, 4e-3, 1e-3, 0]), batch(2, [1e-3, 0, 4e-3, 1e-3, 0])])


def test_costs_are_for_one_image() -> None:
    assert set(STAGE_WORDS) == set(STAGES)
    got = costs()
    assert got.seconds == pytest.approx(
        {"read": 0.5e-3, "choose": 0, "decode": 2e-3, "render": 0.5e-3, "encode": 0}
    )
    assert got.per_image == pytest.approx(3e-3)
    assert got.slowest_stage == "decode"
    assert got.cores_for(0.048, 32) == pytest.approx(2.0)
    table = got.table()
    assert [row[0] for row in table] == list(STAGES)
    assert sum(row[2] for row in table) == pytest.approx(100)


def test_a_fed_device() -> None:
    text = describe_stage_costs(costs(), 0.0696, 32, 2)
    assert (
        "3.00 ms of a core" in text and "69.6 ms for a batch of 32 needs 1.4 cores (so 2)" in text
    )
    assert text.endswith("has 2: it is fed.")


def test_a_starving_device() -> None:
    text = describe_stage_costs(costs(), 0.024, 32, 1)
    assert "needs 4.0 cores (so 4), and has 1: it waits 75 % of the time" in text
    assert "The slowest stage is decode (67 %)" in text and "longest side" in text


def test_nothing_measured_is_no_division_by_zero() -> None:
    assert StageCosts.of([]).per_image == 0
    assert "0.00 ms" in describe_stage_costs(StageCosts.of([]), 0.1, 32, 2)
