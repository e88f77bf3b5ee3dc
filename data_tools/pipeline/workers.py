"""What workers are: they make numbered batches ahead of their use and hand them out in order.

Threads are in `thread_workers.py`, processes in `process_workers.py`. What a batch is made of is
`batches.py`'s matter: here it is named arrays of a fixed layout.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Protocol

from data_tools.core.cores import core_count
from data_tools.core.reusable_memory import Arrays, Layout


class BatchBuilder(Protocol):
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
    return workers or core_count()
