"""Log files over restarts, rank status, the hunt for a hung or failed rank, and signals."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from training.launch.watch import JobWatch, RankView, find_hung, last_error
from training.process.rank_status import FINISHED, STATUS_VARIABLE, RankStatus
from training.process.signals import Interrupted, StopRequest
from training.process.world import World
from training.run.save_and_evaluate import SaveAndEvaluate
from training.run.trainer import Trainer
from training.settings import TrainSettings
from training.watching.log import LogFile, Meter, read_log


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
    log.write({"step": 3, "loss": None, "skipped": True})  # not finite
    log.rewind(3)
    assert [line["step"] for line in read_log(log.path)] == [1, 2, 3]
    assert log.skipped() == 1
    assert log.last_loss() is None
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


def test_on_a_card_computing_is_parted_into_launching_and_waiting() -> None:
    meter = Meter(global_batch=8, split=True)
    meter.begun -= 2.0
    meter.count(0.5, launching=0.2)
    meter.count(0.1, launching=0.4)
    read = meter.read()
    assert read["launch"] == pytest.approx(0.3)
    assert read["launch"] + read["sync"] == pytest.approx(read["compute"], abs=1e-5)
    assert "launch" not in Meter(global_batch=8).read()


def test_a_rank_says_how_far_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(STATUS_VARIABLE, raising=False)
    RankStatus(0).tell(1, "computing")
    monkeypatch.setenv(STATUS_VARIABLE, str(tmp_path))
    RankStatus(1).tell(7, "waiting for data", patience=3)
    told = json.loads((tmp_path / "rank-1.json").read_text())
    assert told.pop("told") == pytest.approx(time.monotonic(), abs=60)
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
    return RankView(
        rank, pid=1, alive=True, step=step, doing=doing, heard_at=1000.0 - silent, **more
    )


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


class Clock:
    """Stands in for the module `time`."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now


class Ranks(World):
    """A rank of several whose sums are those of rank 0's vote alone."""

    def sum(self, values: Any) -> Any:
        told.append(values.tolist())
        return values if self.is_main else np.ones(1, np.float32)


told: list[list[float]] = []


def test_an_evaluation_that_does_not_fit_is_not_begun(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    monkeypatch.setattr("training.process.signals.time", clock)
    stop, alone = StopRequest(1.0, 0.0), World()
    clock.now = 59.0
    assert stop.no_time_to_evaluate(alone) == ""  # nobody knows how long the first one takes
    stop.evaluated(20.0)
    stop.evaluated(15.0)
    clock.now = 39.0
    assert stop.no_time_to_evaluate(alone) == ""
    clock.now = 41.0
    assert stop.no_time_to_evaluate(alone) == "one takes 20.0 s, 19.0 s are left of max_minutes"
    assert not stop.wanted
    unlimited = StopRequest(None, 0.0)
    unlimited.evaluated(1e9)
    assert unlimited.no_time_to_evaluate(alone) == ""


def test_the_clock_of_rank_0_decides_on_an_evaluation(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    monkeypatch.setattr("training.process.signals.time", clock)
    told.clear()
    first, second = StopRequest(1.0, 0.0), StopRequest(1.0, -30.0)  # rank 1 began earlier
    for stop in (first, second):
        stop.evaluated(20.0)
    clock.now = 35.0
    assert first.no_time_to_evaluate(Ranks(0, 2)) == ""
    assert told == [[0.0]]
    clock.now = 45.0
    assert first.no_time_to_evaluate(Ranks(0, 2))
    # Rank 1 adds nothing, however late it is, and follows the sum.
    assert second.no_time_to_evaluate(Ranks(1, 2))
    assert told == [[0.0], [1.0], [0.0]]


def test_the_checkpoint_that_ends_a_run_is_given_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    monkeypatch.setattr("training.process.signals.time", clock)
    stop = StopRequest(1.0, 0.0)
    stop.took(2.0)
    clock.now = 50.0
    assert not stop.wanted
    stop.saved(7.0)
    assert stop.wanted


def test_the_trainer_leaves_the_evaluation_to_the_resumed_run(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A minute for steps of 3 s, each with an evaluation of 20 s: the third one does not fit."""
    clock, done = Clock(), []
    monkeypatch.delenv(STATUS_VARIABLE, raising=False)
    monkeypatch.setattr("training.process.signals.time", clock)
    monkeypatch.setattr("training.run.trainer.time", clock)
    monkeypatch.setattr("training.run.save_and_evaluate.time", clock)
    stub: Any = None
    settings = TrainSettings(output=str(tmp_path), max_minutes=1.0)
    trainer = Trainer(settings, World(), stub, stub, 0.0)

    def evaluate(say: object) -> dict[str, Any]:
        clock.now += 20.0
        done.append(f"evaluated {trainer.step}")
        return {"coco": {"AP": 0.1}}

    def call(step: int, count: int, tell: object, wanted: Callable[[], bool]) -> list[Any]:
        vote = wanted()
        clock.now += 3.0
        return [SimpleNamespace(result=SimpleNamespace(stop=vote, applied=True))]

    def nothing(*arguments: object) -> None:
        return None

    stub = SimpleNamespace
    trainer.components = stub(total_steps=9, world=World(), settings=settings)
    trainer.triggers = stub(
        save=lambda step: False, evaluation=lambda step: True, call_length=lambda step, most: 1
    )
    trainer.reporter = stub(step=nothing, restart=nothing, evaluation=nothing, tensorboard=None)
    trainer.saver.open(
        trainer.components,
        stub(evaluate=evaluate, publish=nothing, split=None, loss=None),
        trainer.reporter,
    )
    monkeypatch.setattr(SaveAndEvaluate, "save", lambda self, step: done.append(f"saved {step}"))
    stepper = stub(longest=1, call=call, compiles=lambda step: step == 0)
    left = [trainer.one_call(stepper, 9) for _ in range(3)]
    assert left == [False, False, True]
    assert done == ["saved 1", "evaluated 1", "saved 2", "evaluated 2", "saved 3"]
    assert clock.now == 49.0
    text = capsys.readouterr().out
    assert (
        "evaluation after step 3 left to the resumed run: one takes 20.0 s, 11.0 s are left" in text
    )


def test_compiling_is_no_measure_of_the_steps_to_come(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A minute; each of two phases compiles for 20 s, and then a step takes 3 s."""
    clock, stub = Clock(), SimpleNamespace
    monkeypatch.delenv(STATUS_VARIABLE, raising=False)
    monkeypatch.setattr("training.process.signals.time", clock)
    monkeypatch.setattr("training.run.trainer.time", clock)
    monkeypatch.setattr("training.run.save_and_evaluate.time", clock)
    settings = TrainSettings(output=str(tmp_path), max_minutes=1.0)
    unused: Any = None
    trainer: Any = Trainer(settings, World(), unused, unused, 0.0)
    compiling = [0, 4]

    def call(step: int, count: int, tell: object, wanted: Callable[[], bool]) -> list[Any]:
        vote = wanted()
        clock.now += 20.0 if step in compiling else 3.0
        return [stub(result=stub(stop=vote, applied=True))]

    trainer.components = stub(total_steps=99)
    trainer.triggers = stub(
        save=lambda step: False, evaluation=lambda step: False, call_length=lambda step, most: 1
    )
    trainer.reporter = stub(step=lambda *arguments: None, restart=lambda: None)
    monkeypatch.setattr(SaveAndEvaluate, "save", lambda self, step: None)
    left = []
    while not any(left):
        stepper = stub(longest=1, call=call, compiles=lambda step: step in compiling)
        left.append(trainer.one_call(stepper, 99))
    # 20, 3 x 3, 20, 3 x 3 s: at 55 s another step, and a margin of one, would not end in time.
    assert (trainer.step, clock.now) == (8, 58.0)
