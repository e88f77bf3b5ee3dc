"""A stand-in for COCO's photographs: their sizes, bytes and box counts, drawn from a seed.

So that pipeline figures can be had anywhere; `--data` measures a real converted set instead.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from data_tools.core.sample import ClassInfo, Sample
from data_tools.shards.manifest import ConvertedSplit, Manifest, open_split
from data_tools.shards.reader import RowReader
from data_tools.shards.schema import row_from_sample
from data_tools.shards.writer import ShardWriter

SIZES_HW = ((480, 640), (427, 640), (640, 480), (640, 427), (480, 640), (500, 375), (426, 640))
"""COCO's most frequent sizes, roughly as often as they occur."""

NUM_CLASSES = 80


def photograph(rng: np.random.Generator, height: int, width: int) -> npt.NDArray[np.uint8]:
    """Draw an image with structure at all scales; as a JPEG of quality 90 about as large as
    COCO's.
    """
    image = np.zeros((height, width, 3), np.float32)
    cells, strength = 3, 90.0
    while cells < max(height, width):
        coarse = rng.normal(0, strength, (cells, cells, 3)).astype(np.float32)
        image += cv2.resize(coarse, (width, height), interpolation=cv2.INTER_LINEAR)
        cells, strength = cells * 3, strength * 0.85
    return np.clip(image + 120, 0, 255).astype(np.uint8)


def samples(count: int) -> Iterator[Sample]:
    """Yield `count` photographs with boxes: about 7 on average, a few without any."""
    for index in range(count):
        rng = np.random.default_rng((0, index))
        height, width = SIZES_HW[index % len(SIZES_HW)]
        boxes = min(int(rng.geometric(1 / 8)) - 1, 60)
        sizes = np.exp(rng.uniform(np.log(0.03), np.log(0.9), (boxes, 2)))
        corners = rng.random((boxes, 2)) * (1 - sizes)
        boxes_rel = np.concatenate([corners, corners + sizes], axis=1)
        encoded = cv2.imencode(
            ".jpg", photograph(rng, height, width), [cv2.IMWRITE_JPEG_QUALITY, 90]
        )
        yield Sample(
            image_id=index + 1,
            file_name=f"{index}.jpg",
            path=None,
            height=height,
            width=width,
            boxes_yxyx_px=boxes_rel * [height, width, height, width],
            category_ids=rng.integers(1, NUM_CLASSES + 1, boxes),
            iscrowd=rng.random(boxes) < 0.01,
            difficult=np.zeros(boxes, bool),
            areas_px=np.ones(boxes),
            annotation_ids=np.arange(boxes),
            image=encoded[1].tobytes(),
        )


def write(folder: Path, rows: Iterator[Sample]) -> ConvertedSplit:
    """Write samples as the split `train` of `folder`, in one shard."""
    target = folder / "train"
    target.mkdir(parents=True)
    writer = ShardWriter(target / "train-00000.mindrecord")
    for sample in rows:
        labels = sample.category_ids.astype(np.int32)
        writer.write([row_from_sample(sample, sample.read_bytes(), labels)])
    classes = tuple(ClassInfo(n, f"class {n}", n) for n in range(1, NUM_CLASSES + 1))
    info = writer.close()
    Manifest("train", classes, (info,), {"images": info.rows}).write(target)
    return open_split(folder, "train")


def smaller(split: ConvertedSplit, longest: int) -> Iterator[Sample]:
    """Yield the rows of a split re-encoded with a longest side, as `convert.py` can."""
    for index, row in enumerate(RowReader(split)):  # type: ignore[var-annotated, arg-type]
        image = cv2.imdecode(row.image, cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
        scale = min(1.0, longest / max(image.shape[:2]))
        height, width = (max(1, round(side * scale)) for side in image.shape[:2])
        image = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
        data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 90])[1]
        count = len(row.labels)
        yield Sample(
            image_id=row.image_id,
            file_name=f"{index}.jpg",
            path=None,
            height=height,
            width=width,
            boxes_yxyx_px=row.boxes_yxyx_px.astype(np.float64) * scale,
            category_ids=row.labels.astype(np.int64),
            iscrowd=row.iscrowd,
            difficult=row.difficult,
            areas_px=np.ones(count),
            annotation_ids=np.arange(count),
            image=data.tobytes(),
        )
