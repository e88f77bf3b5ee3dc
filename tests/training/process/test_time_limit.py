"""`max_minutes`: where the run will stop, and the time that its evaluation at the stop is left."""

from __future__ import annotations

import time

import pytest

from training.process.signals import StopRequest
from training.process.world import World
from training.watching.log import Terminal


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    return now


def test_the_stop_leaves_time_for_a_checkpoint_and_an_evaluation(clock: list[float]) -> None:
    stop = StopRequest(1.0, 1000.0)
    stop.took(1.0)
    stop.saved(2.0)
    clock[0] = 1055.0
    assert not stop.wanted  # 2 steps and a checkpoint: 4 s of the 5 that are left
    stop.expect_evaluation(4.0)  # with room for a judgement that is wrong: 6 s
    assert stop.wanted and stop.steps_left(1.0) == 0
    clock[0] = 1030.0
    assert not stop.wanted and stop.steps_left(1.0) == 22
    stop.expect_evaluation(1e6)  # longer than the run: it must not keep it from training at all
    assert not stop.wanted and stop.steps_left(1.0) == 13
    stop.evaluated(3.0)  # what was measured counts
    assert stop.steps_left(1.0) == 24


def test_an_evaluation_at_the_stop_is_begun_only_in_time(clock: list[float]) -> None:
    stop = StopRequest(1.0, 1000.0)
    stop.expect_evaluation(10.0)
    clock[0] = 1049.0
    assert stop.no_time_to_evaluate(World(), at_stop=True) == ""
    clock[0] = 1051.0
    assert "one takes 10.0 s, 9.0 s are left" in stop.no_time_to_evaluate(World(), at_stop=True)
    assert stop.no_time_to_evaluate(World()) == ""  # the first of a start is always begun
    assert StopRequest(None, 0.0).steps_left(1.0) is None


def test_the_terminal_says_where_the_run_will_stop_and_leaves_compiling_out(
    clock: list[float],
) -> None:
    stop = StopRequest(2.0, 1000.0)
    terminal = Terminal(1000, 0, True, stop.steps_left)
    clock[0] = 1050.0  # the first step compiled for 50 s
    terminal.begin_counting(1)
    assert "not yet known" in terminal.time_left(1)
    clock[0] = 1060.0
    assert terminal.time_left(11) == "0:01:00 left: max_minutes will stop near step 71"
    assert Terminal(1000, 0, True).time_left(1000) == "0:00:00 left"
    free = Terminal(111, 0, True)
    free.begin_counting(1)
    clock[0] = 1070.0
    assert free.time_left(11) == "0:01:40 left"
