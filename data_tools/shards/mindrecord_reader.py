"""Rows of one MindRecord file, read straight from its pages by its index: no MindSpore, no locks.

Measured against `MindDataset[i]`, the library's own random access: a tenth of the time, other
threads run meanwhile, it survives forks, and a damaged file is an exception where the library may
abort the process. Files are written in `mindrecord_writer.py`; tests compare every column with the
library.
"""

from __future__ import annotations

import json
import os
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import numpy.typing as npt

from data_tools.shards.mindrecord_integers import unpack_integers

LAYOUT_VERSION = "3.0"
"""The version that a file's header bears; all of MindSpore 2 writes this one."""

_LARGEST_HEADER = 128 << 20
_INTEGERS: dict[str, np.dtype[Any]] = {"int32": np.dtype("<i4"), "int64": np.dtype("<i8")}
_FLOATS: dict[str, np.dtype[Any]] = {"float32": np.dtype("<f4"), "float64": np.dtype("<f8")}


class ShardError(ValueError):
    """A file is no MindRecord file of the known layout, or is damaged."""


class ShardFile:
    """One data file and its index (`.db`) next to it, open for random access from any thread.

    The layout: a header (its length, then JSON) of `header_size` bytes, then pages of `page_size`
    bytes. The index is an SQLite table with, for each row, the scalar columns and the page and byte
    range of its arrays. Those are stored one after the other in the order of their names, each
    after its length.

    Args:
        path: The data file.
        scalars: Names of the scalar columns to read; those that this file stores as arrays are left
            out.

    Raises:
        ShardError: If the file or the index is not what it should be.
        OSError: If one cannot be read.
    """

    def __init__(self, path: Path, scalars: tuple[str, ...]) -> None:
        self._file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            header = _read_header(self._file)
            (schema,) = header["schema"]
            self._arrays = {name: schema["schema"][name] for name in schema["blob_fields"]}
            self._header_size, self._page_size = (
                int(header["header_size"]),
                int(header["page_size"]),
            )
            if len(self._arrays) < 2:
                raise ShardError("it has fewer than two array columns")
            scalars = tuple(name for name in scalars if name not in self._arrays)
            table = _read_index(path, scalars)
        except ShardError:
            raise
        except (KeyError, TypeError, ValueError, sqlite3.Error) as error:
            raise ShardError(str(error)) from error
        self._extents = table[
            :, :3
        ].copy()  # (rows, 3) int64: page, first byte, byte after the last
        self.scalars = {name: table[:, 3 + i].copy() for i, name in enumerate(scalars)}

    def __len__(self) -> int:
        return len(self._extents)

    def __del__(self) -> None:
        if getattr(self, "_file", -1) >= 0:
            os.close(self._file)
            self._file = -1

    def row_bytes(self, index: int) -> int:
        """Bytes that a row's arrays take in the file."""
        return int(self._extents[index, 2] - self._extents[index, 1])

    def arrays(
        self, index: int, names: tuple[str, ...], buffer: npt.NDArray[np.uint8] | None = None
    ) -> dict[str, npt.NDArray[Any]]:
        """Read array columns of a row.

        Args:
            index: Row within this file.
            names: The columns wanted.
            buffer: (`row_bytes(index)`,) uint8 to read into; a `bytes` column is a view of it. None
                takes fresh memory.

        Returns:
            Name to array in the schema's dtype and shape; a `bytes` column is (L,) uint8,
            read-only.

        Raises:
            ShardError: If the row's bytes are not what the index says.
        """
        try:
            return self._arrays_of(index, names, buffer)
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise error if isinstance(error, ShardError) else ShardError(repr(error)) from error

    def _arrays_of(
        self, index: int, names: tuple[str, ...], buffer: npt.NDArray[np.uint8] | None
    ) -> dict[str, npt.NDArray[Any]]:
        page, start, stop = self._extents[index].tolist()
        offset = self._header_size + page * self._page_size + start
        piece: Any = np.empty(stop - start, np.uint8) if buffer is None else buffer
        data = memoryview(piece)
        done = os.preadv(self._file, [data], offset)
        if done != stop - start or done < 8:
            raise ShardError(f"the file ends within the row ({done} of {stop - start} bytes)")
        if int.from_bytes(data[:8], "little") != len(data) - 8:
            raise ShardError("the row's length is not the index's")
        columns: dict[str, npt.NDArray[Any]] = {}
        at = 8
        for name, column in self._arrays.items():
            size = int.from_bytes(data[at : at + 8], "big")
            at += 8
            if at + size > len(data):
                raise ShardError(f"column {name!r} reaches beyond the row")
            if name in names:
                columns[name] = _array(data, at, size, column)
            at += size
        return columns


def _read_header(file: int) -> dict[str, Any]:
    size = int.from_bytes(os.pread(file, 8, 0), "little")
    if not 0 < size < _LARGEST_HEADER:
        raise ShardError("it does not begin with a MindRecord header")
    header = json.loads(os.pread(file, size, 8))
    if header["version"] != LAYOUT_VERSION:
        raise ShardError(f"layout version {header['version']!r}, expected {LAYOUT_VERSION!r}")
    return dict(header)


def _read_index(path: Path, scalars: tuple[str, ...]) -> npt.NDArray[np.int64]:
    """(rows, 3 + scalars) int64: page, first byte, byte after the last, then the scalar columns."""
    index = path.resolve().with_name(path.name + ".db")
    columns = "".join(f", [{name}_0]" for name in scalars)
    with closing(
        sqlite3.connect(f"file:{quote(str(index))}?mode=ro&immutable=1", uri=True)
    ) as base:
        ((name,),) = base.execute("SELECT NAME FROM SHARD_NAME").fetchall()
        if name != path.name:
            raise ShardError(f"its index {index.name} belongs to a file named {name!r}")
        rows = base.execute(
            "SELECT ROW_ID, PAGE_ID_BLOB, PAGE_OFFSET_BLOB, PAGE_OFFSET_BLOB_END"
            f"{columns} FROM INDEXES ORDER BY ROW_ID"
        ).fetchall()
    table = np.array(rows, np.int64).reshape(-1, 4 + len(scalars))
    if not np.array_equal(table[:, 0], np.arange(len(table))):
        raise ShardError("its index does not number the rows 0, 1, 2, ...")
    return table[:, 1:]


def _array(data: memoryview, offset: int, size: int, column: dict[str, Any]) -> npt.NDArray[Any]:
    kind = column["type"]
    if kind == "bytes":
        return np.frombuffer(data, np.uint8, size, offset)
    if kind in _INTEGERS:
        try:
            values = unpack_integers(data[offset : offset + size], _INTEGERS[kind])
        except ValueError as error:
            raise ShardError(str(error)) from error
    elif kind in _FLOATS:
        dtype = _FLOATS[kind]
        values = np.frombuffer(data, dtype, size // dtype.itemsize, offset).astype(dtype)
    else:
        raise ShardError(f"a column of type {kind!r}")
    try:
        return values.reshape(column["shape"])
    except ValueError as error:
        raise ShardError(f"{len(values)} values do not make {column['shape']}") from error
