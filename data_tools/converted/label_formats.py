"""Writes pictures with boxes as COCO, YOLO, Pascal VOC or LabelMe have them.

Where the pictures come from is the matter of `data_tools/converted/unpack.py`; reading these
formats is that of `data_tools/sources/`.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any, TextIO

from data_tools.core.sample import ClassInfo, Sample


@dataclass(frozen=True)
class Unpacked:
    """One picture.

    Args:
        name: File name, with `/` between its parts; the stem is unique in its split.
        data: The encoded picture.
        sample: Its boxes.
        classes: For each box the number of its class, from 0.
    """

    name: str
    data: bytes
    sample: Sample
    classes: list[int]

    @property
    def stem(self) -> str:
        """The file name without its ending."""
        return self.name.rpartition(".")[0]


class LabelWriter:
    """Writes one split; `add` each picture, then `close`."""

    holds_crowd = False
    holds_difficult = False

    def __init__(self, out: Path, split: str, classes: Sequence[ClassInfo]) -> None:
        self._out, self._split, self._classes = out, split, classes
        self.changed: Counter[str] = Counter()
        """What the format could not hold as it is, in words -> how often."""

    def file_name(self, name: str) -> str:
        """Return what a picture is to be called, where the format's tools cannot do with its name.

        Args:
            name: File name, with `/` between its parts.
        """
        return name

    def add(self, picture: Unpacked) -> None:
        """Write one picture and its labels."""
        raise NotImplementedError

    def close(self) -> None:
        """Write what stands once for a split."""

    def _write(self, name: str, data: bytes | str) -> None:
        path = self._out / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data.encode() if isinstance(data, str) else data)


class _Coco(LabelWriter):
    """`SPLIT/` with the pictures and `annotations/instances_SPLIT.json`."""

    holds_crowd = holds_difficult = True

    def __init__(self, out: Path, split: str, classes: Sequence[ClassInfo]) -> None:
        super().__init__(out, split, classes)
        self._images: list[dict[str, Any]] = []
        self._boxes: list[dict[str, Any]] = []

    def add(self, picture: Unpacked) -> None:
        self._write(f"{self._split}/{picture.name}", picture.data)
        sample = picture.sample
        size = {"height": sample.height, "width": sample.width}
        self._images.append({"id": sample.image_id, "file_name": picture.name, **size})
        for k, (y1, x1, y2, x2) in enumerate(sample.boxes_yxyx_px.tolist()):
            entry: dict[str, Any] = {
                "id": int(sample.annotation_ids[k]),
                "image_id": sample.image_id,
                "category_id": int(sample.category_ids[k]),
                "bbox": [x1, y1, x2 - x1, y2 - y1],
                "area": float(sample.areas_px[k]),
                "iscrowd": int(sample.iscrowd[k]),
            }
            if sample.difficult[k]:
                entry["ignore"] = 1
            self._boxes.append(entry)

    def close(self) -> None:
        categories = [{"id": c.category_id, "name": c.name} for c in self._classes]
        content = {"images": self._images, "annotations": self._boxes, "categories": categories}
        path = self._out / "annotations" / f"instances_{self._split}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(path, "w", encoding="utf-8") as file:
            json.dump(content, file, separators=(",", ":"))


class _Yolo(LabelWriter):
    """`images/SPLIT/` and `labels/SPLIT/`; `finish_set` adds data.yaml."""

    def file_name(self, name: str) -> str:
        # YOLO's tools look for the labels where `labels` stands for the last `images` of a path.
        folder, slash, base = name.rpartition("/")
        return "/".join(map(_no_images, folder.split("/"))) + slash + base

    def add(self, picture: Unpacked) -> None:
        sample, split = picture.sample, _no_images(self._split)
        self._write(f"images/{split}/{picture.name}", picture.data)
        lines = []
        for number, (y1, x1, y2, x2) in zip(
            picture.classes, sample.boxes_yxyx_px.tolist(), strict=True
        ):
            cx, cy = (x1 + x2) / 2 / sample.width, (y1 + y2) / 2 / sample.height
            lines.append(
                f"{number} {cx!r} {cy!r} {(x2 - x1) / sample.width!r} "
                f"{(y2 - y1) / sample.height!r}\n"
            )
        self._write(f"labels/{split}/{picture.stem}.txt", "".join(lines))


def _no_images(folder: str) -> str:
    return "images_" if folder == "images" else folder


_A_PIXEL = 1 + 1e-7
"""VOC's xmin and xmax are the first and the last pixel, so a box of one pixel has them equal, and
readers, ours as well, take that for a box without area: it is written this wide.
"""

_SAME_PX = 1e-6


def _a_pixel_or_more(start: float, end: float, side: int) -> tuple[float, float]:
    """Widen an interval of less than a pixel to one, about its middle and within its picture.

    Args:
        start: Where it begins, in pixels from 0.
        end: Where it ends.
        side: The side of the picture in pixels.
    """
    missing = _A_PIXEL - (end - start)
    if missing <= 0:
        return start, end
    if missing > 2 * _SAME_PX:  # else the first pixel stays a whole number where it is one
        start = max(min(start - missing / 2, side - 1.0), 0.0)
    return start, start + _A_PIXEL


class _Voc(LabelWriter):
    """`SPLIT/` with an XML file next to each picture; pixels count from 1."""

    holds_difficult = True

    def add(self, picture: Unpacked) -> None:
        sample = picture.sample
        self._write(f"{self._split}/{picture.name}", picture.data)
        base = escape(picture.name.rsplit("/", 1)[-1])
        text = f"<annotation>\n<folder>{self._split}</folder>\n<filename>{base}</filename>\n"
        text += f"<size><width>{sample.width}</width><height>{sample.height}</height>"
        text += "<depth>3</depth></size>\n"
        for k, (y1, x1, y2, x2) in enumerate(sample.boxes_yxyx_px.tolist()):
            name = escape(self._classes[picture.classes[k]].name)
            if min(y2 - y1, x2 - x1) < 1 - _SAME_PX:
                self.changed["narrower than a pixel; they are made a pixel wide"] += 1
            y1, y2 = _a_pixel_or_more(y1, y2, sample.height)
            x1, x2 = _a_pixel_or_more(x1, x2, sample.width)
            text += f"<object><name>{name}</name><difficult>{int(sample.difficult[k])}</difficult>"
            text += f"<bndbox><xmin>{x1 + 1!r}</xmin><ymin>{y1 + 1!r}</ymin>"
            text += f"<xmax>{x2!r}</xmax><ymax>{y2!r}</ymax></bndbox></object>\n"
        self._write(f"{self._split}/{picture.stem}.xml", text + "</annotation>\n")


class _LabelMe(LabelWriter):
    """`SPLIT/` with a JSON file next to each picture."""

    def add(self, picture: Unpacked) -> None:
        sample = picture.sample
        self._write(f"{self._split}/{picture.name}", picture.data)
        shapes: list[dict[str, Any]] = [
            {
                "label": self._classes[number].name,
                "points": [[x1, y1], [x2, y2]],
                "group_id": None,
                "shape_type": "rectangle",
                "flags": {},
            }
            for number, (y1, x1, y2, x2) in zip(
                picture.classes, sample.boxes_yxyx_px.tolist(), strict=True
            )
        ]
        content: dict[str, Any] = {
            "version": "5.0.0",
            "flags": {},
            "shapes": shapes,
            "imagePath": picture.name.rsplit("/", 1)[-1],
            "imageData": None,
            "imageHeight": sample.height,
            "imageWidth": sample.width,
        }
        self._write(
            f"{self._split}/{picture.stem}.json", json.dumps(content, ensure_ascii=False, indent=1)
        )


WRITERS: dict[str, type[LabelWriter]] = {
    "coco": _Coco,
    "yolo": _Yolo,
    "voc": _Voc,
    "labelme": _LabelMe,
}


def finish_set(out: Path, form: str, splits: Sequence[str], names: Sequence[str]) -> None:
    """Write what stands once for a whole set: YOLO's data.yaml.

    Args:
        out: The folder of the unpacked set.
        form: A key of `WRITERS`.
        splits: Names of the splits.
        names: Class names in the order of their labels.
    """
    if form != "yolo":
        return
    with open(out / "data.yaml", "w", encoding="utf-8") as file:
        _write_data_yaml(file, splits, names)


def _write_data_yaml(file: TextIO, splits: Sequence[str], names: Sequence[str]) -> None:
    for split in splits:
        file.write(f"{split}: images/{_no_images(split)}\n")
    file.write(f"nc: {len(names)}\nnames:\n")
    for number, name in enumerate(names):
        # A text in JSON is one in YAML as well, whatever signs it has.
        file.write(f"  {number}: {json.dumps(name, ensure_ascii=False)}\n")
