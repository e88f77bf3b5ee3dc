"""Memory that is used again: fresh pages cost nearly as much as the work that is done in them.

What lies in it is the callers' matter. Nothing here is shared between two threads at the same time.
"""

from __future__ import annotations

import sys
import threading

import numpy as np
import numpy.typing as npt

Layout = dict[str, tuple[tuple[int, ...], str]]
"""Name of each array of a batch to its shape and dtype."""

Arrays = dict[str, npt.NDArray[np.generic]]


class ByteArena:
    """Memory for the pieces of one batch; all of it is free again after `reset`."""

    def __init__(self) -> None:
        self._block = np.empty(0, np.uint8)
        self._used = 0

    def take(self, size: int) -> npt.NDArray[np.uint8]:
        """Return `size` bytes, (size,) uint8, that are the caller's until `reset`."""
        if self._used + size > self._block.size:
            # Pieces handed out keep the old block alive; half as much again, so that this ends
            # soon.
            self._block = np.empty(max(size, self._block.size * 3 // 2, 1 << 16), np.uint8)
            self._used = 0
        piece = self._block[self._used : self._used + size]
        self._used += size
        return piece

    def reset(self) -> None:
        """Take everything back."""
        self._used = 0


class BatchPool:
    """Batches of arrays, each handed out again once nobody but this object refers to it.

    Whoever keeps an array, a view of it, or a tensor that shares its memory holds a reference, so
    that what is kept is never written over.

    Args:
        layout: The arrays of a batch.
        most: Batches to remember; more are made when all are in use, and forgotten.
    """

    def __init__(self, layout: Layout, most: int) -> None:
        self._layout = layout
        self._most = most
        self._known: list[list[npt.NDArray[np.generic]]] = []
        self._lock = threading.Lock()

    def take(self) -> Arrays:
        """Return the arrays of a batch, with whatever they hold."""
        with self._lock:
            for known in self._known:
                # Referred to by the list, and by getrefcount's own argument.
                if all(sys.getrefcount(known[i]) == 2 for i in range(len(known))):
                    return dict(zip(self._layout, known, strict=True))
            made = [np.empty(shape, dtype) for shape, dtype in self._layout.values()]
            if len(self._known) < self._most:
                self._known.append(made)
            return dict(zip(self._layout, made, strict=True))
