"""Builders of raw data sets for the tests: pictures, COCO, VOC, and a set with one of every
defect.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from data_tools.convert.settings import ConvertSettings
from data_tools.sources.settings import DatasetSettings, SplitSettings


def picture(height: int, width: int, seed: int = 0) -> np.ndarray:
    """A smooth coloured picture, (height, width, 3) uint8 BGR, different for each seed."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (4, 5, 3)).astype(np.uint8)
    return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)


def jpeg(height: int, width: int, seed: int = 0, quality: int = 90) -> bytes:
    done, encoded = cv2.imencode(
        ".jpg", picture(height, width, seed), [cv2.IMWRITE_JPEG_QUALITY, quality]
    )
    assert done
    return bytes(encoded.tobytes())


def with_orientation(data: bytes, orientation: int) -> bytes:
    """Put an EXIF block with an orientation into a JPEG."""
    tiff = b"II*\0" + (8).to_bytes(4, "little") + (1).to_bytes(2, "little")
    tiff += (0x0112).to_bytes(2, "little") + (3).to_bytes(2, "little") + (1).to_bytes(4, "little")
    tiff += orientation.to_bytes(4, "little") + bytes(4)
    body = b"Exif\0\0" + tiff
    return data[:2] + b"\xff\xe1" + (len(body) + 2).to_bytes(2, "big") + body + data[2:]


def image_entry(number: int, height: int = 40, width: int = 60, **more: Any) -> dict[str, Any]:
    name = f"{number:06d}.jpg"
    return {"id": number, "file_name": name, "height": height, "width": width, **more}


def box_entry(
    number: int, image: int, bbox: list[float], category: int = 1, **more: Any
) -> dict[str, Any]:
    area = bbox[2] * bbox[3] if len(bbox) == 4 else 1.0
    entry = {"id": number, "image_id": image, "category_id": category, "bbox": bbox}
    return {**entry, "area": area, "iscrowd": 0, **more}


CATEGORIES = [{"id": 1, "name": "cat"}, {"id": 3, "name": "dog"}, {"id": 7, "name": "big bird"}]


def write_coco(
    root: Path,
    images: list[dict[str, Any]],
    annotations: list[dict[str, Any]],
    categories: list[dict[str, Any]] | None = None,
    *,
    split: str = "train",
    pictures: bool = True,
) -> None:
    """Write a split in COCO layout: `<split>.json` and the pictures in `images/`."""
    folder = root / "images"
    folder.mkdir(parents=True, exist_ok=True)
    if pictures:
        for entry in images:
            data = jpeg(entry["height"], entry["width"], entry["id"])
            (folder / entry["file_name"]).write_bytes(data)
    content = {
        "images": images,
        "annotations": annotations,
        "categories": CATEGORIES if categories is None else categories,
    }
    (root / f"{split}.json").write_text(json.dumps(content), encoding="utf-8")


def write_plain_coco(root: Path, count: int = 12, split: str = "train", first: int = 1) -> None:
    """A split without defects: image k has k % 4 boxes, every fifth box is a crowd."""
    images, boxes = [], []
    for number in range(first, first + count):
        images.append(image_entry(number, 40 + number, 60 + 2 * number))
        for k in range(number % 4):
            index = len(boxes) + 1
            bbox = [1.25 + k, 2.5, 10.75 + number, 20.125]
            category = CATEGORIES[index % 3]["id"]
            boxes.append(
                box_entry(index, number, bbox, int(str(category)), iscrowd=int(index % 5 == 0))
            )
    write_coco(root, images, boxes, split=split)


def coco_settings(root: Path, out: Path | str = "", **more: Any) -> ConvertSettings:
    """Settings for what `write_coco` writes; `dataset_...` keys go to the data set."""
    dataset = {k[8:]: more.pop(k) for k in list(more) if k.startswith("dataset_")}
    splits = dataset.pop(
        "splits", {"train": SplitSettings(annotations="train.json", images="images")}
    )
    return ConvertSettings(
        dataset=DatasetSettings(kind="coco", root=str(root), splits=splits, **dataset),
        out=str(out),
        **more,
    )


def voc_xml(
    objects: list[tuple[str, tuple[float, float, float, float]]],
    height: int = 40,
    width: int = 60,
    filename: str = "",
    difficult: int = 0,
) -> str:
    """An XML file of Pascal VOC: objects are (name, (xmin, ymin, xmax, ymax))."""
    text = f"<annotation><filename>{filename}</filename><size><width>{width}</width>"
    text += f"<height>{height}</height><depth>3</depth></size>"
    for name, (x1, y1, x2, y2) in objects:
        text += f"<object><name>{name}</name><difficult>{difficult}</difficult><bndbox>"
        text += f"<xmin>{x1}</xmin><ymin>{y1}</ymin><xmax>{x2}</xmax><ymax>{y2}</ymax>"
        text += "</bndbox></object>"
    return text + "</annotation>"


def tree_bytes(folder: Path) -> dict[str, bytes]:
    """Every file below a folder, by its relative name."""
    return {
        p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()
    }


def pathological(root: Path) -> None:
    """A set with at least one of every defect that COCO's layout can have, and three good
    images.
    """
    images = [image_entry(n) for n in (1, 2, 3)]
    good = [box_entry(k, 1 + k % 3, [5, 6, 20.5, 10]) for k in range(1, 7)]
    images += [
        image_entry(4),  # missing
        image_entry(5),  # no picture
        image_entry(6),  # cut short
        image_entry(7, 80, 90),  # another size than the file
        {**image_entry(8), "file_name": "../secret.jpg"},
        {**image_entry(3), "file_name": "000009.jpg"},  # id used before
        {**image_entry(10), "file_name": "000001.jpg"},  # file used before
        {"id": 11},  # no file name
        {**image_entry(12), "file_name": "folder"},
    ]
    nan = float("nan")
    bad = [
        box_entry(20, 99, [1, 1, 5, 5]),  # no such image
        box_entry(21, 1, [1, 1, 5, 5], 42),  # no such category
        box_entry(1, 1, [1, 1, 5, 5]),  # id used before
        box_entry(22, 1, [1, 1, 5]),  # three numbers
        box_entry(23, 1, [1, nan, 5, 5]),
        box_entry(24, 1, [1, 1, 0, 5]),  # zero width
        box_entry(25, 1, [30, 30, -5, 5]),  # negative width
        box_entry(26, 2, [50, 30, 20, 20]),  # sticks out to the right and below
        box_entry(27, 2, [-10, -10, 5, 5]),  # wholly outside
        {"id": 28, "category_id": 1, "bbox": [1, 1, 5, 5]},  # of no image
    ]
    write_coco(root, images, good + bad, pictures=False)
    pictures = root / "images"
    for number in (1, 2, 3, 7, 9, 12):
        (pictures / f"{number:06d}.jpg").write_bytes(jpeg(40, 60, number))
    (pictures / "000005.jpg").write_text("<html>not found</html>")
    (pictures / "000006.jpg").write_bytes(jpeg(40, 60, 6)[:700])
    (pictures / "folder").mkdir()
    (root / "secret.jpg").write_bytes(jpeg(40, 60))


EXPECTED_REPORT = {
    "malformed_entry": {"skip": 2},
    "duplicate_image_id": {"skip": 1},
    "duplicate_file": {"keep": 1},
    "path_escape": {"skip": 1},
    "missing_image": {"skip": 2},
    "undecodable_image": {"skip": 2},
    "size_mismatch": {"skip": 1},
    "unknown_image": {"skip": 1},
    "unknown_category": {"skip": 1},
    "duplicate_annotation_id": {"skip": 1},
    "malformed_box": {"skip": 1},
    "box_not_finite": {"skip": 1},
    "box_degenerate": {"skip": 2},
    "box_outside": {"clip": 1, "skip": 1},
    "duplicate_box": {"keep": 3},
}
"""What a report says of the pathological set, written by hand: kind -> what was done."""
