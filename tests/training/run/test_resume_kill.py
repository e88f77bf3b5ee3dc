"""Exact resume with real processes: killed, interrupted and damaged on the way, equal at the
end.
"""

from __future__ import annotations

import random
import signal
from pathlib import Path

import numpy as np
import pytest

from tests.helpers.run_helpers import (
    finish,
    make_set,
    read_run,
    start_training,
    train,
    wait_for_step,
)
from training.checkpoints.store import CheckpointStore

pytestmark = [pytest.mark.slow, pytest.mark.several_processes]

RECIPE = ("optim.ema=0.95", "optim.clip_norm=10", "max_steps=30", "checkpoint.every_steps=4",
          "augment=published")  # fmt: skip


def test_a_run_stopped_anyhow_ends_with_the_same_bits(tmp_path: Path) -> None:
    data = make_set(tmp_path / "data")
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    train(f"data={data}", f"output={whole}", *RECIPE)
    seed = random.SystemRandom().randrange(10**6)
    rng = random.Random(seed)
    print(f"random seed of the kills: {seed}")  # shown when the test fails
    arguments = (f"data={data}", f"output={broken}", "resume=true", *RECIPE)

    # SIGKILL: anything may be half written.
    process = start_training(*arguments)
    wait_for_step(broken, rng.randrange(5, 9), process)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    store = CheckpointStore(broken / "checkpoints", keep=3)
    killed_at = store.steps()[-1]
    assert killed_at % 4 == 0

    # Ctrl-C saves where it is, between the regular checkpoints.
    process = start_training(*arguments)
    wait_for_step(broken, rng.choice([13, 14, 15]), process)
    process.send_signal(signal.SIGINT)
    code, text = finish(process)
    assert f"going on after step {killed_at}" in text
    assert code == 130, text
    interrupted_at = store.steps()[-1]
    assert interrupted_at >= 13

    # The newest checkpoint is damaged: the one before it is used.
    path = broken / "checkpoints" / f"step-{interrupted_at:08d}.state.ckpt"
    content = bytearray(path.read_bytes())
    content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    path.write_bytes(content)
    process = start_training(*arguments)
    wait_for_step(broken, 21, process)
    process.send_signal(signal.SIGTERM)
    code, text = finish(process)
    assert code == 143, text
    assert f"damaged checkpoint passed over: {path}" in text
    assert f"going on after step {interrupted_at}" not in text

    train(*arguments)
    first, second = (
        CheckpointStore(run / "checkpoints", 3).open(30).read() for run in (whole, broken)
    )
    for expected, got in zip(first, second, strict=True):
        assert set(expected) == set(got)
        for name in expected:
            np.testing.assert_array_equal(got[name], expected[name], err_msg=name)
    expected_log, log = read_run(whole), read_run(broken)
    assert (
        [line["step"] for line in log]
        == [line["step"] for line in expected_log]
        == list(range(1, 31))
    )
    for old, new in zip(expected_log, log, strict=True):
        assert new["loss"] == pytest.approx(old["loss"], abs=1e-6, rel=1e-6)
        assert new["lr"] == old["lr"]


@pytest.mark.parametrize("sink_steps", [0, 3])
def test_ctrl_c_inside_a_compiled_call_ends_with_130(tmp_path: Path, sink_steps: int) -> None:
    data, output = make_set(tmp_path / "data", val=1), tmp_path / "run"
    process = start_training(
        f"data={data}", f"output={output}", "epochs=1000", "batch_size=16",
        "model.image_size=[256,256]", "checkpoint.every_steps=1000",
        f"runtime.sink_steps={sink_steps}",
    )  # fmt: skip
    wait_for_step(output, 3, process)  # nearly all of the time is spent in the network
    process.send_signal(signal.SIGINT)
    code, text = finish(process)
    assert code == 130, text
    assert "go on with resume=true" in text
    assert CheckpointStore(output / "checkpoints", 3).steps()[-1] == len(read_run(output))


def test_max_minutes_stops_in_time_and_says_how_to_go_on(tmp_path: Path) -> None:
    data = make_set(tmp_path / "data")
    output = tmp_path / "run"
    text = train(f"data={data}", f"output={output}", "epochs=100000", "max_minutes=0.2")
    assert "go on with resume=true" in text
    steps = CheckpointStore(output / "checkpoints", 3).steps()
    assert steps[-1] == len(read_run(output))
