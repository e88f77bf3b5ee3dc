"""How long a run took: on the clock, and in seconds of a processor.

What of it stands on the terminal and in the log is `reporter.py`.
"""

from __future__ import annotations

import time

import psutil


class Stopwatch:
    """The time a run has taken, over all its starts.

    Args:
        started: `time.monotonic()` at the start of this process.
    """

    def __init__(self, started: float) -> None:
        self.started, self.before = started, 0.0
        self.processor_before = 0.0

    def seconds(self) -> float:
        """Return the seconds so far."""
        return round(self.before + time.monotonic() - self.started, 3)

    def processor_seconds(self) -> float:
        """Return the seconds that cores were busy for this rank, in user mode and in the kernel.

        Its process, from its very start, with imports and compiling, and the processes that it
        started, such as workers of the pipeline. A kill loses what came after the last checkpoint.
        """
        me = psutil.Process()
        own = me.cpu_times()
        total = own.user + own.system + own.children_user + own.children_system
        for child in me.children(recursive=True):
            try:
                times = child.cpu_times()
            except psutil.NoSuchProcess:
                continue
            total += times.user + times.system
        return round(self.processor_before + total, 3)
