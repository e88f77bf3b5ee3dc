"""Reads images ahead of those who need them, in threads: where reading waits for the network, or
has much to inflate, the next ones are on their way.

Coded pictures hardly shrink, and inflating one takes a fifth of the time of its row: less than it
costs to hand over the interpreter to a thread and back.

What a sample is stands in `data_tools/core/sample.py`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from data_tools.core.archives import size_of, swells
from data_tools.core.errors import DataError
from data_tools.core.handing_over import hand_over_sooner
from data_tools.core.object_storage import is_remote
from data_tools.core.sample import Sample

_OVER_NETWORK = 16
_INFLATING = 1
_AHEAD_OVER_NETWORK = 32
_AHEAD_INFLATING = 16
"""Samples that wait. One thread inflates about as fast as another handles what it inflated: some
more than it takes to hand over the interpreter."""
_AHEAD_BYTES = 32 << 20
"""What the inflated images that wait may hold, beyond the last of them."""


def with_images(samples: Iterable[Sample], folder: str | Path) -> Generator[Sample, None, None]:
    """Yield samples with their images read, where that is worth a thread; else as they are.

    Close it where it is left before its end: its threads end then.

    Args:
        samples: The samples, in order.
        folder: Where their images lie: threads are started for object storage and for an archive
            that holds more than its own size.

    Yields:
        The samples in order. One whose image cannot be read comes without, so that whoever reads
        it meets the error.

    Raises:
        StorageError: If object storage cannot be reached.
    """
    if is_remote(folder):
        count, most, weighed = _OVER_NETWORK, _AHEAD_OVER_NETWORK, False
    elif swells(folder):
        count, most, weighed = _INFLATING, _AHEAD_INFLATING, True
    else:
        yield from samples
        return
    hand_over_sooner()
    waiting: deque[tuple[Future[Sample], int]] = deque()
    held = 0
    with ThreadPoolExecutor(count, thread_name_prefix="read-ahead") as pool:
        try:
            for sample in samples:
                # The size is the archive's word, which no entry exceeds.
                size = (size_of(sample.path) or 0) if weighed and sample.path is not None else 0
                waiting.append((pool.submit(_read, sample), size))
                held += size
                while len(waiting) > most or (held > _AHEAD_BYTES and len(waiting) > 1):
                    future, size = waiting.popleft()
                    held -= size
                    yield future.result()
            while waiting:
                yield waiting.popleft()[0].result()
        finally:
            for future, _ in waiting:
                future.cancel()


def _read(sample: Sample) -> Sample:
    if sample.image is not None:
        return sample
    try:
        return replace(sample, image=sample.read_bytes())
    except (OSError, DataError):
        return sample
