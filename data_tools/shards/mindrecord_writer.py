"""MindRecord files written directly: byte for byte what MindSpore's `FileWriter` makes of the same
rows.

MindSpore hands every byte of a blob through a converter of its own and must be imported first,
which makes its writer several times slower than the disk; so the converter writes the (simple)
format itself. Tests compare the bytes with `FileWriter`'s. What the columns mean is in `schema.py`.

The format, version 3.0: a header of fixed size, JSON with its length before it; then pages of fixed
size. Blob pages hold each row's array and bytes columns, raw pages its numbers as MessagePack. An
SQLite file next to it, `.db`, says where each row lies.
"""

from __future__ import annotations

import errno
import json
import os
import sqlite3
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from data_tools.shards.mindrecord_integers import pack_integers

_SQLITE_VERSION = 3046001
"""MindSpore's own; the field says who wrote the file last and nothing reads it."""

Schema = Mapping[str, Mapping[str, Any]]


def blob_columns(schema: Schema) -> list[str]:
    """Return the columns that are stored as blobs, in the order of the file: arrays and bytes."""
    return sorted(
        name for name, kind in schema.items() if kind["type"] == "bytes" or "shape" in kind
    )


def raw_columns(schema: Schema) -> list[str]:
    """Return the columns that are single numbers, in the order of the file."""
    blobs = blob_columns(schema)
    return sorted(name for name in schema if name not in blobs)


class MindRecordWriter:
    """Writes one MindRecord file and its index.

    Args:
        path: The data file; must not exist. Its name is stored in it: never rename it afterwards.
        schema: Column -> `{"type": ..., "shape": ...}`; numbers must be integers.
        description: Stored with the schema.
        header_bytes: Size of the header.
        page_bytes: Size of a page.

    Raises:
        FileExistsError: If the file exists.
        OSError: If it cannot be written.
    """

    def __init__(
        self, path: Path, schema: Schema, description: str, header_bytes: int, page_bytes: int
    ) -> None:
        self._path, self._schema, self._description = path, schema, description
        self._header_bytes, self._page_bytes = header_bytes, page_bytes
        self._blobs, self._raws = blob_columns(schema), raw_columns(schema)
        self._arrays = {
            name: (np.dtype(schema[name]["type"]), len(schema[name]["shape"]))
            for name in self._blobs
            if "shape" in schema[name]
        }
        self._pack = msgspec.msgpack.Encoder().encode
        self._pages: list[dict[str, Any]] = []
        self._groups: list[dict[str, int]] = []
        self._raw = bytearray()
        self._index: list[tuple[int, ...]] = []
        self._saved = 0
        self._blob_page, self._blob_at, self._group = -1, 0, -1
        self._file = open(path, "xb", buffering=0)  # noqa: SIM115 - closed by `close`, `abort`

    def write(self, row: Mapping[str, Any]) -> None:
        """Append a row: bytes, NumPy arrays of the schema's dtypes, and Python integers.

        Raises:
            ValueError: If a value does not fit its column, or the row does not fit a page.
            OSError: If the disk is full.
        """
        numbers = {name: int(row[name]) for name in self._raws}
        raw = self._pack(numbers)
        pieces = []
        length = 0
        for name in self._blobs:
            data, plain = self._blob(name, row[name])
            pieces += [len(data).to_bytes(8, "big"), data]
            length += 8 + len(data)
            self._saved += plain - len(data)
        self._reserve(8 + length)
        start = len(self._raw)
        self._raw += len(raw).to_bytes(8, "little") + raw
        self._write([length.to_bytes(8, "little"), *pieces])
        ends = self._blob_at, self._blob_at + 8 + length
        location = (start, len(self._raw), self._group, self._blob_page, *ends)
        self._index.append((len(self._index), 1, *location, *numbers.values()))
        self._blob_at = ends[1]

    def _write(self, pieces: list[bytes]) -> None:
        """Write pieces at the present offset without copying the large ones together."""
        size = sum(map(len, pieces))
        written = os.writev(self._file.fileno(), pieces)
        if written < size:  # a full disk says so only at the next call
            rest = memoryview(b"".join(pieces))[written:]
            while rest:
                rest = rest[os.write(self._file.fileno(), rest) :]

    def _blob(self, name: str, value: Any) -> tuple[bytes, int]:
        """A column's bytes as they are stored, and their size before integers are cut short."""
        expected = self._arrays.get(name)
        if expected is None:
            return bytes(value), len(value)
        dtype, ndim = expected
        if value.dtype != dtype or value.ndim != ndim or not value.size:
            kind = dict(self._schema[name])
            raise ValueError(f"column {name}: {value.dtype} {value.shape} for {kind}")
        if dtype.kind == "i":
            return pack_integers(value), value.nbytes
        return value.tobytes(), value.nbytes

    def _reserve(self, size: int) -> None:
        """Go to a new blob page if the row does not fit the present one."""
        if size > self._page_bytes:
            raise ValueError(f"a row of {size} bytes does not fit a page of {self._page_bytes}")
        if self._blob_page >= 0 and self._blob_at + size <= self._page_bytes:
            return
        self._end_blob_page()
        # Page 1 holds the numbers of all rows; the blob pages are 0, 2, 3, ...
        self._blob_page = 0 if self._blob_page < 0 else max(2, self._blob_page + 1)
        self._group += 1
        self._groups.append({"id": self._group, "offset": len(self._raw)})
        self._blob_at = 0
        self._file.seek(self._header_bytes + self._blob_page * self._page_bytes)

    def _end_blob_page(self) -> None:
        if self._blob_page < 0:
            return
        first = self._pages[-1]["end_row_id"] if self._pages else 0
        self._pages.append(
            _page(self._blob_page, self._blob_at, "BLOB_DATA", self._group, first, len(self._index))
        )

    def close(self) -> int:
        """Finish the file and write its index; flushing them to the disk is the caller's matter.

        Returns:
            The number of rows.

        Raises:
            ValueError: If no row was written, or the rows' numbers do not fit a page.
            OSError: If the disk is full.
        """
        if not self._index or len(self._raw) > self._page_bytes:
            raise ValueError(f"{len(self._index)} rows for pages of {self._page_bytes} bytes")
        self._end_blob_page()
        raw_page = _page(1, len(self._raw), "RAW_DATA", 0, 0, 0, self._groups)
        pages = [self._pages[0], raw_page, *self._pages[1:]]
        header = self._header(pages)
        if len(header) + 8 > self._header_bytes:
            raise ValueError(f"{len(pages)} pages do not fit the header")
        # The file ends where its last page's content ends; what lies between is a hole.
        self._file.seek(self._header_bytes + self._page_bytes)
        self._write([bytes(self._raw)])
        self._file.seek(0)
        self._write([len(header).to_bytes(8, "little"), header])
        self._file.close()
        self._write_index()
        return len(self._index)

    def abort(self) -> None:
        """Close the file without finishing it."""
        self._file.close()

    def _header(self, pages: list[dict[str, Any]]) -> bytes:
        fields = [{"index_field": name, "schema_id": 0} for name in self._raws]
        schema = {name: dict(sorted(self._schema[name].items())) for name in sorted(self._schema)}
        content = {
            "header_size": self._header_bytes,
            "index_fields": fields,
            "page": pages,
            "page_size": self._page_bytes,
            "compression_size": max(0, self._saved),
            "schema": [{"blob_fields": self._blobs, "desc": self._description, "schema": schema}],
            "shard_addresses": [self._path.name],
            "shard_id": 0,
            "statistics": None,
            "version": "3.0",
        }
        return json.dumps(content, separators=(",", ":"), ensure_ascii=False).encode()

    def _write_index(self) -> None:
        path = self._path.with_name(self._path.name + ".db")
        columns = "".join(f",INC_{k} INT, {name}_0 INTEGER" for k, name in enumerate(self._raws))
        keys = "".join(f",INC_{k}" for k in range(len(self._raws)))
        connection = sqlite3.connect(path, isolation_level=None)
        try:
            connection.execute("PRAGMA journal_mode=MEMORY")
            connection.execute("PRAGMA synchronous=OFF")
            # What is left in unused corners of the file depends on how SQLite was built: leave
            # nothing.
            connection.execute("PRAGMA secure_delete=ON")
            connection.execute("BEGIN")
            connection.execute(
                "CREATE TABLE INDEXES(  ROW_ID               INT  NOT NULL"
                ", PAGE_ID_RAW          INT  NOT NULL, PAGE_OFFSET_RAW      INT  NOT NULL"
                ", PAGE_OFFSET_RAW_END  INT  NOT NULL, ROW_GROUP_ID         INT  NOT NULL"
                ", PAGE_ID_BLOB         INT  NOT NULL, PAGE_OFFSET_BLOB     INT  NOT NULL"
                f", PAGE_OFFSET_BLOB_END INT  NOT NULL{columns}, PRIMARY KEY(ROW_ID{keys}))"
            )
            connection.execute("CREATE TABLE SHARD_NAME(NAME TEXT NOT NULL)")
            connection.execute("INSERT INTO SHARD_NAME VALUES (?)", (self._path.name,))
            marks = ",".join(["?"] * (8 + 2 * len(self._raws)))
            rows = ((*r[:8], *(v for n in r[8:] for v in (0, n))) for r in self._index)
            connection.executemany(f"INSERT INTO INDEXES VALUES ({marks})", rows)
            connection.execute("COMMIT")
        except sqlite3.OperationalError as error:  # as any other writer says it: with the file
            number = errno.ENOSPC if "full" in str(error) else errno.EIO
            raise OSError(number, f"{os.strerror(number)} ({error})", str(path)) from error
        finally:
            connection.close()
        with open(path, "r+b") as file:
            # The version of this machine's SQLite must not decide the index's hash.
            file.seek(96)
            file.write(struct.pack(">I", _SQLITE_VERSION))


def _page(
    number: int,
    size: int,
    kind: str,
    kind_number: int,
    first_row: int,
    end_row: int,
    groups: list[dict[str, int]] | None = None,
) -> dict[str, Any]:
    return {
        "end_row_id": end_row,
        "page_id": number,
        "page_size": size,
        "page_type": kind,
        "page_type_id": kind_number,
        "row_group_ids": groups if groups is not None else [{"id": 0, "offset": 0}],
        "shard_id": 0,
        "start_row_id": first_row,
    }
