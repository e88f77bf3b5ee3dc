"""Watching ranks: on a clock that does not jump, with the right one blamed, and nothing left after
a kill.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from training.launch.watch import JobWatch
from training.process.rank_status import (
    FINISHED,
    JOB_VARIABLE,
    STATUS_VARIABLE,
    RankStatus,
    read_status,
)

SLEEP = [sys.executable, "-c", "import time; time.sleep(100)", "train.py"]


@pytest.fixture
def job(tmp_path: Path) -> Iterator[dict[str, subprocess.Popen[bytes]]]:
    """A scheduler and two ranks, as far as the watch can tell."""
    roles = {"scheduler": {"MS_ROLE": "MS_SCHED"}}
    roles |= {f"rank {k}": {"MS_ROLE": "MS_WORKER", "RANK_ID": str(k)} for k in range(2)}
    marker = {JOB_VARIABLE: f"test-{os.getpid()}"}
    started = {
        name: subprocess.Popen(SLEEP, env={**os.environ, **marker, **role})
        for name, role in roles.items()
    }
    yield started
    for process in started.values():
        process.kill()
        process.wait()


def watch(tmp_path: Path) -> JobWatch:
    return JobWatch(
        job_id=f"test-{os.getpid()}", ranks=range(2), status_dir=tmp_path, ranks_dir=tmp_path,
        hang_seconds=30
    )  # fmt: skip


def end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()


def look_until_all_run(watching: JobWatch) -> None:
    deadline = time.monotonic() + 20
    while not (watching.scheduler_seen and all(v.alive for v in watching.views.values())):
        assert time.monotonic() < deadline
        time.sleep(0.05)
        watching.look()


def test_a_lost_scheduler_is_blamed_and_no_rank(
    tmp_path: Path, job: dict[str, subprocess.Popen[bytes]]
) -> None:
    watching = watch(tmp_path)
    look_until_all_run(watching)
    assert watching.failure() is None
    end(job["scheduler"])
    watching.look()
    assert (watching.failure() or "").startswith("the scheduler, msrun's process")
    end(job["rank 0"])  # which cannot go on without it
    watching.look()
    assert "rank 0" not in (watching.failure() or "rank 0")


def test_a_lost_rank_is_blamed_though_the_scheduler_goes_after_it(
    tmp_path: Path, job: dict[str, subprocess.Popen[bytes]]
) -> None:
    watching = watch(tmp_path)
    look_until_all_run(watching)
    end(job["rank 1"])
    end(job["scheduler"])
    watching.look()
    assert (watching.failure() or "").startswith("rank 1 ")


def test_a_scheduler_that_leaves_after_the_ranks_is_no_failure(
    tmp_path: Path, job: dict[str, subprocess.Popen[bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(STATUS_VARIABLE, str(tmp_path))
    watching = watch(tmp_path)
    look_until_all_run(watching)
    for rank in range(2):
        RankStatus(rank).tell(3, FINISHED)
        end(job[f"rank {rank}"])
    end(job["scheduler"])
    watching.look()
    assert watching.failure(ended=True) is None and watching.all_finished()


@pytest.mark.parametrize("jump", [3600.0, -3600.0, 1e9])
def test_a_clock_that_jumps_neither_ends_a_healthy_job_nor_hides_a_hung_one(
    tmp_path: Path,
    job: dict[str, subprocess.Popen[bytes]],
    monkeypatch: pytest.MonkeyPatch,
    jump: float,
) -> None:
    monkeypatch.setenv(STATUS_VARIABLE, str(tmp_path))
    watching = watch(tmp_path)
    look_until_all_run(watching)
    RankStatus(0).tell(5, "waiting for data")
    RankStatus(1).tell(6, "computing")
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() + jump)
    for path in tmp_path.glob("rank-*.json"):
        os.utime(path, (real() - jump, real() - jump))  # as file times seem after the jump
    watching.look()
    assert watching.failure() is None
    later = time.monotonic() + 40
    monkeypatch.setattr(time, "monotonic", lambda: later)
    assert "rank 0 hangs: waiting for data (step 5) since 40 s" in (watching.failure() or "")


def test_a_status_of_another_version_is_no_status(tmp_path: Path) -> None:
    (tmp_path / "rank-0.json").write_text('{"step": 1, "doing": "x", "patience": 0}')
    assert read_status(tmp_path, 0) is None


def test_a_killed_launcher_leaves_no_folder(tmp_path: Path, repository: Path) -> None:
    code = (
        "import tempfile, time; from training.launch.__main__ import remove_after_death;"
        "folder = tempfile.mkdtemp(prefix='ssd-ranks-'); remove_after_death(folder);"
        "open(folder + '/rank-0.json', 'w').close(); print(folder, flush=True); time.sleep(100)"
    )
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    with subprocess.Popen(
        [sys.executable, "-c", code], cwd=repository, env=environment, stdout=subprocess.PIPE
    ) as launcher:
        assert launcher.stdout is not None
        folder = Path(launcher.stdout.readline().decode().strip())
        assert folder.is_dir() and folder.parent == tmp_path
        launcher.kill()
    deadline = time.monotonic() + 20
    while folder.exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)
