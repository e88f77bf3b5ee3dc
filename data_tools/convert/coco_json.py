"""The ground truth of a shard's rows as text in COCO format, ready to be joined to
`annotations.json`.

Rows themselves are made in `shards/schema.py`; the file is put together in `finish_split.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from data_tools.core.boxes import xywh_from_yxyx
from data_tools.core.sample import ClassInfo, Sample


class _Entry(msgspec.Struct, omit_defaults=True):
    id: int
    image_id: int
    category_id: int
    bbox: list[float]
    area: float
    iscrowd: int
    ignore: int = 0


class ShardGroundTruth:
    """Collects the samples of a shard as they are stored, and writes them as JSON at the end.

    A set has a million boxes: their numbers are gathered in arrays and turned to text in one go.

    Args:
        classes: The classes in the order of their labels.
    """

    def __init__(self, classes: Sequence[ClassInfo]) -> None:
        self._category_of = np.array([0, *(entry.category_id for entry in classes)], np.int64)
        self._samples: list[Sample] = []
        self._labels: list[npt.NDArray[np.int32]] = []

    def add(self, sample: Sample, labels: npt.NDArray[np.int32]) -> None:
        """Note a sample as it was stored: boxes and size in the frame of the stored picture."""
        self._samples.append(sample)
        self._labels.append(labels)

    def as_dict(self) -> dict[str, Any]:
        """Return the parts of the shard's result.

        Returns:
            `images` and `annotations`: entries in COCO format as JSON text without the brackets;
            `totals`: `images`, `boxes`, `crowd_boxes`, `images_without_boxes`.
        """
        samples = self._samples
        counts = [len(labels) for labels in self._labels]
        images = [
            {"id": s.image_id, "file_name": s.file_name, "height": s.height, "width": s.width}
            for s in samples
        ]
        crowd = self._joined([s.iscrowd for s in samples], np.int64)
        return {
            "images": inner_json(images),
            "annotations": self._annotations(counts, crowd),
            "totals": {
                "images": len(samples),
                "boxes": sum(counts),
                "crowd_boxes": int(crowd.sum()),
                "images_without_boxes": counts.count(0),
            },
        }

    def _annotations(self, counts: list[int], crowd: npt.NDArray[np.int64]) -> str:
        samples = self._samples
        if not sum(counts):
            return ""
        boxes = self._joined([s.boxes_yxyx_px for s in samples], np.float64)
        labels = self._joined(self._labels, np.int64)
        columns = (
            self._joined([s.annotation_ids for s in samples], np.int64).tolist(),
            np.repeat([s.image_id for s in samples], counts).tolist(),
            self._category_of[labels].tolist(),
            xywh_from_yxyx(boxes).round(6).tolist(),
            self._joined([s.areas_px for s in samples], np.float64).round(6).tolist(),
            crowd.tolist(),
            self._joined([s.difficult for s in samples], np.int64).tolist(),
        )
        return inner_json([*map(_Entry, *columns)])

    @staticmethod
    def _joined(parts: Sequence[npt.NDArray[Any]], dtype: Any) -> npt.NDArray[Any]:
        return np.concatenate(parts).astype(dtype) if parts else np.zeros(0, dtype)


def inner_json(entries: list[Any]) -> str:
    """Return a list as JSON without its brackets."""
    return msgspec.json.encode(entries)[1:-1].decode()
