"""Making numbered batches in processes of their own, and handing them out in order.

Threads are in `thread_workers.py`; what a batch is made of is `batches.py`'s matter. The memory
that the batches pass through is `shared_batches.py`.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import signal
import traceback
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from multiprocessing import connection
from typing import Any

from data_tools.core.errors import DataError, UserError
from data_tools.core.reusable_memory import Arrays
from data_tools.images.decode import one_thread_per_call
from data_tools.pipeline.shared_batches import SharedBatches
from data_tools.pipeline.workers import BatchBuilder

_SPARE_SLOTS = 2  # for what the caller holds, mostly the batch that it works on


class WorkerError(RuntimeError):
    """A worker process ended or failed in a way that is not the user's."""


class WorkerKilledError(UserError, WorkerError):
    """A worker process was killed, mostly for want of memory: the message says what to do."""


@dataclass(frozen=True)
class _Request:
    """A batch that was asked for: by whom it is made, which, and where."""

    worker: int
    number: int
    slot: int


class ProcessWorkers:
    """Processes with a slot of shared memory for every batch that is under way.

    Batch k of a run is made by worker k mod W in any free slot, and handed out there: the slot is
    free again once the caller holds nothing of it. A batch is copied only when the caller keeps all
    other slots. The processes are started fresh, not forked: MindSpore does not survive a fork.
    They end when this process does, whatever ends it, since their pipe closes then.

    Args:
        builder: What makes the batches; pickled.
        workers: W, number of processes.
        prefetch: Finished batches to keep beyond those being made.

    Raises:
        SettingError: If there is not enough memory for the slots.
    """

    def __init__(self, builder: BatchBuilder, workers: int, prefetch: int) -> None:
        self._builder = builder
        self._count = workers
        self._ahead = workers + prefetch
        self._slots = SharedBatches(builder.layout, self._ahead + _SPARE_SLOTS)
        context = multiprocessing.get_context("spawn")
        self._processes: list[Any] = []
        self._pipes: list[connection.Connection[Any, Any]] = []
        try:
            for number in range(workers):
                ours, theirs = context.Pipe()
                process = context.Process(
                    target=_serve,
                    args=(builder, self._slots, theirs),
                    name=f"pipeline-{number}",
                    daemon=True,
                )
                process.start()
                theirs.close()
                self._processes.append(process)
                self._pipes.append(ours)
        except BaseException:
            self.close()
            raise
        finally:
            self._slots.close_descriptor()

    def run(self, numbers: Iterable[int]) -> Iterator[Arrays]:
        """Yield the batches of these numbers in this order; the arrays are the caller's to keep."""
        waiting = iter(enumerate(numbers))
        pending: deque[_Request] = deque()
        try:
            self._ask_ahead(waiting, pending)
            while pending:
                request = pending.popleft()
                self._wait(request)
                batch = self._slots.arrays(request.slot)
                if self._slots.free({request.slot, *(r.slot for r in pending)}) is None:
                    batch = {name: array.copy() for name, array in batch.items()}
                self._ask_ahead(waiting, pending)
                yield batch
                del batch  # else this generator would keep the slot from being free
        finally:
            self._forget(pending)

    def close(self) -> None:
        """End the processes. May be called twice."""
        for pipe in self._pipes:
            pipe.close()
        for process in self._processes:
            process.join(timeout=5)
            if process.is_alive():
                process.kill()
                process.join()
            process.close()
        self._pipes, self._processes = [], []

    def _ask_ahead(self, waiting: Iterator[tuple[int, int]], pending: deque[_Request]) -> None:
        """Ask for batches while there is a free slot, up to the number to keep ahead."""
        while len(pending) < self._ahead:
            slot = self._slots.free({request.slot for request in pending})
            position, number = next(waiting, (-1, -1)) if slot is not None else (-1, -1)
            if slot is None or position < 0:
                return
            request = _Request(position % self._count, number, slot)
            pending.append(request)
            try:
                self._pipes[request.worker].send((number, slot))
            except OSError:  # it has ended: found, and said, where its answer is awaited
                pass

    def _wait(self, request: _Request) -> None:
        pipe = self._pipes[request.worker]
        sentinels = {process.sentinel: process for process in self._processes}
        ready = connection.wait([pipe, *sentinels])
        if pipe not in ready:
            for sentinel in ready:
                self._died(sentinels[sentinel])  # type: ignore[index]
        try:
            problem = pipe.recv()
        except (EOFError, OSError):
            self._died(self._processes[request.worker], request.number)
        if problem is not None:
            raise problem

    def _died(self, process: Any, number: int | None = None) -> None:
        process.join(timeout=5)
        code = process.exitcode
        killed = bool(code and code < 0)
        how = f"was killed by {signal.Signals(-code).name}" if killed else f"exited ({code})"
        doing = "" if number is None else f" while it made {self._builder.describe(number)}"
        pid = process.pid
        self.close()
        raise (WorkerKilledError if killed else WorkerError)(
            f"Pipeline worker {process_name(process)} (pid {pid}) {how}{doing}. SIGKILL is mostly "
            "the system running out of memory: lower pipeline.workers or pipeline.prefetch, or use "
            "pipeline.worker_kind=threads. SIGABRT, SIGBUS and SIGFPE are mostly a damaged shard: "
            "see python convert.py verify=DIR."
        )

    def _forget(self, pending: Iterable[_Request]) -> None:
        # Answers to what nobody waits for any more must not be taken for those of the next run.
        for request in pending:
            if not self._processes:
                return
            with contextlib.suppress(UserError, WorkerError):
                self._wait(request)


def process_name(process: Any) -> str:
    """Name of a process object, also of a closed one."""
    return str(getattr(process, "_name", "?"))


def _serve(
    builder: BatchBuilder, slots: SharedBatches, pipe: connection.Connection[Any, Any]
) -> None:
    """Make batches until the pipe closes; runs in the worker process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the main process's to handle
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    one_thread_per_call()
    slots.close_descriptor()
    while True:
        try:
            number, slot = pipe.recv()
        except (EOFError, OSError):
            return
        problem: Exception | None = None
        try:
            builder.fill(number, slots.arrays(slot))
        except DataError as error:
            problem = DataError(str(error))
        except Exception as error:
            problem = WorkerError(
                f"A pipeline worker failed on {builder.describe(number)}: {error!r}\n"
                + traceback.format_exc()
            )
        try:
            pipe.send(problem)
        except OSError:
            return
