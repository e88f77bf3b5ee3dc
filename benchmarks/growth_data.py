"""The data sets that `benchmarks/growth.py` grows: tiny JPEGs that all differ, boxes and detections
from a seed.

Written piece by piece, so that a set of COCO's size costs seconds and no memory.
"""

from __future__ import annotations

import struct
from pathlib import Path

import cv2
import numpy as np

HEIGHT, WIDTH = 48, 64
_PIECE = 2000
"""Images written at a time."""


def write_raw(folder: Path, images: int, boxes: int, classes: int) -> None:
    """Write a set in COCO's layout: `images` and `annotations.json`.

    Args:
        folder: Made here.
        images: Pictures; each is the same one with its number in a comment, so no two are equal.
        boxes: Boxes of each.
        classes: Classes; boxes take them in turn.
    """
    (folder / "images").mkdir(parents=True)
    rng = np.random.default_rng(0)
    pixels = cv2.resize(rng.integers(0, 256, (3, 4, 3)).astype(np.uint8), (WIDTH, HEIGHT))
    jpeg = cv2.imencode(".jpg", pixels)[1].tobytes()
    for number in range(images):
        comment = struct.pack(">HHQ", 0xFFFE, 10, number)
        (folder / "images" / _name(number)).write_bytes(jpeg[:2] + comment + jpeg[2:])
    with open(folder / "annotations.json", "w", encoding="utf-8") as file:
        file.write('{"images":[')
        for number in range(images):
            file.write(
                f'{"," if number else ""}{{"id":{number},"file_name":"{_name(number)}",'
                f'"height":{HEIGHT},"width":{WIDTH}}}'
            )
        file.write('],"annotations":[')
        for first in range(0, images, _PIECE):
            drawn = _boxes(rng, min(_PIECE, images - first) * boxes).tolist()
            for k, (x, y, w, h) in enumerate(drawn, first * boxes):
                file.write(
                    f'{"," if k else ""}{{"id":{k + 1},"image_id":{k // boxes},"category_id":'
                    f'{k % classes + 1},"bbox":[{x},{y},{w},{h}],"area":{w * h:.2f},"iscrowd":0}}'
                )
        listed = ",".join(f'{{"id":{k},"name":"class {k}"}}' for k in range(1, classes + 1))
        file.write(f'],"categories":[{listed}]}}')


def write_detections(path: Path, images: int, each: int, classes: int) -> None:
    """Write COCO results: `each` detections of every image of `write_raw`, classes in turn."""
    rng = np.random.default_rng(1)
    with open(path, "w", encoding="utf-8") as file:
        file.write("[")
        for first in range(0, images, _PIECE):
            count = min(_PIECE, images - first) * each
            scores = rng.random(count).round(4).tolist()
            for k, ((x, y, w, h), score) in enumerate(
                zip(_boxes(rng, count).tolist(), scores, strict=True), first * each
            ):
                file.write(
                    f'{"," if k else ""}{{"image_id":{k // each},"category_id":{k % classes + 1},'
                    f'"bbox":[{x},{y},{w},{h}],"score":{score}}}'
                )
        file.write("]")


def _name(number: int) -> str:
    return f"{number:012d}.jpg"


def _boxes(rng: np.random.Generator, count: int) -> np.ndarray:
    """Boxes (count, 4), `[x, y, w, h]` in pixels, inside the picture."""
    sides = 4 + rng.random((count, 2)) * [WIDTH - 5, HEIGHT - 5]
    corners = rng.random((count, 2)) * ([WIDTH, HEIGHT] - sides)
    return np.concatenate([corners, sides], axis=1).round(2)
