"""The annotations of a large COCO file as columns, decoded in pieces, and half of them in another
process.

A piece in which an entry is not as nearly all are is handed back as it is: `coco_entries.py` reads
that one entry by entry.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import Annotated, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from data_tools.core.cores import core_count
from data_tools.core.spawned_pool import start_pool, terminate
from data_tools.sources.coco_ids import LARGEST_ID

CROWD, IGNORED = 1, 2
"""Bits of the flags."""

LARGE = 64 << 20
"""Bytes from which a list is read here: below, a process would start for nothing."""

PIECE = 8 << 20
"""Bytes that are decoded at once: their objects take some five megabytes."""

Id = Annotated[int, msgspec.Meta(gt=-LARGEST_ID, lt=LARGEST_ID)]
Flag = bool | Annotated[int, msgspec.Meta(ge=0, le=1)]


class Annotation(msgspec.Struct, gc=False):
    """An entry as nearly all are."""

    image_id: Id
    category_id: Id
    bbox: tuple[float, float, float, float]
    area: float
    id: Id = -1
    iscrowd: Flag = 0
    ignore: Flag = 0


class Columns(NamedTuple):
    """Some annotations.

    Attributes:
        integers: (N, 4) int64, image, category, annotation (-1: none) and flags.
        numbers: (N, 5) float64, x, y, w, h and area.
    """

    integers: NDArray[np.int64]
    numbers: NDArray[np.float64]


class Span(NamedTuple):
    """A piece of the list that is no `Columns`: from a `[` or comma to the next comma or `]`.

    Attributes:
        start: Byte of the list.
        stop: Byte behind the last.
    """

    start: int
    stop: int


Read = Callable[[int, int], bytearray]
"""Returns the bytes of the list from one to before another."""

# What may lie between two entries. Within one it may as well: then the piece is not a list.
_BETWEEN = re.compile(rb"\}\s*,\s*\{")


def flags_of(entry: Annotation) -> int:
    """Return the flags of an entry."""
    return (CROWD if entry.iscrowd else 0) | (IGNORED if entry.ignore else 0)


def read_pieces(read: Read, start: int, stop: int, size: int) -> Iterator[Columns | Span]:
    """Yield the annotations of a part of the list, in its order.

    Args:
        read: Returns bytes of the list.
        start: Byte of the `[` or comma before the part.
        stop: Byte behind the comma or `]` at its end.
        size: Bytes to decode at once.
    """
    decode = msgspec.json.Decoder(list[Annotation]).decode
    while start < stop - 1:
        data = read(start, min(start + size, stop))
        end = len(data) if start + len(data) == stop else _last_comma(data) + 1
        if not end:
            size *= 2  # one entry is larger than a piece
            continue
        try:
            entries = decode(as_list(data, end))
        except (ValueError, RecursionError):
            yield Span(start, start + end)
        else:
            yield _columns(entries)
        start += end - 1  # the comma is where the next piece begins


def as_list(data: bytearray, end: int) -> memoryview:
    """Make a list of a piece, in place of the commas around it."""
    data[0], data[end - 1] = ord("["), ord("]")
    return memoryview(data)[:end]


def _last_comma(data: bytearray) -> int:
    """Return the offset of the last comma between two objects, -1 if there is none."""
    tail = 1 << 12
    while True:
        begin = max(0, len(data) - tail)
        matches = list(_BETWEEN.finditer(data, begin))
        if matches:
            return data.index(b",", matches[-1].start())
        if not begin:
            return -1
        tail *= 8


def _columns(entries: list[Annotation]) -> Columns:
    integers = np.empty((len(entries), 4), np.int64)
    integers[:, 0] = [entry.image_id for entry in entries]
    integers[:, 1] = [entry.category_id for entry in entries]
    integers[:, 2] = [entry.id for entry in entries]
    integers[:, 3] = [flags_of(entry) for entry in entries]
    numbers = np.empty((len(entries), 5), np.float64)
    sides = chain.from_iterable(entry.bbox for entry in entries)
    numbers[:, :4] = np.fromiter(sides, np.float64, 4 * len(entries)).reshape(-1, 4)
    numbers[:, 4] = [entry.area for entry in entries]
    return Columns(integers, numbers)


class OtherHalf:
    """A process that reads the second half of a list; without one, this process does.

    Args:
        pool: Where it is started, or None.
    """

    def __init__(self, pool: ProcessPoolExecutor | None) -> None:
        self._pool = pool

    def pieces(
        self, read: Read, path: Path, offset: int | None, length: int, size: int
    ) -> list[Columns | Span]:
        """Return the annotations of a whole list, in its order.

        Args:
            read: Returns bytes of the list.
            path: The file.
            offset: Byte of the file at which the list begins; None if it does not lie there as it
                is read.
            length: Bytes of the list.
            size: Bytes to decode at once.
        """
        middle, future = length, None
        if self._pool is not None and offset is not None:
            at = length // 2
            data = read(at, min(at + size, length))
            between = _BETWEEN.search(data)
            if between is not None:
                comma = at + data.index(b",", between.start())
                middle = comma + 1
                future = self._submit(path, offset, comma, length, size)
        pieces = list(read_pieces(read, 0, middle, size))
        if middle < length:
            try:
                if future is None:
                    raise BrokenProcessPool
                pieces += future.result()
            except (BrokenProcessPool, OSError):  # it was killed, or the file is gone
                pieces += read_pieces(read, middle - 1, length, size)
        return pieces

    def _submit(
        self, path: Path, offset: int, start: int, stop: int, size: int
    ) -> Future[list[Columns | Span]] | None:
        assert self._pool is not None
        try:
            return self._pool.submit(_read_part, path, offset, start, stop, size)
        except (BrokenProcessPool, OSError):
            return None


@contextmanager
def other_half(wanted: bool) -> Iterator[OtherHalf]:
    """Start the process, where there is a core for it; it is ready after some 0.3 seconds.

    Args:
        wanted: Whether it is worth one.
    """
    if not wanted or core_count() == 1:
        yield OtherHalf(None)
        return
    pool = start_pool(1)
    try:
        yield OtherHalf(pool)
    except BaseException:  # Ctrl-C would wait for its part of the list
        terminate(pool)
        raise
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _read_part(path: Path, offset: int, start: int, stop: int, size: int) -> list[Columns | Span]:
    with open(path, "rb") as file:

        def read(begin: int, end: int) -> bytearray:
            data = bytearray(end - begin)
            if os.preadv(file.fileno(), [data], offset + begin) != len(data):
                raise OSError(f"{path} became shorter while it was read")
            return data

        return list(read_pieces(read, start, stop, size))
