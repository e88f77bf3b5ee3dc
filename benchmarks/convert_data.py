"""The raw data sets that `benchmarks/convert.py` converts: photographs in COCO layout, and one of
COCO's size.

Measuring is in `convert.py`.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from benchmarks.photographs import photograph

_DISTINCT = 40
"""Distinct pictures; the other files are copies under other names."""


def make_photographs(folder: Path, count: int, boxes_per_image: float = 7.3) -> int:
    """Write `count` JPEG files of a COCO photograph's size, with annotations; returns their
    bytes.
    """
    images = folder / "images"
    images.mkdir(parents=True)
    rng = np.random.default_rng(0)
    sizes = [(480, 640), (427, 640), (640, 480)]
    made = []
    for index in range(min(_DISTINCT, count)):
        height, width = sizes[index % len(sizes)]
        picture = photograph(rng, height, width)
        data = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, 92])[1].tobytes()
        made.append((data, height, width))
    total = 0
    listed: list[dict[str, Any]] = []
    entries: list[dict[str, Any]] = []
    for index in range(count):
        data, height, width = made[index % len(made)]
        name = f"{index:012d}.jpg"
        (images / name).write_bytes(data)
        total += len(data)
        listed.append({"id": index, "file_name": name, "height": height, "width": width})
        for _ in range(int(rng.poisson(boxes_per_image))):
            entries.append(_box(rng, len(entries) + 1, index))
    content = {"images": listed, "annotations": entries, "categories": categories()}
    (folder / "annotations.json").write_text(json.dumps(content))
    return total


def _box(rng: np.random.Generator, number: int, image: int) -> dict[str, Any]:
    x, y, w, h = (round(float(v), 2) for v in (*rng.random(2) * 300, *(5 + rng.random(2) * 150)))
    return {
        "id": number,
        "image_id": image,
        "category_id": int(rng.integers(1, 81)),
        "bbox": [x, y, w, h],
        "area": round(w * h, 3),
        "iscrowd": 0,
    }


def categories() -> list[dict[str, Any]]:
    """Eighty classes."""
    return [{"id": k, "name": f"class {k}"} for k in range(1, 81)]


def make_large(folder: Path, images: int, boxes: int) -> None:
    """Write annotations of COCO's size with outlines, and hard links to one small picture as
    images.
    """
    (folder / "images").mkdir(parents=True)
    picture = folder / "picture.jpg"
    rng = np.random.default_rng(1)
    pixels = cv2.resize(rng.integers(0, 256, (12, 16, 3)).astype(np.uint8), (640, 480))
    cv2.imwrite(str(picture), pixels)
    owners = np.sort(rng.integers(0, images, boxes))
    numbers = (rng.random((boxes, 4)) * 200 + 1).round(2)
    outline = [round(v, 2) for v in np.linspace(0.01, 639.9, 60).tolist()]
    with open(folder / "annotations.json", "w", encoding="utf-8") as file:
        file.write('{"images":[')
        for index in range(images):
            name = f"{index:012d}.jpg"
            _link(picture, folder / "images" / name)
            entry = {"id": index, "file_name": name, "height": 480, "width": 640}
            file.write(("," if index else "") + json.dumps(entry))
        file.write('],"annotations":[')
        for k in range(boxes):
            box = numbers[k].tolist()
            entry = {
                "segmentation": [outline],
                "id": k + 1,
                "image_id": int(owners[k]),
                "category_id": k % 80 + 1,
                "bbox": box,
                "area": round(0.6 * box[2] * box[3], 2),
                "iscrowd": 0,
            }
            file.write(("," if k else "") + json.dumps(entry))
        file.write('],"categories":' + json.dumps(categories()) + "}")


def _link(source: Path, target: Path) -> None:
    # File systems allow a file a limited number of names (ext4: 65,000).
    try:
        os.link(source, target)
    except OSError:
        target.write_bytes(source.read_bytes())
