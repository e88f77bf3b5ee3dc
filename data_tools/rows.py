"""Rows of a split as the pipeline needs them: checked against the manifest, with errors that name the image.

Columns and files are `records.py`'s matter; whole-file hashes are checked in `verify.py`.
"""

from __future__ import annotations

import json
from bisect import bisect_right

from data_tools.errors import DataError
from data_tools.manifest import ConvertedSplit, ShardInfo, sha256_of_file
from data_tools.records import Row, RowReader


class CheckedRows:
    """Random access to rows; each is in the shard that the manifest says, or it is an error.

    May be shared by threads and pickled, as `RowReader`.

    Args:
        split: The opened split.
    """

    def __init__(self, split: ConvertedSplit) -> None:
        self._split = split
        self._reader = RowReader(split)
        self._starts = [0]
        for shard in split.manifest.shards:
            self._starts.append(self._starts[-1] + shard.rows)

    def __len__(self) -> int:
        return self._starts[-1]

    def __getitem__(self, index: int) -> Row:
        """Read one row.

        Raises:
            DataError: If it cannot be read or belongs to another shard; names the shard and the image.
        """
        try:
            row = self._reader[index]
        except DataError as error:
            raise self.damaged(index, f"its row cannot be read ({error})") from error
        shard = self._shard(index)
        if not shard.first_image_id <= row.image_id <= shard.last_image_id:
            raise self.damaged(
                index,
                f"its row holds image {row.image_id}, but the manifest says that this shard holds the "
                f"images {shard.first_image_id} to {shard.last_image_id}: it was swapped for another",
            )
        return row

    def damaged(self, index: int, what: str) -> DataError:
        """Return the error for a row that cannot be used.

        Args:
            index: The row in the split.
            what: What is wrong with it.
        """
        shard = self._split.folder / self._shard(index).file
        name = self._image_id(index)
        return DataError(
            f"{shard}: image {name} (row {index} of the split): {what}. The shard is damaged or was "
            f"changed; see python convert.py verify={self._split.folder.parent}, then convert again."
        )

    def verify_shards(self) -> None:
        """Compare the hash of every shard with the manifest's.

        Raises:
            DataError: Names the first shard that differs, and the images in it.
        """
        for shard in self._split.manifest.shards:
            path = self._split.folder / shard.file
            for file, expected in ((path, shard.sha256), (path.with_name(path.name + ".db"), shard.index_sha256)):  # fmt: skip
                if sha256_of_file(file) != expected:
                    raise DataError(
                        f"{file}: its sha256 is not the manifest's. It holds the images "
                        f"{shard.first_image_id} to {shard.last_image_id}. Copy or convert the set again."
                    )

    def _shard(self, index: int) -> ShardInfo:
        return self._split.manifest.shards[bisect_right(self._starts, index) - 1]

    def _image_id(self, index: int) -> str:
        # Rows are in the order of annotations.json; it is only read when something is wrong.
        try:
            with open(self._split.annotations_path, encoding="utf-8") as file:
                images = json.load(file)["images"]
            return str(images[index]["id"]) if len(images) == len(self) else "?"
        except (OSError, ValueError, KeyError, TypeError, IndexError):
            return "?"
