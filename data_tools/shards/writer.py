"""Writing one MindRecord shard: its page size, its rows, its hashes.

Which rows go to which shard is the converter's plan (`convert/make_plan.py`); rows are read back in
`reader.py`.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from data_tools.core.errors import DataError
from data_tools.core.files import EarlyFlush, sha256_of_file
from data_tools.shards.manifest import ShardInfo
from data_tools.shards.mindrecord_writer import MindRecordWriter
from data_tools.shards.schema import COLUMNS, DESCRIPTION

HEADER_BYTES = 1 << 20
"""MindRecord header: about 256 bytes a page, enough for some 4,000 pages."""

MIN_PAGE_BYTES = 1 << 20
MAX_PAGE_BYTES = 1 << 28
HEADROOM_BYTES = 65536
"""Bytes of a page that are kept free for a row's lengths and boxes."""


def page_bytes_for(largest_row: int) -> int:
    """Return the smallest page size, a power of two, that a row of `largest_row` bytes fits into.

    All shards of a split have the same page size.

    Raises:
        DataError: If no page is large enough.
    """
    size = MIN_PAGE_BYTES
    while size < largest_row + HEADROOM_BYTES:
        size *= 2
    if size > MAX_PAGE_BYTES:
        raise DataError(
            f"An image of {largest_row} bytes does not fit a MindRecord page (256 MiB at most). "
            "Re-encode it smaller."
        )
    return size


class ShardWriter:
    """Writes one shard under its final name; the result is only complete after `close`.

    MindRecord stores the file's name in the file, so a shard must never be renamed: write it into a
    temporary folder and move it.

    Args:
        path: The data file to write; must not exist.
        page_bytes: MindRecord page size, the same for every shard of a split.

    Raises:
        FileExistsError: If the file exists.
    """

    def __init__(self, path: Path, page_bytes: int = MIN_PAGE_BYTES) -> None:
        self._path = path
        self._ids: list[int] = []
        self._writer = MindRecordWriter(path, COLUMNS, DESCRIPTION, HEADER_BYTES, page_bytes)
        self._flush = EarlyFlush(path)

    def write(self, rows: Iterable[dict[str, Any]]) -> None:
        """Append rows made by `schema.row_from_sample`.

        Raises:
            ValueError: If a row is not of the schema, or does not fit a page.
            OSError: If the disk is full.
        """
        for row in rows:
            self._writer.write(row)
            self._flush.wrote(len(row["image"]))
            self._ids.append(row["image_id"])

    def close(self) -> ShardInfo:
        """Finish the shard and hash it; its index is not flushed to the disk yet.

        Raises:
            ValueError: If no row was written.
            OSError: If the disk is full.
        """
        rows = self._writer.close()
        self._flush.start()
        info = ShardInfo(
            file=self._path.name,
            rows=rows,
            bytes=self._path.stat().st_size,
            sha256=sha256_of_file(self._path),
            index_sha256=sha256_of_file(self._path.with_name(self._path.name + ".db")),
            first_image_id=min(self._ids),
            last_image_id=max(self._ids),
        )
        self._flush.close()
        return info

    def abort(self) -> None:
        """Close an unfinished shard."""
        self._writer.abort()
        self._flush.close()
