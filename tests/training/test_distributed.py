"""Jobs of several real processes: equal to one device, ended as a whole, joined over machines."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import time
from pathlib import Path

import numpy as np
import pytest
from run_helpers import (
    finish,
    free_port,
    make_set,
    read_run,
    start_training,
    train,
    wait_for_step,
)

from training.checkpoint import read_card
from training.checkpoint_store import CheckpointStore
from training.job_watch import JOB_VARIABLE, is_training

pytestmark = pytest.mark.slow

# Sums over several devices differ from those of one in the last bit, until that bit carries some
# activation over a ReLU's corner: from there the difference grows in every step, whoever computes it
# (one device with another rounding does the same). So the first steps are compared to the bit, nearly,
# and the rest to what training makes of a last bit.
CALM = ("max_steps=20", "epochs=40", "optim.warmup_lr=0.00002", "optim.lr=0.0002",
        "augment=light", "checkpoint.every_steps=8", "checkpoint.keep=9")  # fmt: skip
EXACT = 8


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_set(tmp_path_factory.mktemp("set") / "data", train=24, val=7)


def job(ranks: int, *overrides: str) -> dict[str, object]:
    return {"ranks": ranks, "extra": ("--port", str(free_port()))} if ranks > 1 else {}


def run_training(ranks: int, output: Path, data: Path, *overrides: str) -> str:
    """Train with a global batch of 8."""
    batch = f"batch_size={8 // ranks}"
    arguments = (f"data={data}", f"output={output}", batch, *CALM, *overrides)
    return train(*arguments, **job(ranks))  # type: ignore[arg-type]


def assert_close(one: Path, many: Path) -> None:
    """Compare two runs: losses and gradients of all steps, weights and moments of some."""
    expected, got = read_run(one), read_run(many)
    assert [line["step"] for line in got] == [line["step"] for line in expected]
    for old, new in zip(expected, got, strict=True):
        tolerance = 1e-5 if old["step"] <= EXACT else 3e-2
        assert new["loss"] == pytest.approx(old["loss"], rel=tolerance), old["step"]
        assert new["positives"] == old["positives"]
        if (
            old["step"] <= EXACT
        ):  # a gradient that is not that of the whole batch is off by far more
            assert new["grad_norm"] == pytest.approx(old["grad_norm"], rel=2e-3), old["step"]
    for step, tolerance in ((EXACT, 2e-3), (20, 2e-2)):
        first, second = (
            CheckpointStore(run / "checkpoints", 3).open(step).read() for run in (one, many)
        )
        compared = zip(first, second, strict=True) if step == EXACT else [(first[0], second[0])]
        for weights, others in compared:
            for name, array in weights.items():
                scale = max(float(np.abs(array).max()), 1e-3 if step == EXACT else 0.05)
                assert float(np.abs(others[name] - array).max()) < tolerance * scale, (step, name)


@pytest.mark.parametrize(("norm", "ranks"), [("sync", 2), ("frozen", 4)])
def test_n_devices_are_one_device(tmp_path: Path, data: Path, norm: str, ranks: int) -> None:
    options = (f"model.norm={norm}", "evaluate_at_end=true", "log.pictures=0")
    run_training(1, tmp_path / "one", data, *options)
    text = run_training(ranks, tmp_path / "many", data, *options, "runtime.bucket_mb=0.5")
    assert f"preflight: {ranks} ranks agree" in text
    assert_close(tmp_path / "one", tmp_path / "many")
    logs = {path.name for path in (tmp_path / "many" / "ranks").iterdir()}
    assert logs >= {f"worker_{rank}.log" for rank in range(ranks)}
    # Evaluated on all ranks, the digits are those that one process finds for the checkpoint.
    card = read_card(tmp_path / "many" / "checkpoints" / "step-00000020.ckpt")
    assert card is not None
    assert card.metrics is not None
    assert card.metrics["coco"] == score_alone(tmp_path / "many", data)


def score_alone(output: Path, data: Path) -> object:
    """Score a run's last checkpoint in this process."""
    from data_tools.manifest import open_split
    from training.eval_settings import EvaluateSettings
    from training.evaluation import evaluate
    from training.inference import build_predictor
    from training.nets import build_network
    from training.nets.settings import settings_from_dict
    from training.weight_files import read_weights
    from training.weights import load_weights

    path = output / "checkpoints" / "step-00000020.ckpt"
    card = read_card(path)
    assert card is not None
    network = build_network(settings_from_dict(card.model), card.num_classes)
    load_weights(network, read_weights(path))
    settings = EvaluateSettings()
    predict = build_predictor(network, settings.batch_size)
    split = open_split(data, "val")
    return evaluate(predict, split, (64, 64), settings, show_progress=False).metrics["coco"]


def test_a_run_moves_from_one_device_to_two_and_back(tmp_path: Path, data: Path) -> None:
    options = ("model.norm=sync",)
    run_training(1, tmp_path / "one", data, *options)
    moved = tmp_path / "moved"
    run_training(1, moved, data, *options, "max_steps=8")
    text = run_training(2, moved, data, *options, "max_steps=14", "resume=true")
    assert "going on after step 8" in text
    assert "going on after step 14" in run_training(1, moved, data, *options, "resume=true")
    assert_close(tmp_path / "one", moved)


def ranks_of(output: Path) -> dict[int, int]:
    """Return rank to process id of the job that writes to a folder."""
    found = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or not is_training(int(entry.name)):
            continue
        try:
            command = (entry / "cmdline").read_bytes().decode()
            variables = (entry / "environ").read_bytes().decode().split("\0")
        except OSError:
            continue
        named = dict(v.split("=", 1) for v in variables if "=" in v)
        if f"output={output}" in command and named.get("MS_ROLE") == "MS_WORKER":
            found[int(named["RANK_ID"])] = int(entry.name)
    return found


def processes_of(output: Path) -> list[str]:
    """Return the command lines that mention a folder."""
    lines = []
    for entry in Path("/proc").iterdir():
        try:
            command = (entry / "cmdline").read_bytes().decode().replace("\0", " ")
        except OSError:
            continue
        if entry.name.isdigit() and str(output) in command and int(entry.name) != os.getpid():
            lines.append(command)
    return lines


@pytest.mark.parametrize(
    ("number", "words"),
    [(signal.SIGKILL, "rank 1 was killed by SIGKILL"), (signal.SIGSTOP, "rank 1 is stopped")],
)
def test_a_lost_rank_ends_the_job_within_a_minute(
    tmp_path: Path, data: Path, number: signal.Signals, words: str
) -> None:
    output = tmp_path / "run"
    process = start_training(
        f"data={data}",
        f"output={output}",
        "batch_size=4",
        "epochs=10000",
        **job(2),  # type: ignore[arg-type]
    )
    wait_for_step(output, 3, process)
    begun = time.monotonic()
    os.kill(ranks_of(output)[1], number)
    code, text = finish(process, timeout=90)
    assert code == 1
    assert time.monotonic() - begun < 60
    assert words in text
    assert str(output / "ranks" / "worker_1.log") in text or number == signal.SIGSTOP
    assert processes_of(output) == []


def job_of(pid: int) -> bytes:
    """Return the variable that all processes of a process's job carry; empty without one."""
    try:
        variables = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return b""
    return next((v for v in variables if v.startswith(JOB_VARIABLE.encode() + b"=")), b"")


def members_of(marker: bytes) -> dict[int, bytes]:
    """Return process id to command line of the processes of a job."""
    found = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and job_of(int(entry.name)) == marker:
            with contextlib.suppress(OSError):
                found[int(entry.name)] = (entry / "cmdline").read_bytes()
    return found


def test_a_killed_launcher_leaves_no_process_behind(tmp_path: Path, data: Path) -> None:
    output = tmp_path / "run"
    process = start_training(
        f"data={data}",
        f"output={output}",
        "batch_size=4",
        "epochs=10000",
        **job(2),  # type: ignore[arg-type]
    )
    wait_for_step(output, 3, process)
    marker = job_of(ranks_of(output)[1])
    assert len(members_of(marker)) >= 4  # msrun, its scheduler, two ranks
    process.kill()
    left, deadline = members_of(marker), time.monotonic() + 60
    while left and time.monotonic() < deadline:
        time.sleep(0.5)
        left = members_of(marker)
    for pid in left:
        os.kill(pid, signal.SIGKILL)
    process.communicate()
    assert not left


def test_sigterm_to_the_launcher_saves_before_leaving(tmp_path: Path, data: Path) -> None:
    output = tmp_path / "run"
    process = start_training(
        f"data={data}",
        f"output={output}",
        "batch_size=4",
        "epochs=10000",
        **job(2),  # type: ignore[arg-type]
    )
    wait_for_step(output, 3, process)
    process.send_signal(signal.SIGTERM)
    code, text = finish(process, timeout=120)
    assert code == 143, text
    assert CheckpointStore(output / "checkpoints", 3).steps()[-1] == len(read_run(output))
    assert json.loads((output / "summary.json").read_text())["finished"] is False
    assert processes_of(output) == []


@pytest.mark.parametrize("seeds", [(1, 1), (1, 2)], ids=["agreeing", "disagreeing"])
def test_two_launches_are_one_job(tmp_path: Path, data: Path, seeds: tuple[int, int]) -> None:
    output, port = tmp_path / "run", str(free_port())
    # Each machine has the data at its own place.
    places = [data, Path(shutil.copytree(data, tmp_path / "copy"))]
    launched = [
        start_training(
            f"data={places[node]}", f"output={output}", "batch_size=4", "max_steps=3", f"seed={seeds[node]}",
            ranks=1, extra=("--nodes", "2", "--node-rank", str(node), "--port", port),
        )
        for node in (0, 1)
    ]  # fmt: skip
    begun = time.monotonic()
    ended = [finish(process) for process in launched]
    if seeds[0] == seeds[1]:
        assert [code for code, _ in ended] == [0, 0], ended
        assert len(read_run(output)) == 3
    else:
        assert [code for code, _ in ended] == [1, 1], ended
        assert time.monotonic() - begun < 90
        assert "rank 1: seed is 2, on the other ranks 1" in ended[0][1]
        # The launcher of another machine has but its own last line.
        assert re.search(r"^error: .*do not agree: .*rank 1: seed is 2, on", ended[1][1], re.M)
        assert "setting data is" not in ended[0][1]
        assert not (output / "log.jsonl").exists()
