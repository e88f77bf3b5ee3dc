"""Log files over restarts, rank status, the hunt for a hung or failed rank, and signals."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path

import pytest

from training.job_watch import FINISHED, JobWatch, RankView, find_hung, last_error
from training.signals import Interrupted, StopRequest
from training.watch import STATUS_VARIABLE, LogFile, Meter, RankStatus, read_log


def test_a_log_rewinds_to_the_step_that_a_run_goes_on_from(tmp_path: Path) -> None:
    log = LogFile(tmp_path / "log.jsonl")
    assert log.last_loss() is None
    for step in (1, 2, 3):
        log.write({"step": step, "loss": 0.1 * step})
    with log.path.open("a") as file:
        file.write('{"step": 4, "lo')  # killed while writing
    log.rewind(2)
    assert [line["step"] for line in read_log(log.path)] == [1, 2]
    assert log.last_loss() == 0.2
    silent = LogFile(tmp_path / "other.jsonl", enabled=False)
    silent.write({"step": 1})
    assert not silent.path.exists()


def test_the_meter_parts_waiting_from_computing() -> None:
    meter = Meter(global_batch=8)
    meter.begun -= 2.0
    meter.count(0.5)
    meter.count(0.1)
    read = meter.read()
    assert read["images_per_s"] == pytest.approx(8, rel=0.05)
    assert read["data_wait"] == pytest.approx(0.3)
    assert read["compute"] == pytest.approx(0.7, rel=0.05)


def test_a_rank_says_how_far_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(STATUS_VARIABLE, raising=False)
    RankStatus(0).tell(1, "computing")
    monkeypatch.setenv(STATUS_VARIABLE, str(tmp_path))
    RankStatus(1).tell(7, "waiting for data", patience=3)
    told = json.loads((tmp_path / "rank-1.json").read_text())
    assert told == {"pid": os.getpid(), "step": 7, "doing": "waiting for data", "patience": 3}
    watch = JobWatch(job_id="x", ranks=[1], status_dir=tmp_path, ranks_dir=tmp_path, hang_seconds=9)
    watch.look()
    assert (watch.views[1].step, watch.views[1].doing) == (7, "waiting for data")
    assert watch.failure() is None  # never seen alive: it may still be starting
    (tmp_path / "worker_1.log").write_text("Traceback\nValueError: no luck\n[INFO] x\n")
    message = watch.failure(ended=True)
    assert message is not None
    assert "rank 1 failed: ValueError: no luck; it was at step 7, waiting for data" in message
    RankStatus(1).tell(7, FINISHED)
    watch.look()
    assert watch.all_finished()


def view(rank: int, step: int, doing: str, silent: float, **more: float) -> RankView:
    return RankView(rank, pid=1, alive=True, step=step, doing=doing, told=1000.0 - silent, **more)


def test_who_hangs() -> None:
    def hung(*views: RankView) -> str | None:
        return find_hung(list(views), 1000.0, 45.0)

    waiting = view(0, 9, "computing", 60)
    assert hung(waiting, view(1, 9, "computing", 60)) is None  # a long step, or a compilation
    message = hung(waiting, view(1, 9, "waiting for data", 60))
    assert message is not None
    assert message.startswith("rank 1 hangs: waiting for data (step 9) since 60 s")
    assert hung(waiting, view(1, 9, "waiting for data", 30)) is None
    assert hung(waiting, view(1, 8, "saving", 60, patience=300)) is None
    assert "rank 1 hangs" in str(hung(waiting, view(1, 8, "computing", 60)))
    assert hung(view(0, 9, FINISHED, 900), view(1, 9, FINISHED, 900)) is None
    stopped = hung(waiting, view(1, 9, "computing", 25, stopped_since=970.0))
    assert stopped is not None
    assert stopped.startswith("rank 1 is stopped (a signal or a debugger) at step 9 since 30 s")


def test_the_last_words_of_a_rank() -> None:
    assert last_error(["error: data=x: no such folder.", "[INFO] bye"]) == "data=x: no such folder."
    assert last_error(["mindspore.X", "RuntimeError: Launch kernel failed", ""]) == (
        "RuntimeError: Launch kernel failed"
    )
    preflight = [
        "error: they do not agree:",
        "  rank 1: seed is 2",
        "  rank 3: rows is 8",
        "",
        "  x",
    ]
    assert last_error(preflight) == "they do not agree: rank 1: seed is 2; rank 3: rows is 8"
    assert last_error(["step 1/2", "an Error in prose"]) is None


def test_a_signal_asks_and_a_second_ctrl_c_insists() -> None:
    with StopRequest(None, time.monotonic()) as stop:
        with pytest.raises(Interrupted):
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(1)
        assert stop.wanted
        assert stop.exit_code == 143
    with StopRequest(None, time.monotonic()) as stop:
        stop.interruptible = False
        assert not stop.wanted
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.01)
        assert stop.wanted
        assert stop.exit_code == 130
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(1)


def test_the_clock_stops_before_the_limit() -> None:
    now = time.monotonic()
    assert not StopRequest(1.0, now).wanted
    stop = StopRequest(1.0, now - 50)
    assert not stop.wanted
    stop.took(6.0)  # 10 s are left: the next step and the checkpoint may not fit
    assert stop.wanted
    assert stop.exit_code == 0
