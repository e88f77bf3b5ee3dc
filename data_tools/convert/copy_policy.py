"""Copies of pictures in a raw data set, and what the policies `duplicate_image`, `similar_image`,
`copies_disagree`, `leak` do.

Every picture must be read and decoded to know, so this happens where a policy asks for it, and in
the audit. The search itself is in `images/copies.py`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np

from data_tools.convert.copy_boxes import box_difference
from data_tools.convert.prepare_image import PreparedImage, prepare_image
from data_tools.convert.settings import ConvertSettings, ImageSettings
from data_tools.core.cores import core_count
from data_tools.core.progress import Progress
from data_tools.core.sample import Sample
from data_tools.images.copies import BYTES, NEAR, PIXELS, Copies, Copy, find_copies
from data_tools.images.decode import PictureError, decode_file
from data_tools.images.picture_hash import FLAT, bytes_hash, picture_hash, pixels_hash
from data_tools.shards.writer import MAX_PAGE_BYTES
from data_tools.sources.defects import Defect, DefectLog
from data_tools.sources.raw_split import RawDataset

COPY_KINDS = ("duplicate_image", "similar_image", "copies_disagree", "leak")

_CHUNK = 64
"""Pictures in memory at once."""


@dataclass(frozen=True)
class SeenImage:
    """What is left of a picture that was read and prepared, so that it need not be read again.

    Args:
        size: Height and width in pixels of the stored picture; None where it cannot be used.
        sample: Its sample where that is another than the table's, for instance scaled.
        defects: What was found.
    """

    size: tuple[int, int] | None
    sample: Sample | None
    defects: tuple[Defect, ...]


SeenImages = dict[tuple[str, int], SeenImage]
"""By name of the split and image id."""


class _Pictures:
    """All pictures of a raw data set, one split after the other, read as the converter would store
    them.
    """

    def __init__(self, raw: RawDataset, image: ImageSettings, policy: dict[str, str]) -> None:
        self.raw = raw
        self.policy = policy
        self.image = replace(image, max_side=0, quality=0)
        self.starts: list[int] = np.cumsum([0, *(len(s.table) for s in raw.splits)]).tolist()

    def __len__(self) -> int:
        return int(self.starts[-1])

    def split_and_row(self, index: int) -> tuple[int, int]:
        """The split and the row of a picture."""
        split = int(np.searchsorted(self.starts, index, side="right")) - 1
        return split, index - self.starts[split]

    def key(self, index: int) -> tuple[str, int]:
        """The split's name and the image's id of a picture."""
        split, row = self.split_and_row(index)
        part = self.raw.splits[split]
        return part.name, int(part.table.image_ids[row])

    def prepared(self, index: int) -> PreparedImage | None:
        """The picture; None where it cannot be used, which is reported elsewhere."""
        split, row = self.split_and_row(index)
        sample = self.raw.splits[split].table[row]
        return prepare_image(sample, self.image, DefectLog({}), MAX_PAGE_BYTES)

    def look(self, index: int) -> tuple[bytes, bytes, SeenImage]:
        """Hash of bytes and picture, and what else was seen; what is no picture is a copy
        of nothing.
        """
        split, row = self.split_and_row(index)
        sample = self.raw.splits[split].table[row]
        log = DefectLog(self.policy)
        image = prepare_image(sample, self.image, log, MAX_PAGE_BYTES)
        defects = tuple(log.defects)
        if image is None:
            return index.to_bytes(17, "little"), FLAT, SeenImage(None, None, defects)
        size = image.height, image.width
        changed = image.sample if image.sample is not sample else None
        seen = SeenImage(size, changed, defects)
        return bytes_hash(image.data), picture_hash(image.data, *size), seen

    def pixels(self, index: int) -> bytes | None:
        """Hash of the pixels."""
        image = self.prepared(index)
        try:
            return None if image is None else pixels_hash(decode_file(image.data))
        except PictureError:
            return None

    def name(self, index: int) -> str:
        """File name."""
        split, row = self.split_and_row(index)
        return self.raw.splits[split].table.file_names[row]

    def difference(self, copy: Copy, looks: Sequence[SeenImage]) -> str:
        """In what the boxes of a copy and its original differ; empty where they do not."""
        boxes, labels = [], []
        for index in (copy.index, copy.original):
            size_px = looks[index].size
            if size_px is None:
                return ""
            sample = looks[index].sample
            if sample is None:
                split, row = self.split_and_row(index)
                sample = self.raw.splits[split].table[row]
            boxes.append(np.clip(sample.boxes_yxyx_px / np.array(size_px * 2, np.float64), 0, 1))
            known = self.raw.classes.labels(sample.category_ids).tolist()
            labels.append([self.raw.classes.classes[label - 1].name for label in known])
        size_px = looks[copy.index].size if copy.how in (BYTES, PIXELS) else None
        return box_difference(boxes[0], labels[0], boxes[1], labels[1], size_px)


def apply_copy_policy(
    raw: RawDataset, settings: ConvertSettings, seen: SeenImages | None = None
) -> RawDataset:
    """Find copies of pictures within and across splits, note each as a defect, and leave out what
    the policy says.

    Of copies within a split the first is kept. A picture of several splits is a leak of the larger
    split, so that the smaller ones, which measure, stay as they are.

    Args:
        raw: The data set.
        settings: Settings of the command.
        seen: Look even if the policies only keep, and note here what was seen of each picture.

    Returns:
        The data set with these defects; the same one where nothing was looked for.
    """
    policy = settings.content()["policy"]
    if seen is None and all(policy.get(kind, "keep") == "keep" for kind in COPY_KINDS):
        return raw
    pictures = _Pictures(raw, settings.image, policy)
    hashes: list[tuple[bytes, bytes]] = []
    looks: list[SeenImage] = []
    cpus = core_count()
    with ThreadPoolExecutor(cpus) as pool, Progress("reading pictures", len(pictures)) as bar:
        for first in range(0, len(pictures), _CHUNK):
            rows = range(first, min(first + _CHUNK, len(pictures)))
            for index, (data, picture, image) in zip(
                rows, pool.map(pictures.look, rows), strict=True
            ):
                hashes.append((data, picture))
                looks.append(image)
                if seen is not None:
                    seen[pictures.key(index)] = image
            bar.update(len(rows))
    counts = [len(split.table) for split in raw.splits]
    by_size = sorted(range(len(counts)), key=lambda k: (-counts[k], k))
    rank = np.repeat([by_size.index(k) for k in range(len(counts))], counts).tolist()
    copies = find_copies(rank, [h for h, _ in hashes], [h for _, h in hashes], pictures.pixels)
    logs = [DefectLog(policy) for _ in raw.splits]
    for split, log in zip(raw.splits, logs, strict=True):
        log.defects.extend(split.defects)
    dropped: set[int] = set()
    for index, kind, detail in _findings(pictures, copies, looks):
        which, row = pictures.split_and_row(index)
        number = int(raw.splits[which].table.image_ids[row])
        if logs[which].add(kind, pictures.name(index), detail, image_id=number) != "keep":
            dropped.add(index)
    splits = []
    for k, (split, log) in enumerate(zip(raw.splits, logs, strict=True)):
        keep = [row for row in range(counts[k]) if pictures.starts[k] + row not in dropped]
        table = split.table if len(keep) == counts[k] else split.table.take(keep)
        splits.append(replace(split, table=table, defects=tuple(log.defects)))
    return replace(raw, splits=tuple(splits))


def _findings(
    pictures: _Pictures, copies: Copies, looks: Sequence[SeenImage]
) -> Iterator[tuple[int, str, str]]:
    """Index, kind and detail of each defect."""
    disagree: set[int] = set()
    for part, kind in ((copies.within, ""), (copies.across, "leak")):
        for copy in part:
            split, _ = pictures.split_and_row(copy.original)
            where = f"{pictures.name(copy.original)} of {pictures.raw.splits[split].name}"
            how = f"{copy.how} to" if copy.how == NEAR else f"{copy.how} as"
            bits = f" ({copy.bits} of 256 bits of the hash differ)" if copy.bits else ""
            yield (
                copy.index,
                kind or ("similar_image" if copy.how == NEAR else "duplicate_image"),
                f"{how} {where}{bits}",
            )
            words = pictures.difference(copy, looks)
            if words:
                yield from _disagreement(pictures, copy, words, disagree)


def _disagreement(
    pictures: _Pictures, copy: Copy, words: str, seen: set[int]
) -> Iterator[tuple[int, str, str]]:
    for index, other in ((copy.index, copy.original), (copy.original, copy.index)):
        if index not in seen:
            seen.add(index)
            yield index, "copies_disagree", f"a copy of {pictures.name(other)}; {words}"
