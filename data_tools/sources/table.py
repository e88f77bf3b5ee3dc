"""All samples of a split as a few long arrays: compact enough for a million boxes, quick to audit.

Sources fill it, the converter cuts it into shards; a single row of it is a `Sample`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from data_tools.core.sample import Sample


@dataclass(frozen=True)
class SampleTable:
    """The samples of a split, sorted by image id, with the boxes of all images one after the other.

    Args:
        root: Folder that `file_names` are relative to.
        image_ids: (I,) int64, unique, ascending.
        file_names: I paths with `/` between the parts.
        heights: (I,) int32 declared heights in pixels, 0 where none is declared.
        widths: (I,) int32 declared widths.
        offsets: (I + 1,) int64; the boxes of image i are `offsets[i]:offsets[i + 1]`.
        boxes_yxyx_px: (B, 4) float64 corners in pixels.
        category_ids: (B,) int64.
        iscrowd: (B,) bool.
        difficult: (B,) bool.
        areas_px: (B,) float64.
        annotation_ids: (B,) int64.
        images: Encoded bytes of each image where the source makes them, else empty.
        relative: Boxes and areas are in 0..1 of the images' sizes, which are not known yet.
    """

    root: Path
    image_ids: npt.NDArray[np.int64]
    file_names: Sequence[str]
    heights: npt.NDArray[np.int32]
    widths: npt.NDArray[np.int32]
    offsets: npt.NDArray[np.int64]
    boxes_yxyx_px: npt.NDArray[np.float64]
    category_ids: npt.NDArray[np.int64]
    iscrowd: npt.NDArray[np.bool_]
    difficult: npt.NDArray[np.bool_]
    areas_px: npt.NDArray[np.float64]
    annotation_ids: npt.NDArray[np.int64]
    images: Sequence[bytes] = field(default=(), repr=False)
    relative: bool = False

    def __len__(self) -> int:
        return len(self.image_ids)

    def __getitem__(self, index: int) -> Sample:
        rows = slice(int(self.offsets[index]), int(self.offsets[index + 1]))
        image_id, height = int(self.image_ids[index]), int(self.heights[index])
        return self._sample(index, image_id, height, int(self.widths[index]), rows)

    def _sample(self, index: int, image_id: int, height: int, width: int, rows: slice) -> Sample:
        return Sample(
            image_id=image_id,
            file_name=self.file_names[index],
            path=None if self.images else f"{self.root}/{self.file_names[index]}",
            height=height,
            width=width,
            boxes_yxyx_px=self.boxes_yxyx_px[rows],
            category_ids=self.category_ids[rows],
            iscrowd=self.iscrowd[rows],
            difficult=self.difficult[rows],
            areas_px=self.areas_px[rows],
            annotation_ids=self.annotation_ids[rows],
            image=self.images[index] if self.images else None,
            relative=self.relative,
        )

    def __iter__(self) -> Iterator[Sample]:
        # As `self[index]` for every index, with the numbers taken out of the arrays in one go.
        ends = self.offsets.tolist()
        pixels = zip(self.heights.tolist(), self.widths.tolist(), strict=True)
        for k, (image_id, (height, width)) in enumerate(
            zip(self.image_ids.tolist(), pixels, strict=True)
        ):
            yield self._sample(k, image_id, height, width, slice(ends[k], ends[k + 1]))

    def image_of_box(self) -> npt.NDArray[np.int64]:
        """Return for each box the index of its image: (B,)."""
        return np.repeat(np.arange(len(self)), np.diff(self.offsets))

    def take(self, indices: npt.ArrayLike) -> SampleTable:
        """Return the table of some images, in the order given."""
        chosen = np.asarray(indices, np.int64).reshape(-1)
        counts = (self.offsets[1:] - self.offsets[:-1])[chosen]
        offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        shift = np.repeat(self.offsets[chosen] - offsets[:-1], counts)
        return replace(
            self._boxes(shift + np.arange(int(offsets[-1]))),
            image_ids=self.image_ids[chosen],
            file_names=[self.file_names[k] for k in chosen],
            heights=self.heights[chosen],
            widths=self.widths[chosen],
            offsets=offsets,
            images=[self.images[k] for k in chosen] if self.images else (),
        )

    def keep_boxes(self, mask: npt.NDArray[np.bool_]) -> SampleTable:
        """Return the table with the boxes where `mask` (B,) is true; images stay."""
        kept = np.concatenate([[0], np.cumsum(mask)]).astype(np.int64)
        return replace(self._boxes(np.flatnonzero(mask)), offsets=kept[self.offsets])

    def _boxes(self, rows: npt.NDArray[np.int64]) -> SampleTable:
        return replace(
            self,
            boxes_yxyx_px=self.boxes_yxyx_px[rows],
            category_ids=self.category_ids[rows],
            iscrowd=self.iscrowd[rows],
            difficult=self.difficult[rows],
            areas_px=self.areas_px[rows],
            annotation_ids=self.annotation_ids[rows],
        )


def table_from_samples(root: Path, samples: Iterable[Sample]) -> SampleTable:
    """Put samples into a table, in the order given."""
    rows = list(samples)

    def joined(parts: list[Any], dtype: Any, width: int = 0) -> npt.NDArray[Any]:
        empty: npt.NDArray[Any] = np.zeros((0, width) if width else 0, dtype)
        return np.concatenate([empty, *parts]).astype(dtype, copy=False)

    counts = [len(sample.category_ids) for sample in rows]
    return SampleTable(
        root=root,
        image_ids=np.array([s.image_id for s in rows], np.int64),
        file_names=[s.file_name for s in rows],
        heights=np.array([s.height for s in rows], np.int32),
        widths=np.array([s.width for s in rows], np.int32),
        offsets=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
        boxes_yxyx_px=joined([s.boxes_yxyx_px for s in rows], np.float64, 4),
        category_ids=joined([s.category_ids for s in rows], np.int64),
        iscrowd=joined([s.iscrowd for s in rows], np.bool_),
        difficult=joined([s.difficult for s in rows], np.bool_),
        areas_px=joined([s.areas_px for s in rows], np.float64),
        annotation_ids=joined([s.annotation_ids for s in rows], np.int64),
        images=[s.image for s in rows if s.image is not None],
    )
