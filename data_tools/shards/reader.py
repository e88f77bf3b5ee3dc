"""Reading rows of a converted split by index, from any thread.

Shards are written in `writer.py`; the columns are in `schema.py`.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from data_tools.core.errors import DataError
from data_tools.core.reusable_memory import ByteArena
from data_tools.shards.manifest import ConvertedSplit
from data_tools.shards.mindrecord_reader import ShardError, ShardFile
from data_tools.shards.schema import PUBLISHED_FORMAT

_SCALARS = ("image_id", "height", "width", "num_boxes")
_ARRAYS = ("image", "boxes", "labels", "iscrowd", "difficult")
PUBLISHED_SCALARS = ("img_id",)


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
    """Random access to the rows of a split, in the order of their image ids.

    That is the order of the manifest's shards, but where a set was extended with images between the
    old ones: then the rows of several shards take turns, so that a set that grew is read as one
    made at once.

    May be shared by threads, pickled, and used on both sides of a fork. Files are opened at the
    first access.

    Args:
        split: The opened split.
    """

    def __init__(self, split: ConvertedSplit) -> None:
        self._split = split
        self._published = split.manifest.format == PUBLISHED_FORMAT
        self._starts = [0, *accumulate(shard.rows for shard in split.manifest.shards)]
        self._files: dict[int, ShardFile] = {}
        self._by_id: npt.NDArray[np.int64] | None = None
        shards = split.manifest.shards
        self._mixed = not self._published and any(
            after.first_image_id < before.last_image_id for before, after in pairwise(shards)
        )

    def __getstate__(self) -> dict[str, Any]:
        return {"split": self._split}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["split"])  # type: ignore[misc]

    def __len__(self) -> int:
        return self._starts[-1]

    def __getitem__(self, index: int) -> Row:
        """Read one row.

        Raises:
            IndexError: If `index` is not in 0..len-1.
            DataError: If the row cannot be read, or is in a shard that the manifest says holds
                other images; the message names the shard and the image.
        """
        return self.read(index)

    def read(self, index: int, memory: ByteArena | None = None) -> Row:
        """Read one row as `[index]` does, into memory that is used again.

        Args:
            index: The row in the split.
            memory: Where the encoded image is to lie; None takes fresh memory.
        """
        shard, index_in_shard = self._locate(index)
        file = self._file(shard)
        make = self._published_row if self._published else self._row
        try:
            row = make(
                file,
                index_in_shard,
                memory.take(file.row_bytes(index_in_shard)) if memory else None,
            )
        except (ShardError, OSError) as error:
            raise self.damaged(index, f"its row cannot be read: {error}") from error
        info = self._split.manifest.shards[shard]
        if not info.first_image_id <= row.image_id <= info.last_image_id:
            raise self.damaged(
                index,
                f"it should not be here: the manifest says that this shard holds the images "
                f"{info.first_image_id} to {info.last_image_id}, so it was swapped for another",
            )
        return row

    def shard_of(self, index: int) -> Path:
        """Return the data file that row `index` is in."""
        return self._split.shard_paths[self._locate(index)[0]]

    def damaged(self, index: int, what: str) -> DataError:
        """Return the error for a row that cannot be used.

        Args:
            index: The row in the split.
            what: What is wrong with it.
        """
        return DataError(
            f"{self.shard_of(index)}: image {self._image_id_of(index)} (row {index} of the split): "
            f"{what}. {self._advice}"
        )

    def _image_id_of(self, index: int) -> int | str:
        # From the shard's index, so that it is known where the row itself is damaged.
        shard, index_in_shard = self._locate(index)
        try:
            file = self._file(shard)
            if self._published:
                return published_image_id(file, index_in_shard)
            return int(file.scalars["image_id"][index_in_shard])
        except (DataError, ShardError, OSError):
            return "of unknown id"

    @property
    def _advice(self) -> str:
        return (
            "The shard is damaged or was changed. See python convert.py "
            f"verify={self._split.folder.parent}, then copy it again or convert again."
        )

    def _locate(self, index: int) -> tuple[int, int]:
        if not 0 <= index < self._starts[-1]:
            raise IndexError(f"row {index} of {self._starts[-1]}")
        if self._mixed:
            if self._by_id is None:
                self._by_id = np.argsort(self._stored_ids(), kind="stable")
            index = int(self._by_id[index])
        shard = bisect_right(self._starts, index) - 1
        return shard, index - self._starts[shard]

    def image_ids(self) -> npt.NDArray[np.int64]:
        """Return the image id of every row, (rows,) int64, from the shards' indexes: no image is
        read.

        Raises:
            DataError: If a shard cannot be read.
        """
        ids = self._stored_ids()
        return np.sort(ids, kind="stable") if self._mixed else ids

    def presence(self, num_classes: int) -> npt.NDArray[np.bool_]:
        """Return which classes each row has boxes of, crowd regions aside; no image is decoded.

        Args:
            num_classes: Classes, C, without background.

        Returns:
            (rows, C) bool: column c stands for label c + 1.

        Raises:
            DataError: If a row cannot be read, or has a label beyond C.
        """
        present = np.zeros((len(self), num_classes), bool)
        names = ("annotation",) if self._published else ("labels", "iscrowd")
        for index in range(len(self)):
            shard, index_in_shard = self._locate(index)
            file = self._file(shard)
            try:
                columns = file.arrays(index_in_shard, names)
            except (ShardError, OSError) as error:
                raise self.damaged(index, f"its row cannot be read: {error}") from error
            if self._published:
                labels = columns["annotation"][:, 4].astype(np.int64)
            else:
                count = int(file.scalars["num_boxes"][index_in_shard])
                labels = columns["labels"][:count][columns["iscrowd"][:count] == 0].astype(np.int64)
            if len(labels) and not 1 <= labels.min() <= labels.max() <= num_classes:
                raise self.damaged(index, f"it has labels beyond 1..{num_classes}")
            present[index, labels - 1] = True
        return present

    def box_counts(self) -> npt.NDArray[np.int64]:
        """Return how many boxes each row has, crowd regions among them, (rows,) in no order, from
        the shards' indexes where they tell it: no image is read.

        Raises:
            DataError: If a shard cannot be read.
        """
        parts = [np.zeros(0, np.int64)]
        for shard, info in enumerate(self._split.manifest.shards):
            if info.rows and self._published:
                file = self._file(shard)
                rows = (file.arrays(k, ("annotation",))["annotation"] for k in range(info.rows))
                parts.append(np.array([len(row) for row in rows], np.int64))
            elif info.rows:
                parts.append(np.asarray(self._file(shard).scalars["num_boxes"], np.int64))
        return np.concatenate(parts)

    def _stored_ids(self) -> npt.NDArray[np.int64]:
        parts = [np.zeros(0, np.int64)]
        for shard, info in enumerate(self._split.manifest.shards):
            if not info.rows:
                continue
            file = self._file(shard)
            if self._published:
                parts.append(
                    np.array([published_image_id(file, k) for k in range(info.rows)], np.int64)
                )
            else:
                parts.append(np.asarray(file.scalars["image_id"], np.int64))
        return np.concatenate(parts)

    def _file(self, shard: int) -> ShardFile:
        # Two threads may both open a file: the first to be kept serves, the other closes itself.
        file = self._files.get(shard)
        if file is None:
            file = self._files.setdefault(shard, self._open(shard))
        return file

    def _open(self, shard: int) -> ShardFile:
        info, path = self._split.manifest.shards[shard], self._split.shard_paths[shard]
        try:
            file = ShardFile(path, PUBLISHED_SCALARS if self._published else _SCALARS)
        except (ShardError, OSError) as error:
            raise DataError(
                f"{path}: cannot be opened: {error}. It holds the images {info.first_image_id} to "
                f"{info.last_image_id}. {self._advice}"
            ) from error
        if len(file) != info.rows:
            raise DataError(
                f"{path}: it holds {len(file)} rows, the manifest says {info.rows}. {self._advice}"
            )
        return file

    @staticmethod
    def _row(file: ShardFile, index: int, buffer: npt.NDArray[np.uint8] | None) -> Row:
        columns = file.arrays(index, _ARRAYS, buffer)
        count = int(file.scalars["num_boxes"][index])
        if any(len(columns[name]) != max(count, 1) for name in _ARRAYS if name != "image"):
            raise ShardError(f"its columns do not hold {count} boxes each")
        return Row(
            image_id=int(file.scalars["image_id"][index]),
            image=columns["image"],
            height=int(file.scalars["height"][index]),
            width=int(file.scalars["width"][index]),
            boxes_yxyx_px=columns["boxes"][:count],
            labels=columns["labels"][:count],
            iscrowd=columns["iscrowd"][:count].astype(bool),
            difficult=columns["difficult"][:count].astype(bool),
        )

    @staticmethod
    def _published_row(file: ShardFile, index: int, buffer: npt.NDArray[np.uint8] | None) -> Row:
        columns = file.arrays(index, ("image", "annotation"), buffer)
        annotation = columns["annotation"]
        none = np.zeros(len(annotation), bool)
        return Row(
            image_id=published_image_id(file, index),
            image=columns["image"],
            height=0,
            width=0,
            boxes_yxyx_px=annotation[:, :4].astype(np.float32),
            labels=annotation[:, 4].astype(np.int32),
            iscrowd=none,
            difficult=none,
        )


def published_image_id(file: ShardFile, index: int) -> int:
    """Return the image id of a row of the published tools, which store it as an array of one
    number.
    """
    # Other writers store a plain number.
    if "img_id" in file.scalars:
        return int(file.scalars["img_id"][index])
    return int(file.arrays(index, ("img_id",))["img_id"].reshape(-1)[0])
