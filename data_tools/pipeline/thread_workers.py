"""Making numbered batches in threads of this process, and handing them out in order.

Processes are in `process_workers.py`; what a batch is made of is `batches.py`'s matter.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice

from data_tools.core.handing_over import hand_over_sooner
from data_tools.core.reusable_memory import Arrays, BatchPool
from data_tools.images.decode import one_thread_per_call
from data_tools.pipeline.workers import BatchBuilder


class ThreadWorkers:
    """Threads of this process: OpenCV and the decoder let each other run, and nothing is copied.

    Args:
        builder: What makes the batches.
        workers: Number of threads.
        prefetch: Finished batches to keep beyond those being made.
    """

    def __init__(self, builder: BatchBuilder, workers: int, prefetch: int) -> None:
        self._builder = builder
        self._ahead = workers + prefetch
        one_thread_per_call()
        hand_over_sooner()
        self._memory = BatchPool(builder.layout, self._ahead + 2)
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
        self._builder.fill(number, arrays)
        return arrays
