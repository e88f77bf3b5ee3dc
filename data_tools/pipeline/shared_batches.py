"""Shared memory for batches that processes make: slots that are used again once nobody holds them.

Who makes what in which slot is `process_workers.py`. The memory is anonymous (memfd): it never
shows up in /dev/shm, does not fill it, and is gone with the last process that has it, however that
ends.
"""

from __future__ import annotations

import mmap
import os
import sys
from collections.abc import Collection
from multiprocessing import reduction
from typing import Any

import numpy as np
import numpy.typing as npt

from data_tools.core.errors import SettingError
from data_tools.core.reusable_memory import Arrays, Layout

_ALIGNMENT = 64  # bytes; of each array within a slot


class SharedBatches:
    """Memory for some batches, shared with processes that are given this object when they start.

    Args:
        layout: The arrays of a batch.
        count: Number of slots.

    Raises:
        SettingError: If the system has not enough memory.
    """

    def __init__(self, layout: Layout, count: int) -> None:
        self._layout, self._count = layout, count
        self._descriptor = _reserve(count * _slot_bytes(layout), count)
        self._map()

    def _map(self) -> None:
        memory = mmap.mmap(self._descriptor, self._count * _slot_bytes(self._layout))
        # The owners that every view of a slot refers to, also a view of a view.
        self._roots = [_roots(memory, slot, self._layout) for slot in range(self._count)]

    def __getstate__(self) -> dict[str, Any]:
        # Only works while a process is being started, which then gets a descriptor of its own.
        return {
            "layout": self._layout,
            "count": self._count,
            "descriptor": reduction.DupFd(self._descriptor),
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._layout, self._count = state["layout"], state["count"]
        self._descriptor = state["descriptor"].detach()
        self._map()

    def close_descriptor(self) -> None:
        """Close the file; the memory stays while it is in use."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def arrays(self, slot: int) -> Arrays:
        """Return the arrays of a slot; whoever holds one, or a view of one, keeps the slot from
        being free.
        """
        return {
            name: root.reshape(shape)
            for root, (name, (shape, _)) in zip(
                self._roots[slot], self._layout.items(), strict=True
            )
        }

    def free(self, busy: Collection[int]) -> int | None:
        """Return a slot that is not `busy` and that nobody in this process holds; None if there is
        none.
        """
        for slot, roots in enumerate(self._roots):
            # Referred to by the list, and by getrefcount's own argument.
            if slot not in busy and all(sys.getrefcount(roots[i]) == 2 for i in range(len(roots))):
                return slot
        return None


def _roots(memory: mmap.mmap, slot: int, layout: Layout) -> list[npt.NDArray[np.generic]]:
    roots: list[npt.NDArray[np.generic]] = []
    offset = slot * _slot_bytes(layout)
    for shape, dtype in layout.values():
        roots.append(np.frombuffer(memory, dtype, int(np.prod(shape)), offset))
        offset += _padded(shape, dtype)
    return roots


def _slot_bytes(layout: Layout) -> int:
    return sum(_padded(shape, dtype) for shape, dtype in layout.values())


def _padded(shape: tuple[int, ...], dtype: str) -> int:
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    return -(-size // _ALIGNMENT) * _ALIGNMENT


def _reserve(size: int, slots: int) -> int:
    descriptor = os.memfd_create("pipeline")
    try:
        # All pages now: a write to a page that is not to be had would kill the worker with SIGBUS.
        os.posix_fallocate(descriptor, 0, size)
        return descriptor
    except OSError as error:
        os.close(descriptor)
        raise SettingError(
            f"pipeline.worker_kind=processes needs {size / 2**20:.0f} MiB of shared memory for "
            f"{slots} batches, and the system refuses it ({error}). Lower pipeline.workers, "
            "pipeline.prefetch or batch_size, or use pipeline.worker_kind=threads."
        ) from error
