"""Making numbered batches in processes of their own; results pass through memory that no crash can leave.

Threads, and what a batch is, are in `workers.py`. The memory is anonymous (memfd): it never shows up in
/dev/shm, does not fill it, and is gone with the last process that has it, however that ends.
"""

from __future__ import annotations

import mmap
import multiprocessing
import os
import signal
import traceback
from collections import deque
from collections.abc import Iterable, Iterator
from itertools import islice
from multiprocessing import connection, reduction
from typing import Any

import numpy as np

from data_tools.errors import DataError, SettingError, UserError
from data_tools.memory import Arrays, Layout, Recycler
from data_tools.workers import Maker, quiet_image_library

_ALIGNMENT = 64  # bytes; of each array within a slot


class WorkerError(RuntimeError):
    """A worker process ended or failed in a way that is not the user's."""


class ProcessWorkers:
    """Processes with a slot of shared memory for every batch that is under way.

    Batch k of a run is made by worker k mod W in slot k mod S and copied out of it, so that the caller
    may keep it. The processes are started fresh, not forked: MindSpore does not survive a fork. They
    end when this process does, whatever ends it, since their pipe closes then.

    Args:
        maker: What makes the batches; pickled.
        workers: W, number of processes.
        prefetch: Finished batches to keep beyond those being made.

    Raises:
        SettingError: If there is not enough memory for the slots.
    """

    def __init__(self, maker: Maker, workers: int, prefetch: int) -> None:
        self._maker = maker
        self._count = workers
        self._slots = workers + prefetch
        self._copies = Recycler(maker.layout, 4)
        self._memory, descriptor = _reserve(self._slots, maker.layout)
        context = multiprocessing.get_context("spawn")
        self._processes: list[Any] = []
        self._pipes: list[connection.Connection[Any, Any]] = []
        try:
            for number in range(workers):
                ours, theirs = context.Pipe()
                process = context.Process(
                    target=_serve,
                    args=(maker, self._slots, _Descriptor(descriptor), theirs),
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
            os.close(descriptor)

    def run(self, numbers: Iterable[int]) -> Iterator[Arrays]:
        """Yield the batches of these numbers in this order; the arrays are the caller's to keep."""
        waiting = iter(enumerate(numbers))
        pending: deque[tuple[int, int]] = deque()
        try:
            for place, number in islice(waiting, self._slots):
                self._ask(place, number)
                pending.append((place, number))
            while pending:
                place, number = pending.popleft()
                self._wait(place, number)
                slot = _views(self._memory, place % self._slots, self._maker.layout)
                batch = self._copies.take()
                for name, array in slot.items():
                    batch[name][...] = array
                for later in islice(waiting, 1):
                    self._ask(*later)
                    pending.append(later)
                yield batch
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

    def _ask(self, place: int, number: int) -> None:
        try:
            self._pipes[place % self._count].send((number, place % self._slots))
        except OSError:  # it has ended: found, and said, where its answer is awaited
            pass

    def _wait(self, place: int, number: int) -> None:
        pipe = self._pipes[place % self._count]
        sentinels = {process.sentinel: process for process in self._processes}
        ready = connection.wait([pipe, *sentinels])
        if pipe not in ready:
            for sentinel in ready:
                self._died(sentinels[sentinel])  # type: ignore[index]
        try:
            problem = pipe.recv()
        except (EOFError, OSError):
            self._died(self._processes[place % self._count], number)
        if problem is not None:
            raise problem

    def _died(self, process: Any, number: int | None = None) -> None:
        process.join(timeout=5)
        code = process.exitcode
        how = (
            f"was killed by {signal.Signals(-code).name}"
            if code and code < 0
            else f"exited ({code})"
        )
        doing = "" if number is None else f" while it made {self._maker.describe(number)}"
        pid = process.pid
        self.close()
        raise WorkerError(
            f"Pipeline worker {process_name(process)} (pid {pid}) {how}{doing}. SIGKILL is mostly the "
            "system running out of memory: lower pipeline.workers or pipeline.prefetch, or use "
            "pipeline.worker_kind=threads. SIGABRT, SIGBUS and SIGFPE are mostly a damaged shard: see "
            "python convert.py verify=DIR."
        )

    def _forget(self, pending: Iterable[tuple[int, int]]) -> None:
        # Answers to what nobody waits for any more must not be taken for those of the next run.
        if not self._processes:
            return
        for place, number in pending:
            try:
                self._wait(place, number)
            except (UserError, RuntimeError):
                if not self._processes:
                    return


def process_name(process: Any) -> str:
    """Name of a process object, also of a closed one."""
    return str(getattr(process, "_name", "?"))


class _Descriptor:
    """Hands a file descriptor to a process that is being started."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor

    def __getstate__(self) -> Any:
        return reduction.DupFd(self.descriptor)

    def __setstate__(self, duplicate: Any) -> None:
        self.descriptor = duplicate.detach()


def _slot_bytes(layout: Layout) -> int:
    return sum(_padded(shape, dtype) for shape, dtype in layout.values())


def _padded(shape: tuple[int, ...], dtype: str) -> int:
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    return -(-size // _ALIGNMENT) * _ALIGNMENT


def _views(memory: mmap.mmap, slot: int, layout: Layout) -> Arrays:
    arrays: Arrays = {}
    offset = slot * _slot_bytes(layout)
    for name, (shape, dtype) in layout.items():
        count = int(np.prod(shape))
        arrays[name] = np.frombuffer(memory, dtype, count, offset).reshape(shape)
        offset += _padded(shape, dtype)
    return arrays


def _reserve(slots: int, layout: Layout) -> tuple[mmap.mmap, int]:
    size = slots * _slot_bytes(layout)
    descriptor = os.memfd_create("pipeline")
    try:
        # All pages now: a write to a page that is not to be had would kill the worker with SIGBUS.
        os.posix_fallocate(descriptor, 0, size)
        return mmap.mmap(descriptor, size), descriptor
    except OSError as error:
        os.close(descriptor)
        raise SettingError(
            f"pipeline.worker_kind=processes needs {size / 2**20:.0f} MiB of shared memory for {slots} "
            f"batches, and the system refuses it ({error}). Lower pipeline.workers, pipeline.prefetch or "
            "batch_size, or use pipeline.worker_kind=threads."
        ) from error


def _serve(
    maker: Maker, slots: int, descriptor: _Descriptor, pipe: connection.Connection[Any, Any]
) -> None:
    """Make batches until the pipe closes; runs in the worker process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the main process's to handle
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    quiet_image_library()
    layout = maker.layout
    memory = mmap.mmap(descriptor.descriptor, slots * _slot_bytes(layout))
    os.close(descriptor.descriptor)
    while True:
        try:
            number, slot = pipe.recv()
        except (EOFError, OSError):
            return
        problem: Exception | None = None
        try:
            maker.fill(number, _views(memory, slot, layout))
        except DataError as error:
            problem = DataError(str(error))
        except Exception as error:
            problem = WorkerError(
                f"A pipeline worker failed on {maker.describe(number)}: {error!r}\n"
                + traceback.format_exc()
            )
        try:
            pipe.send(problem)
        except OSError:
            return
