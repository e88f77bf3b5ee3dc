"""Making numbered batches side by side, in threads or processes, and handing them out in order.

What a batch is made of is `pipeline.py`'s matter: here it is named arrays of a fixed layout.
"""

from __future__ import annotations

import os
import sys
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import Protocol

from data_tools.memory import Arrays, Layout, Recycler


class Maker(Protocol):
    """Makes any batch by its number; the same bits whoever calls it, whenever."""

    @property
    def layout(self) -> Layout:
        """The arrays of a batch."""

    def fill(self, number: int, arrays: Arrays) -> None:
        """Write batch `number` into arrays of the layout, whatever they held."""

    def describe(self, number: int) -> str:
        """Say in words what batch `number` is, for messages."""


class Workers(Protocol):
    """Makes batches ahead of their use."""

    def run(self, numbers: Iterable[int]) -> Iterator[Arrays]:
        """Yield the batches of these numbers in this order; the arrays are the caller's to keep."""

    def close(self) -> None:
        """End the workers. May be called twice."""


def worker_count(workers: int) -> int:
    """Return `workers`, or the number of cores that this process may use if that is 0."""
    return workers or len(os.sched_getaffinity(0))


def build_workers(maker: Maker, kind: str, workers: int, prefetch: int) -> Workers:
    """Start workers.

    Args:
        maker: What makes the batches; pickled where `kind` is `processes`.
        kind: `threads` or `processes`.
        workers: How many; 0 takes one for each core this process may use.
        prefetch: Finished batches to keep beyond those being made.
    """
    count = worker_count(workers)
    if kind == "threads":
        return ThreadWorkers(maker, count, prefetch)
    from data_tools.process_workers import ProcessWorkers

    return ProcessWorkers(maker, count, prefetch)


def quiet_image_library() -> None:
    """Keep OpenCV from starting threads of its own inside workers, which already fill the cores."""
    import cv2

    cv2.setNumThreads(0)


def hand_over_sooner() -> None:
    """Let a thread that waits for the interpreter have it after 0.2 ms in place of 5 ms.

    The workers leave the interpreter for each call into the image libraries and need it back right
    after; with the default they wait for most of what the others do in Python (measured: 5 % of the rate).
    """
    sys.setswitchinterval(min(sys.getswitchinterval(), 2e-4))


class ThreadWorkers:
    """Threads of this process: OpenCV and the decoder let each other run, and nothing is copied.

    Args:
        maker: What makes the batches.
        workers: Number of threads.
        prefetch: Finished batches to keep beyond those being made.
    """

    def __init__(self, maker: Maker, workers: int, prefetch: int) -> None:
        self._maker = maker
        self._ahead = workers + prefetch
        quiet_image_library()
        hand_over_sooner()
        self._memory = Recycler(maker.layout, self._ahead + 2)
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="pipeline")

    def run(self, numbers: Iterable[int]) -> Iterator[Arrays]:
        """Yield the batches of these numbers in this order."""
        waiting = iter(numbers)
        pending: deque[Future[Arrays]] = deque()
        try:
            for number in islice(waiting, self._ahead):
                pending.append(self._pool.submit(self._make, number))
            while pending:
                batch = pending.popleft().result()
                for number in islice(waiting, 1):
                    pending.append(self._pool.submit(self._make, number))
                yield batch
        finally:
            for future in pending:
                future.cancel()

    def close(self) -> None:
        """End the threads once they have finished the batch in hand."""
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _make(self, number: int) -> Arrays:
        arrays = self._memory.take()
        self._maker.fill(number, arrays)
        return arrays
