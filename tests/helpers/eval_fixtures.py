"""Small converted splits and stand-in networks for the tests of evaluation, prediction and
export.
"""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from data_tools.core.boxes import xywh_from_yxyx
from data_tools.core.sample import ClassInfo, Sample
from data_tools.shards.manifest import ANNOTATIONS, ConvertedSplit, Manifest, open_split
from data_tools.shards.schema import row_from_sample
from data_tools.shards.writer import ShardWriter
from data_tools.sources.shapes import CATEGORY_IDS, CLASS_NAMES, shape_samples

CLASSES = tuple(
    ClassInfo(k + 1, name, number)
    for k, (name, number) in enumerate(zip(CLASS_NAMES, CATEGORY_IDS, strict=True))
)


def write_split(
    folder: Path,
    samples: Sequence[Sample],
    split: str = "val",
    classes: tuple[ClassInfo, ...] = CLASSES,
    shards: int = 2,
) -> ConvertedSplit:
    """Write samples as a converted split without the converter."""
    target = folder / split
    target.mkdir(parents=True)
    label_of = {c.category_id: c.label for c in classes}
    infos = []
    for number, part in enumerate(np.array_split(np.arange(len(samples)), shards)):
        writer = ShardWriter(target / f"{split}-{number:05d}.mindrecord")
        for k in part:
            labels = np.array([label_of[int(c)] for c in samples[k].category_ids], np.int32)
            writer.write([row_from_sample(samples[k], samples[k].read_bytes(), labels)])
        infos.append(writer.close())
    text = json.dumps(coco_dict(samples, classes))
    (target / ANNOTATIONS).write_text(text)
    Manifest(
        split=split,
        classes=classes,
        shards=tuple(infos),
        totals={"images": len(samples)},
        files={ANNOTATIONS: hashlib.sha256(text.encode()).hexdigest()},
    ).write(target)
    return open_split(folder, split)


def shapes_split(
    folder: Path, count: int = 11, split: str = "val", seed: int = 3
) -> ConvertedSplit:
    """Write a split of small drawn scenes; the first image has the id 0, which is an id like any
    other.
    """
    drawn = shape_samples(seed, split, count, min_side=96, max_side=150)
    samples = [replace(sample, image_id=number) for number, sample in enumerate(drawn)]
    return write_split(folder, samples, split)


def coco_dict(samples: Sequence[Sample], classes: Sequence[ClassInfo]) -> dict[str, Any]:
    """Return samples as a COCO annotation file's content."""
    annotations = []
    for s in samples:
        boxes = xywh_from_yxyx(s.boxes_yxyx_px)
        for k in range(len(boxes)):
            annotations.append(
                {
                    "id": int(s.annotation_ids[k]),
                    "image_id": s.image_id,
                    "category_id": int(s.category_ids[k]),
                    "bbox": boxes[k].tolist(),
                    "area": float(s.areas_px[k]),
                    "iscrowd": int(s.iscrowd[k]),
                }
            )
    return {
        "images": [
            {"id": s.image_id, "file_name": s.file_name, "height": s.height, "width": s.width}
            for s in samples
        ],
        "annotations": annotations,
        "categories": [{"id": c.category_id, "name": c.name} for c in classes],
    }


class PixelPredictor:
    """A deterministic stand-in for a network: noisy boxes and scores drawn from the pixels'
    hash.
    """

    def __init__(self, num_classes: int, anchors: int = 60) -> None:
        self.num_classes, self.anchors, self.calls = num_classes, anchors, 0

    def __call__(self, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        self.calls += 1
        boxes = np.zeros((len(images), self.anchors, 4), np.float32)
        scores = np.zeros((len(images), self.anchors, self.num_classes), np.float32)
        for k, image in enumerate(images):
            key = int.from_bytes(hashlib.sha256(image.tobytes()).digest()[:8], "little")
            rng = np.random.default_rng(key)
            corner, size = rng.random((2, self.anchors, 2))
            boxes[k, :, :2] = corner * 0.7
            boxes[k, :, 2:] = np.clip(corner * 0.7 + 0.05 + size * 0.4, 0, 1)
            scores[k] = rng.random(scores[k].shape) ** 6
        return boxes, scores


def perfect_predictor(samples: Sequence[Sample], image_size: tuple[int, int]) -> Any:
    """Return a predict function that knows the answers of images resized as the pipeline does."""
    import cv2

    from data_tools.augment.render import resize
    from data_tools.images.decode import decode_bgr

    known = {}
    label_of = {c.category_id: c.label for c in CLASSES}
    for s in samples:
        image = decode_bgr(np.frombuffer(s.read_bytes(), np.uint8))
        assert image is not None
        pixels = cv2.cvtColor(resize(image, image_size), cv2.COLOR_BGR2RGB).transpose(2, 0, 1)
        known[pixels.tobytes()] = s

    def predict(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        boxes = np.zeros((len(images), 40, 4), np.float32)
        scores = np.zeros((len(images), 40, len(CLASSES) + 1), np.float32)
        for k, image in enumerate(images):
            s = known.get(image.tobytes())
            if s is None:
                continue
            size = np.array([s.height, s.width, s.height, s.width])
            kept = np.flatnonzero(~s.iscrowd)
            boxes[k, : len(kept)] = s.boxes_yxyx_px[kept] / size
            for place, j in enumerate(kept):
                scores[k, place, label_of[int(s.category_ids[j])]] = 0.9 - 0.001 * place
        return boxes, scores

    return predict


def loop_nms(boxes: np.ndarray, limit: float, offset: float, most: int | None) -> list[int]:
    """The textbook loop over boxes sorted best first; the oracle for `nms`."""
    areas = (boxes[:, 2] - boxes[:, 0] + offset) * (boxes[:, 3] - boxes[:, 1] + offset)
    left, picked = list(range(len(boxes))), []
    while left:
        best = left.pop(0)
        picked.append(best)
        if most is not None and len(picked) >= most:
            break
        stay = []
        for k in left:
            size = np.minimum(boxes[best, 2:], boxes[k, 2:]) - np.maximum(
                boxes[best, :2], boxes[k, :2]
            )
            shared = max(0.0, size[1] + offset) * max(0.0, size[0] + offset)
            union = areas[best] + areas[k] - shared
            if not (union > 0 and shared / union > limit):
                stay.append(k)
        left = stay
    return picked


def fill_like_golden(network: Any) -> None:
    """Give a network the weights that the golden files were made with (seed 0)."""
    import mindspore as ms

    for parameter in network.get_parameters():
        name, shape = f"network.{parameter.name}", tuple(parameter.shape)
        z = np.random.default_rng(zlib.crc32(name.encode())).standard_normal(shape)
        z = z.astype(np.float32)
        if name.endswith("gamma"):
            z = 1 + 0.1 * z
        elif name.endswith("moving_variance"):
            z = 1 + 0.1 * np.abs(z)
        elif name.endswith(("beta", "moving_mean", "bias")):
            z = 0.1 * z
        else:
            z = z * np.sqrt(1 / (np.prod(shape[1:]) if len(shape) > 1 else 1))
        parameter.set_data(ms.Tensor(z.astype(np.float32)))
