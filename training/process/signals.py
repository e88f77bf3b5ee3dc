"""Ctrl-C, SIGTERM and the clock: when a run should stop, save and leave.

The loop asks after every call; how ranks agree on stopping is in `learning/step.py`.
"""

from __future__ import annotations

import _thread
import signal
import threading
import time
from types import FrameType, TracebackType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # NumPy starts threads, and this module must come first
    from training.process.world import World


class Interrupted(Exception):
    """A signal came while nothing was half done, so the run may leave at once."""


def hold_ctrl_c() -> None:
    """Let Ctrl-C reach Python's own handler, whatever handler MindSpore puts on SIGINT.

    At every compiled call MindSpore 2.10 installs one that answers Ctrl-C with a SIGTERM to its own
    process, so a command could not tell the two apart and ended with 143. Here every thread blocks
    SIGINT, so that no handler runs; one thread waits for it and wakes the handler that Python
    knows.

    Call it before anything starts threads (NumPy, OpenCV, MindSpore): they inherit what is blocked.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    threading.Thread(target=_wait_for_ctrl_c, name="ctrl-c", daemon=True).start()


def _wait_for_ctrl_c() -> None:
    while True:
        signal.sigwait({signal.SIGINT})
        _thread.interrupt_main(signal.SIGINT)


class StopRequest:
    """Turns signals and a time limit into a flag.

    The first SIGINT or SIGTERM asks the loop to save and leave after the step; a second SIGINT ends
    the process the usual way. Use as a context manager: handlers are put back at the end.

    Args:
        max_minutes: Time limit, or None.
        started: `time.monotonic()` at which the time began.
    """

    def __init__(self, max_minutes: float | None, started: float) -> None:
        self.deadline = None if max_minutes is None else started + 60 * max_minutes
        self.signal: int | None = None
        self.interruptible = True
        self._before: dict[int, Any] = {}
        self._longest_s = self.measured_s = 0.0
        self.measured_steps = 0
        self._save_s = self._evaluation_s = 0.0
        self._expected_s, self._most_reserved_s = 0.0, 60 * (max_minutes or 0) / 4

    def __enter__(self) -> StopRequest:
        for number in (signal.SIGINT, signal.SIGTERM):
            self._before[number] = signal.signal(number, self._remember)
        return self

    def rearm(self) -> None:
        """Take the signals back from MindSpore, for runs without `hold_ctrl_c`, as in a notebook.

        While a compiled call runs there, Ctrl-C comes here as SIGTERM.
        """
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._remember)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _remember(self, number: int, frame: FrameType | None) -> None:
        if self.signal is not None and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.signal = number
        if self.interruptible:
            raise Interrupted

    def took(self, seconds: float, steps: int = 1) -> None:
        """Note how long a call of some steps took, so that the last one ends before the
        deadline.
        """
        self._longest_s = max(seconds, 0.9 * self._longest_s)
        self.measured_s, self.measured_steps = (
            self.measured_s + seconds,
            self.measured_steps + steps,
        )

    def saved(self, seconds: float) -> None:
        """Note how long a checkpoint took, since one ends the run."""
        self._save_s = max(seconds, self._save_s)

    def evaluated(self, seconds: float) -> None:
        """Note how long an evaluation took, so that one too long for the time left is not begun."""
        self._evaluation_s = max(seconds, self._evaluation_s)

    def expect_evaluation(self, seconds: float) -> None:
        """Note how long an evaluation at the stop will take, judged by the steps; one that was made
        counts instead.
        """
        self._expected_s = seconds

    @property
    def _reserved_s(self) -> float:
        # What was judged and not measured gets more time.
        takes = 1.1 * self._evaluation_s or 1.5 * self._expected_s
        return min(takes, self._most_reserved_s)

    @property
    def time_is_up(self) -> bool:
        """True if it is the limit and no signal that ends the run."""
        return self.deadline is not None and self.signal is None

    @property
    def wanted(self) -> bool:
        """True if this rank wants to stop after the step at hand."""
        if self.signal is not None:
            return True
        if self.deadline is None:
            return False
        needed = 2 * self._longest_s + self._save_s
        if self._expected_s:  # the last weights are evaluated as well
            needed += self._reserved_s
        return time.monotonic() + needed >= self.deadline

    def steps_left(self, seconds_a_step: float) -> int | None:
        """How many more steps there is time for; None without a limit."""
        if self.deadline is None or seconds_a_step <= 0:
            return None
        reserved = self._save_s + (self._reserved_s if self._expected_s else 0.0)
        return max(0, int((self.deadline - time.monotonic() - reserved) / seconds_a_step))

    def plan(self) -> tuple[float, float]:
        """Return the seconds left without saving at the end, and the seconds that an evaluation
        should take.
        """
        assert self.deadline is not None
        left = self.deadline - time.monotonic() - self._save_s
        return left, self._evaluation_s or 1.5 * self._expected_s

    def no_time_to_evaluate(self, world: World, *, at_stop: bool = False) -> str:
        """Say why an evaluation would end after the limit; call it on every rank.

        The clock of rank 0 decides, so that all ranks do the same. How long the first evaluation of
        a start takes is not known: it is always begun, but for one at the stop that should take
        longer.

        Args:
            world: This rank.
            at_stop: The run is about to leave.

        Returns:
            The reason, as rank 0 sees it; empty if there is time.
        """
        import numpy as np

        if self.deadline is None:
            return ""
        left = self.deadline - time.monotonic()
        takes = self._evaluation_s or (self._expected_s if at_stop else 0.0)
        late = world.is_main and 0 < takes >= left
        if world.sum(np.array([late], np.float32))[0] == 0:
            return ""
        return f"one takes {takes:.1f} s, {max(left, 0):.1f} s are left of max_minutes"

    @property
    def exit_code(self) -> int:
        """0 for a time limit; 128 + number for a signal, as shells count."""
        return 0 if self.signal is None else 128 + self.signal
