"""Writing one MindRecord shard and reading rows of a split by index.

Which rows go to which shard is the converter's plan (`convert.py`); the columns are in `schema.py`.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from data_tools.errors import DataError
from data_tools.manifest import ConvertedSplit, ShardInfo, sha256_of_file
from data_tools.schema import COLUMNS, DESCRIPTION, PUBLISHED_COLUMNS, PUBLISHED_FORMAT

HEADER_BYTES = 1 << 20
"""MindRecord header: about 256 bytes a page, so room for some 4,000 pages."""

MIN_PAGE_BYTES = 1 << 22
MAX_PAGE_BYTES = 1 << 28


def page_bytes_for(largest_row: int) -> int:
    """Return a MindRecord page size that a row of `largest_row` bytes fits into.

    All shards of a split must have the same page size.

    Raises:
        DataError: If no page is large enough.
    """
    size = MIN_PAGE_BYTES
    while size < largest_row + 65536:
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
    temporary folder and rename the folder.

    Args:
        path: The data file to write; must not exist.
        page_bytes: MindRecord page size, the same for every shard of a split.

    Raises:
        DataError: If the file exists.
    """

    def __init__(self, path: Path, page_bytes: int = MIN_PAGE_BYTES) -> None:
        from mindspore.mindrecord import FileWriter

        if path.exists():
            raise DataError(f"{path}: exists already; a shard is never written over.")
        self._path = path
        self._ids: list[int] = []
        self._writer = FileWriter(str(path), shard_num=1, overwrite=False)
        self._writer.set_header_size(HEADER_BYTES)
        self._writer.set_page_size(page_bytes)
        self._writer.add_schema(COLUMNS, DESCRIPTION)

    def write(self, rows: Sequence[dict[str, Any]]) -> None:
        """Append rows made by `schema.row_from_sample`."""
        self._writer.write_raw_data(list(rows))
        self._ids.extend(row["image_id"] for row in rows)

    def close(self) -> ShardInfo:
        """Finish the shard, check its number of rows, flush it to the disk and hash it.

        MindRecord drops a row that it cannot store with a log line only; the count finds that.

        Raises:
            DataError: If fewer rows were stored than written, or none were written.
        """
        if not self._ids:
            raise DataError(f"{self._path}: a shard without rows.")
        self._writer.commit()
        index = self._path.with_name(self._path.name + ".db")
        for path in (self._path, index):
            descriptor = os.open(path, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
            path.chmod(0o644)
        stored = _count_rows(self._path)
        if stored != len(self._ids):
            raise DataError(f"{self._path}: {stored} rows stored of {len(self._ids)} written.")
        return ShardInfo(
            file=self._path.name,
            rows=stored,
            bytes=self._path.stat().st_size,
            sha256=sha256_of_file(self._path),
            index_sha256=sha256_of_file(index),
            first_image_id=min(self._ids),
            last_image_id=max(self._ids),
        )


def _count_rows(path: Path) -> int:
    from mindspore.dataset import MindDataset

    return int(MindDataset([str(path)], shuffle=False).get_dataset_size())


@dataclass(frozen=True)
class Row:
    """One row as read back.

    Args:
        image_id: The image's id.
        image: (L,) uint8, the encoded bytes.
        height: Pixels; 0 in the published tools' shards, which do not store it.
        width: Pixels; 0 in the published tools' shards.
        boxes_yxyx_px: (N, 4) float32.
        labels: (N,) int32, 1..C.
        iscrowd: (N,) bool.
        difficult: (N,) bool.
    """

    image_id: int
    image: npt.NDArray[np.uint8]
    height: int
    width: int
    boxes_yxyx_px: npt.NDArray[np.float32]
    labels: npt.NDArray[np.int32]
    iscrowd: npt.NDArray[np.bool_]
    difficult: npt.NDArray[np.bool_]


class RowReader:
    """Random access to the rows of a split, in the order of the manifest's shards.

    May be shared by threads, pickled, and used on both sides of a fork: MindRecord's own reader
    breaks when it crosses a fork, so each process opens its own at the first access.

    Args:
        split: The opened split.
    """

    def __init__(self, split: ConvertedSplit) -> None:
        self._split = split
        self._published = split.manifest.format == PUBLISHED_FORMAT
        self._columns = list(PUBLISHED_COLUMNS if self._published else COLUMNS)
        self._length = split.num_images
        self._reset()

    def _reset(self) -> None:
        self._owner: int | None = None
        self._dataset: Any = None
        self._lock = threading.Lock()

    def __getstate__(self) -> dict[str, Any]:
        return {"split": self._split}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["split"])  # type: ignore[misc]

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, index: int) -> Row:
        """Read one row.

        Raises:
            IndexError: If `index` is not in 0..len-1.
            DataError: If the shard cannot be read; the message names the shard.
        """
        if not 0 <= index < self._length:
            raise IndexError(f"row {index} of {self._length}")
        if self._owner != os.getpid():
            self._open()
        try:
            values = dict(zip(self._columns, self._dataset[index], strict=True))
            return self._published_row(values) if self._published else self._row(values)
        except (RuntimeError, ValueError, TypeError) as error:
            raise DataError(
                f"{self.shard_of(index)}: row {index} of the split cannot be read ({error}). Check the "
                f"set: python convert.py verify={self._split.folder.parent}"
            ) from error

    def shard_of(self, index: int) -> Path:
        """Return the data file that row `index` is in."""
        for shard in self._split.manifest.shards:
            if index < shard.rows:
                return self._split.folder / shard.file
            index -= shard.rows
        raise IndexError(index)

    def _open(self) -> None:
        if self._owner is not None:  # a forked child: the parent's lock may be held for ever
            self._reset()
        with self._lock:
            if self._owner == os.getpid():
                return
            from mindspore.dataset import MindDataset

            files = [str(path) for path in self._split.shard_paths]
            self._dataset = MindDataset(files, columns_list=self._columns, shuffle=False)
            stored = int(self._dataset.get_dataset_size())
            if stored != self._length:
                raise DataError(
                    f"{self._split.folder}: the shards hold {stored} rows, the manifest says "
                    f"{self._length}. Check the set: python convert.py verify={self._split.folder.parent}"
                )
            self._owner = os.getpid()

    @staticmethod
    def _row(values: dict[str, Any]) -> Row:
        count = int(values["num_boxes"])
        return Row(
            image_id=int(values["image_id"]),
            image=_bytes_of(values["image"]),
            height=int(values["height"]),
            width=int(values["width"]),
            boxes_yxyx_px=values["boxes"][:count],
            labels=values["labels"][:count],
            iscrowd=values["iscrowd"][:count].astype(bool),
            difficult=values["difficult"][:count].astype(bool),
        )

    @staticmethod
    def _published_row(values: dict[str, Any]) -> Row:
        annotation = np.asarray(values["annotation"]).reshape(-1, 5)
        none = np.zeros(len(annotation), bool)
        return Row(
            image_id=int(np.asarray(values["img_id"]).reshape(-1)[0]),
            image=_bytes_of(values["image"]),
            height=0,
            width=0,
            boxes_yxyx_px=annotation[:, :4].astype(np.float32),
            labels=annotation[:, 4].astype(np.int32),
            iscrowd=none,
            difficult=none,
        )


def _bytes_of(column: Any) -> npt.NDArray[np.uint8]:
    # A bytes column arrives as an array of type S<n>: a view keeps trailing zero bytes, item() drops them.
    array = np.ascontiguousarray(column)
    return array.view(np.uint8).reshape(-1)
