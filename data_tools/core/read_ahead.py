"""Reads images ahead of those who need them, in threads: where reading waits, for the network or to
inflate, the next ones are on their way.

What a sample is stands in `data_tools/core/sample.py`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from data_tools.core.archives import deflated, split_path
from data_tools.core.errors import DataError
from data_tools.core.object_storage import is_remote
from data_tools.core.sample import Sample

_OVER_NETWORK = 16
_INFLATING = 1
_AHEAD = 2
"""Samples that wait for each thread."""


def with_images(samples: Iterable[Sample], folder: str | Path) -> Iterator[Sample]:
    """Yield samples with their images read, where that is worth a thread; else as they are.

    Args:
        samples: The samples, in order.
        folder: Where their images lie: threads are started for object storage and for an archive
            whose entries are compressed.

    Yields:
        The samples in order. One whose image cannot be read comes without, so that whoever reads
        it meets the error.

    Raises:
        StorageError: If object storage cannot be reached.
    """
    count = _threads(folder)
    if not count:
        yield from samples
        return
    waiting: deque[Future[Sample]] = deque()
    with ThreadPoolExecutor(count, thread_name_prefix="read-ahead") as pool:
        try:
            for sample in samples:
                waiting.append(pool.submit(_read, sample))
                if len(waiting) > count * _AHEAD:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


def _threads(folder: str | Path) -> int:
    if is_remote(folder):
        return _OVER_NETWORK
    return _INFLATING if split_path(folder) is not None and deflated(folder) else 0


def _read(sample: Sample) -> Sample:
    if sample.image is not None:
        return sample
    try:
        return replace(sample, image=sample.read_bytes())
    except (OSError, DataError):
        return sample
