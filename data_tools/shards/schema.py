"""The columns of a MindRecord row and their versions: the one home for writer and reader.

What a whole converted set says of itself is in `manifest.py`; files are written and read in
`reader.py`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from data_tools.core.sample import Sample

FORMAT = "ssd-mindrecord/1"
"""Rows as this project writes them."""

PUBLISHED_FORMAT = "published-ssd"
"""Rows as the published SSD tools write them: `img_id`, `image`, `annotation` int32 (N, 5)."""

DESCRIPTION = "ssd detection samples, format 1"

COLUMNS: dict[str, dict[str, Any]] = {
    "image_id": {"type": "int64"},
    "image": {"type": "bytes"},
    "height": {"type": "int32"},
    "width": {"type": "int32"},
    "num_boxes": {"type": "int32"},
    "boxes": {"type": "float32", "shape": [-1, 4]},
    "labels": {"type": "int32", "shape": [-1]},
    "iscrowd": {"type": "int32", "shape": [-1]},
    "difficult": {"type": "int32", "shape": [-1]},
}
"""MindRecord schema. `boxes` are `[y1, x1, y2, x2]` in pixels; `labels` run from 1 to C."""


def row_from_sample(sample: Sample, image: bytes, labels: np.ndarray) -> dict[str, Any]:
    """Make the row that is written for one sample.

    MindRecord returns rubbish for a zero-length array, so an image without boxes gets one row of
    zeros in each array and `num_boxes` 0.

    Args:
        sample: The sample, already checked.
        image: The encoded bytes to store.
        labels: (N,) contiguous labels, 1..C.

    Returns:
        Column name to value, in the dtypes of `COLUMNS`.
    """
    count = len(sample.boxes_yxyx_px)

    def filled(values: np.ndarray, shape: tuple[int, ...], dtype: type) -> np.ndarray:
        if count:
            return values.astype(dtype)
        return np.zeros(shape, dtype)

    return {
        "image_id": int(sample.image_id),
        "image": image,
        "height": int(sample.height),
        "width": int(sample.width),
        "num_boxes": count,
        "boxes": filled(sample.boxes_yxyx_px, (1, 4), np.float32),
        "labels": filled(labels, (1,), np.int32),
        "iscrowd": filled(sample.iscrowd, (1,), np.int32),
        "difficult": filled(sample.difficult, (1,), np.int32),
    }
