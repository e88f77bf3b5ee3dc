"""Jobs of several real processes: ended as a whole, joined over machines. Their sums:
test_equal_ranks.py.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from data_tools.pipeline.order import TrainOrder
from tests.helpers.run_helpers import (
    finish,
    free_port,
    make_set,
    read_run,
    start_training,
    wait_for_step,
)
from training.checkpoints.store import CheckpointStore
from training.launch.watch import is_training
from training.process.rank_status import JOB_VARIABLE

pytestmark = [pytest.mark.slow, pytest.mark.several_processes]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_set(tmp_path_factory.mktemp("set") / "data", train=24, val=7)


def job(ranks: int) -> dict[str, Any]:
    """Options of `start_training` for a job of its own on this machine."""
    return {"ranks": ranks, "extra": ("--port", str(free_port()))}


def start_endless(output: Path, data: Path) -> subprocess.Popen[str]:
    """Start a job of two ranks that would go on for hours, and wait for its third step."""
    process = start_training(
        f"data={data}", f"output={output}", "batch_size=4", "epochs=10000", **job(2)
    )
    wait_for_step(output, 3, process)
    return process


def start_two_launches(
    output: Path, *overrides: str, of_second: tuple[str, ...] = ()
) -> list[subprocess.Popen[str]]:
    """Start one job of two ranks as two launches, as two machines would."""
    port = str(free_port())
    return [
        start_training(
            f"output={output}", "batch_size=4", *overrides, *(of_second if node else ()),
            ranks=1, extra=("--nodes", "2", "--node-rank", str(node), "--port", port),
        )
        for node in (0, 1)
    ]  # fmt: skip


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
    process = start_endless(output, data)
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
    process = start_endless(output, data)
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
    process = start_endless(output, data)
    process.send_signal(signal.SIGTERM)
    code, text = finish(process, timeout=120)
    assert code == 143, text
    assert CheckpointStore(output / "checkpoints", 3).steps()[-1] == len(read_run(output))
    assert json.loads((output / "summary.json").read_text())["finished"] is False
    assert processes_of(output) == []


def test_a_rank_that_raises_ends_the_job_and_says_why(tmp_path: Path) -> None:
    """A damaged image is met by rank 1 alone, in the second step."""
    row = int(TrainOrder(24, seed=5, batch_size=4, rank=1, world_size=2).rows(1)[0])
    names = []

    def damage(split: str, index: int, columns: dict[str, Any]) -> None:
        if split == "train" and index == row:
            names.append(str(columns["image_id"]))
            columns["image"] = b"no picture"

    data = make_set(tmp_path / "data", train=24, val=2, change=damage)
    output = tmp_path / "run"
    process = start_training(f"data={data}", f"output={output}", "batch_size=4", "seed=5", **job(2))
    code, text = finish(process)
    assert code == 1
    assert "rank 1 failed: " in text, text
    assert names[0] in text.split("rank 1 failed: ")[1]
    assert "rank 0 failed" not in text
    assert not (output / "summary.json").exists()
    assert processes_of(output) == []


def test_two_launches_are_one_job_and_may_keep_the_data_in_two_places(
    tmp_path: Path, data: Path
) -> None:
    output = tmp_path / "run"
    copy = Path(shutil.copytree(data, tmp_path / "copy"))
    first, second = start_two_launches(
        output, f"data={data}", "max_steps=3", of_second=(f"data={copy}",)
    )
    code, text = finish(first)
    assert code == 0, text
    assert "preflight: 2 ranks agree" in text
    assert finish(second)[0] == 0
    assert len(read_run(output)) == 3  # one folder, written by rank 0
    assert {path.name for path in (output / "ranks").glob("worker_*.log")} == {
        "worker_0.log",
        "worker_1.log",
    }
    assert processes_of(output) == []


def test_launches_that_disagree_are_told_who_and_in_what(tmp_path: Path, data: Path) -> None:
    other = make_set(tmp_path / "other", train=23, val=2)
    output, begun = tmp_path / "run", time.monotonic()
    launches = start_two_launches(
        output, f"data={data}", "seed=1", of_second=(f"data={other}", "seed=2", "epochs=11")
    )
    ended = [finish(process) for process in launches]
    assert [code for code, _ in ended] == [1, 1], ended
    assert (
        time.monotonic() - begun < 90
    )  # with the start of Python and MindSpore, before the clock runs
    for words in (
        "rank 1: seed is 2, on the other ranks 1",
        "rank 1: rows is 23, on the other ranks 24",
        "rank 1: data fingerprint is ",
        "rank 1: setting epochs is 11",
    ):
        assert words in ended[0][1]
    assert "setting data is" not in ended[0][1]  # each machine may have it at a path of its own
    # The launcher of another machine has but its own last line.
    assert re.search(r"^error: .*do not agree: .*rank 1: seed is 2, on", ended[1][1], re.M)
    assert not (output / "log.jsonl").exists()
    assert processes_of(output) == []


def test_a_rank_lost_on_one_machine_ends_the_other_too(tmp_path: Path, data: Path) -> None:
    output = tmp_path / "run"
    launches = start_two_launches(output, f"data={data}", "epochs=10000")
    wait_for_step(output, 3, launches[0])
    begun = time.monotonic()
    os.kill(ranks_of(output)[1], signal.SIGKILL)
    ended = [finish(process, timeout=90) for process in launches]
    assert time.monotonic() - begun < 60
    assert [code for code, _ in ended] == [1, 1], ended
    assert "rank 1 was killed by SIGKILL" in ended[1][1]
    assert "rank 0 " in ended[0][1].rpartition("error: ")[2]  # all that its machine can know
    assert processes_of(output) == []
