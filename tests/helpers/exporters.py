"""One truth written in the formats of many tools: pictures with named boxes in pixels, edges from
0.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.helpers.raw_sets import jpeg

WIDTH, HEIGHT = 80, 60
NAMES = ["big bird", "cat"]
TRUTH: dict[str, list[tuple[str, tuple[int, int, int, int]]]] = {
    "a 1": [("cat", (10, 5, 40, 30)), ("big bird", (0, 0, 80, 60))],
    "b": [("cat", (1, 2, 3, 4))],
    "ü": [("big bird", (33, 7, 66, 51))],
}
"""Picture -> boxes: class, x1, y1, x2, y2."""


def pictures(folder: Path, suffix: str = ".jpg") -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for k, name in enumerate(TRUTH):
        (folder / f"{name}{suffix}").write_bytes(jpeg(HEIGHT, WIDTH, k))


def _text(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def coco(root: Path) -> None:
    pictures(root / "train")
    images = [
        {"id": k, "file_name": f"{n}.jpg", "width": WIDTH, "height": HEIGHT}
        for k, n in enumerate(TRUTH)
    ]
    boxes = [
        {
            "id": 10 * k + j,
            "image_id": k,
            "category_id": NAMES.index(name) + 1,
            "bbox": [x1, y1, x2 - x1, y2 - y1],
            "area": (x2 - x1) * (y2 - y1),
            "iscrowd": 0,
        }
        for k, n in enumerate(TRUTH)
        for j, (name, (x1, y1, x2, y2)) in enumerate(TRUTH[n], 1)
    ]
    categories = [{"id": k, "name": name, "supercategory": "x"} for k, name in enumerate(NAMES, 1)]
    content = {"images": images, "annotations": boxes, "categories": categories}
    _text(root / "train/_annotations.coco.json", json.dumps(content))


def _yolo_lines(name: str) -> str:
    lines = [
        f"{NAMES.index(n)} {(x1 + x2) / 2 / WIDTH:.10f} {(y1 + y2) / 2 / HEIGHT:.10f} "
        f"{(x2 - x1) / WIDTH:.10f} {(y2 - y1) / HEIGHT:.10f}"
        for n, (x1, y1, x2, y2) in TRUTH[name]
    ]
    return "\r\n".join(lines) + "\r\n"


def yolo(root: Path) -> None:
    pictures(root / "train/images")
    for name in TRUTH:
        _text(root / f"train/labels/{name}.txt", _yolo_lines(name))
    _text(root / "data.yaml", "train: ../train/images\nnc: 2\nnames: ['big bird', 'cat']\n")


def darknet(root: Path) -> None:
    pictures(root / "obj_train_data")
    for name in TRUTH:
        _text(root / f"obj_train_data/{name}.txt", _yolo_lines(name))
    _text(root / "obj.names", "\n".join(NAMES) + "\n")
    _text(root / "train.txt", "".join(f"data/obj_train_data/{n}.jpg\n" for n in TRUTH))
    _text(
        root / "obj.data",
        "classes = 2\ntrain = data/train.txt\nnames = data/obj.names\nbackup = backup/\n",
    )


def voc(root: Path) -> None:
    pictures(root / "train")
    for name, boxes in TRUTH.items():
        objects = "".join(
            f"<object><name>{n}</name><bndbox><xmin>{x1 + 1}</xmin><ymin>{y1 + 1}</ymin>"
            f"<xmax>{x2}</xmax><ymax>{y2}</ymax></bndbox></object>"
            for n, (x1, y1, x2, y2) in boxes
        )
        _text(
            root / f"train/{name}.xml",
            f"<annotation><filename>{name}.jpg</filename><size><width>{WIDTH}</width>"
            f"<height>{HEIGHT}</height><depth>3</depth></size>{objects}</annotation>",
        )


def labelme(root: Path) -> None:
    pictures(root / "images")
    for name, boxes in TRUTH.items():
        shapes = [
            {
                "label": n,
                "points": [[x2, y1], [x1, y2]],
                "group_id": None,
                "shape_type": "rectangle",
                "flags": {},
            }
            for n, (x1, y1, x2, y2) in boxes
        ]
        content = {
            "version": "5.4.1",
            "flags": {},
            "shapes": shapes,
            "imagePath": f"..\\images\\{name}.jpg",
            "imageData": None,
            "imageHeight": HEIGHT,
            "imageWidth": WIDTH,
        }
        _text(root / f"labels/{name}.json", json.dumps(content, indent=2))


def cvat(root: Path) -> None:
    pictures(root / "images")
    images = "".join(
        f'<image id="{k}" name="{n}.jpg" width="{WIDTH}" height="{HEIGHT}">'
        + "".join(
            f'<box label="{c}" source="manual" occluded="0" xtl="{x1}.00" ytl="{y1}.00" '
            f'xbr="{x2}.00" ybr="{y2}.00" z_order="0"><attribute name="q">1</attribute></box>'
            for c, (x1, y1, x2, y2) in TRUTH[n]
        )
        + "</image>"
        for k, n in enumerate(TRUTH)
    )
    head = '<?xml version="1.0" encoding="utf-8"?><annotations><version>1.1</version><meta/>'
    _text(root / "annotations.xml", f"{head}{images}</annotations>")


def cvat_video(root: Path) -> None:
    pictures(root / "images")
    frames = {n: k for k, n in enumerate(TRUTH)}
    for name, frame in frames.items():
        (root / f"images/{name}.jpg").rename(root / f"images/frame_{frame:06d}.jpg")
    tracks = "".join(
        f'<track id="{k}" label="{c}"><box frame="{frames[n]}" outside="0" keyframe="1" xtl="{x1}" '
        f'ytl="{y1}" xbr="{x2}" ybr="{y2}"/><box frame="{(frames[n] + 1) % 3}" outside="1" xtl="0" '
        'ytl="0" xbr="9" ybr="9"/></track>'
        for n in TRUTH
        for k, (c, (x1, y1, x2, y2)) in enumerate(TRUTH[n])
    )
    size = f"<original_size><width>{WIDTH}</width><height>{HEIGHT}</height></original_size>"
    _text(root / "annotations.xml", f"<annotations><meta>{size}</meta>{tracks}</annotations>")


def _region(name: str, box: tuple[int, int, int, int]) -> dict[str, Any]:
    x1, y1, x2, y2 = box
    value = {
        "x": 100 * x1 / WIDTH,
        "y": 100 * y1 / HEIGHT,
        "width": 100 * (x2 - x1) / WIDTH,
        "height": 100 * (y2 - y1) / HEIGHT,
        "rotation": 0,
        "rectanglelabels": [name],
    }
    sizes = {"original_width": WIDTH, "original_height": HEIGHT, "image_rotation": 0}
    return {**sizes, "type": "rectanglelabels", "value": value}


def label_studio(root: Path) -> None:
    pictures(root / "images")
    names = {
        "a 1": "/data/upload/1/0f1e2d3c-a%201.jpg",
        "b": "/data/local-files/?d=set/images/b.jpg",
    }
    tasks = [
        {
            "id": k,
            "data": {"image": names.get(n, f"s3://bucket/{n}.jpg")},
            "annotations": [{"id": k, "result": [_region(c, box) for c, box in TRUTH[n]]}],
            "predictions": [],
        }
        for k, n in enumerate(TRUTH)
    ]
    _text(root / "export.json", json.dumps(tasks))


def label_studio_min(root: Path) -> None:
    pictures(root / "images")
    tasks = []
    for n, boxes in TRUTH.items():
        labels = []
        for c, box in boxes:
            region = _region(c, box)
            labels.append({**region.pop("value"), **region})
        tasks.append({"image": f"/data/upload/3/01234567-{n}.jpg", "id": 1, "label": labels})
    _text(root / "export.json", json.dumps(tasks))


def open_images(root: Path) -> None:
    pictures(root / "train")
    head = (
        "ImageID,Source,LabelName,Confidence,XMin,XMax,YMin,YMax,IsOccluded,IsTruncated,IsGroupOf\n"
    )
    rows = [
        f"{n},xclick,/m/{NAMES.index(c)},1,{x1 / WIDTH:.8f},{x2 / WIDTH:.8f},{y1 / HEIGHT:.8f},"
        f"{y2 / HEIGHT:.8f},0,0,0\n"
        for n in TRUTH
        for c, (x1, y1, x2, y2) in TRUTH[n]
    ]
    _text(root / "train-annotations-bbox.csv", head + "".join(rows))
    _text(
        root / "class-descriptions-boxable.csv",
        "".join(f"/m/{k},{name}\n" for k, name in enumerate(NAMES)),
    )


def csv_named(root: Path) -> None:
    pictures(root / "images")
    rows = [
        f"C:\\set\\{n}.jpg;{WIDTH};{HEIGHT};{c};{x1},0;{y1},0;{x2},0;{y2},0\r\n"
        for n in TRUTH
        for c, (x1, y1, x2, y2) in TRUTH[n]
    ]
    head = "\ufefffilename;width;height;class;xmin;ymin;xmax;ymax\r\n"
    _text(root / "annotations.csv", head + "".join(rows))


def csv_bare(root: Path) -> None:
    pictures(root / "images")
    rows = [
        f"images/{n}.jpg,{x1},{y1},{x2},{y2},{c}\n"
        for n in TRUTH
        for c, (x1, y1, x2, y2) in TRUTH[n]
    ]
    _text(root / "annotations.csv", "".join(rows))


def kitti(root: Path) -> None:
    pictures(root / "image_2")
    for n, boxes in TRUTH.items():
        rows = [
            f"{c} 0.00 0 -1.57 {x1}.00 {y1}.00 {x2}.00 {y2}.00 1.5 1.6 3.7 1.8 1.5 8.4 -1.5\n"
            for c, (x1, y1, x2, y2) in boxes
        ]
        rest = "DontCare -1 -1 -10 3.0 3.0 9.0 9.0 -1 -1 -1 -1000 -1000 -1000 -10\n"
        _text(root / f"label_2/{n}.txt", "".join(rows) + rest)


EXPORTERS: dict[str, Callable[[Path], None]] = {
    f.__name__: f
    for f in (
        *(coco, yolo, darknet, voc, labelme, cvat, cvat_video, label_studio, label_studio_min),
        *(open_images, csv_named, csv_bare, kitti),
    )
}
