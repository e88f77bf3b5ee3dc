"""What a piece of work took, of this process and its children: processor seconds and memory.

Other work on the machine moves neither much, unlike seconds on the clock.
"""

from __future__ import annotations

import contextlib
import os
import resource
import threading
from pathlib import Path
from types import TracebackType

_SAMPLE_S = 0.05


class Usage:
    """Measures what happens inside `with`; children must have ended by then.

    After it `processor_s` holds the processor seconds of all threads and ended children, and
    `memory_mib` how far memory rose above what was held before: this process's highest, exactly,
    and that of all children together, looked at twenty times a second.
    """

    processor_s = 0.0
    memory_mib = 0.0

    def __enter__(self) -> Usage:
        with contextlib.suppress(OSError):  # begin a new highest mark
            Path("/proc/self/clear_refs").write_text("5")
        self._before = resident_mib()
        self._of_children = 0.0
        self._ended = threading.Event()
        self._sampler = threading.Thread(target=self._sample, daemon=True)
        self._sampler.start()
        self._spent = processor_seconds()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.processor_s = processor_seconds() - self._spent
        self._ended.set()
        self._sampler.join()
        self.memory_mib = highest_mib() - self._before + self._of_children

    def _sample(self) -> None:
        while not self._ended.wait(_SAMPLE_S):
            self._of_children = max(self._of_children, sum(map(tree_mib, _children(os.getpid()))))


def processor_seconds() -> float:
    """Processor seconds of this process and its ended children so far."""
    usages = [resource.getrusage(who) for who in (0, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def resident_mib() -> float:
    """Resident memory of this process."""
    return _status("self", "VmRSS")


def highest_mib(pid: int | str = "self") -> float:
    """The most memory that a process held at once so far, this one by default."""
    return _status(pid, "VmHWM")


def tree_mib(pid: int) -> float:
    """Resident memory of a process, its children and theirs; 0 if it is gone."""
    return _status(pid, "VmRSS") + sum(map(tree_mib, _children(pid)))


def _status(pid: int | str, field: str) -> float:
    try:
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith(f"{field}:"):
                return int(line.split()[1]) / 1024
    except OSError:
        pass
    return 0.0


def _children(pid: int) -> list[int]:
    try:
        texts = [path.read_text() for path in Path(f"/proc/{pid}/task").glob("*/children")]
    except OSError:
        return []
    return [int(number) for text in texts for number in text.split()]
