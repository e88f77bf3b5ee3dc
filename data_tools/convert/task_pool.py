"""Runs shard tasks, in this process or in several, with progress; nothing is left running behind.

What a task does is in `shard_task.py`.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from types import TracebackType
from typing import Any

from data_tools.convert.shard_task import ShardTask, convert_shard
from data_tools.core.errors import DataError
from data_tools.core.progress import Progress
from data_tools.core.spawned_pool import CONTEXT, start_pool, terminate

_POLL_S = 0.5

# The counters of a worker process: `spawn` hands them over once, tasks then find them here.
_counters: tuple[Any, Any] | None = None


class ShardWorkers:
    """Converts shards, at most `workers` at a time; nothing is left running after `with`.

    Args:
        workers: Number of processes; 1 works in this one.
    """

    def __init__(self, workers: int) -> None:
        self._workers = workers
        self._pool: ProcessPoolExecutor | None = None
        self._counters: tuple[Any, Any] | None = None
        self._ending: threading.Thread | None = None

    def __enter__(self) -> ShardWorkers:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._ending is not None:
            self._ending.join()
        elif self._pool is not None:
            terminate(self._pool)
            self._pool.shutdown(wait=True, cancel_futures=True)

    def start(self) -> None:
        """Start the processes, unless they are: they are ready after some 0.3 seconds, during which
        this one goes on.
        """
        if self._workers == 1 or self._pool is not None:
            return
        self._counters = CONTEXT.Value("q", 0), CONTEXT.Value("q", 0)
        self._pool = start_pool(self._workers, _keep_counters, *self._counters)

    def run(
        self, tasks: Iterator[ShardTask], count: int, total: int, done: int, defects: int
    ) -> None:
        """Convert shards.

        Args:
            tasks: The shards, made as they are needed.
            count: Their number.
            total: Images of all shards, for progress.
            done: Images of shards that were finished before.
            defects: Defects found before.

        Raises:
            DataError: If a task fails or a process dies; finished shards stay.
        """
        with Progress("converting", total, done=done) as bar:
            if count == 0:
                return
            if self._workers == 1 or count == 1:
                _run_here(tasks, bar, defects)
                return
            self._workers = min(self._workers, count)
            self.start()
            try:
                self._run_in_processes(tasks, bar, defects)
            except BrokenProcessPool as error:
                raise DataError(
                    "a worker process died (killed, or out of memory). Finished shards are kept: "
                    "run the same command again, with fewer workers if memory was short."
                ) from error

    def _run_in_processes(self, tasks: Iterator[ShardTask], bar: Progress, defects: int) -> None:
        assert self._pool is not None and self._counters is not None
        images, num_defects = self._counters
        num_defects.value = defects
        shown = 0
        pending: set[Future[None]] = set()
        exhausted = False
        while pending or not exhausted:
            # One task more than there are workers, so that none waits; not all, to bound the
            # memory.
            while not exhausted and len(pending) < self._workers + 1:
                task = next(tasks, None)
                if task is None:
                    exhausted = True
                else:
                    pending.add(self._pool.submit(_work, task))
            finished, pending = wait(pending, _POLL_S, FIRST_COMPLETED)
            now = int(images.value)
            bar.update(now - shown, defects=int(num_defects.value))
            shown = now
            for future in finished:
                future.result()
        # They end while this process joins their results.
        self._ending = threading.Thread(target=self._pool.shutdown)
        self._ending.start()


def _run_here(tasks: Iterator[ShardTask], bar: Progress, defects: int) -> None:
    num_defects = defects

    def tick(images: int, more: int) -> None:
        nonlocal num_defects
        num_defects += more
        bar.update(images, defects=num_defects)

    for task in tasks:
        convert_shard(task, tick)


def _keep_counters(images: Any, num_defects: Any) -> None:
    global _counters
    _counters = (images, num_defects)


def _work(task: ShardTask) -> None:
    assert _counters is not None
    images, num_defects = _counters

    def tick(done: int, defects: int) -> None:
        with images.get_lock():
            images.value += done
        if defects:
            with num_defects.get_lock():
                num_defects.value += defects

    convert_shard(task, tick)
