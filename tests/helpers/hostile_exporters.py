"""One hostile truth, written as the tools write it that export it: names with blanks, signs and
other alphabets, boxes at the border, a picture on its end and one without boxes.
"""

from __future__ import annotations

import base64
import csv
import io
import json
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote
from xml.sax.saxutils import escape, quoteattr

from data_tools.convert.settings import ConvertSettings
from data_tools.sources.data_yaml import with_data_yaml
from data_tools.sources.raw_split import RawDataset
from data_tools.sources.read import read_source
from data_tools.sources.recognise import recognised
from data_tools.sources.settings import LOOKING_KINDS, DatasetSettings
from tests.helpers.raw_sets import jpeg
from training.command_line.configure import compose

CLASSES = ["traffic light", "Füchse", "猫", "driver's cab", "chair, wooden", "R&D <x>"]
_FILES = ["img 01 (copy).jpg", "Größe.jpg", "猫 2.jpg", "100%.jpg", "a#b.jpg", "UPPER.JPG"]
_FILES += ["x.y.z.jpg", "it's.jpeg", "a+b&c.jpg", "b.jpg", "portrait.jpg", "empty.jpg"]
EMPTY, PORTRAIT = "empty.jpg", "portrait.jpg"
WIDTH, HEIGHT = 131, 97

Box = tuple[str, int, int, int, int]
"""Class, x1, y1, x2, y2: pixels, edges from 0."""


def _truth() -> dict[str, list[Box]]:
    rng = random.Random(7)
    truth: dict[str, list[Box]] = {}
    for k, name in enumerate(_FILES):
        width, height = size_of(name)
        # The whole picture, two pixels in each far corner; then any.
        boxes: list[Box] = [(CLASSES[k % 6], 0, 0, width, height)] if k == 0 else []
        if k == 1:
            boxes = [(CLASSES[1], 0, 0, 2, 2), (CLASSES[2], width - 2, height - 2, width, height)]
        while name != EMPTY and len(boxes) < (4 if k < 7 else 3):
            x1, y1 = rng.randrange(width - 3), rng.randrange(height - 3)
            x2, y2 = rng.randrange(x1 + 2, width + 1), rng.randrange(y1 + 2, height + 1)
            boxes.append((CLASSES[rng.randrange(6)], x1, y1, x2, y2))
        truth[name] = boxes
    return truth


def size_of(name: str) -> tuple[int, int]:
    """Width and height of a picture."""
    return (HEIGHT, WIDTH) if name == PORTRAIT else (WIDTH, HEIGHT)


TRUTH = _truth()


@dataclass(frozen=True)
class Export:
    """A format: how it is written, how it is read by name, and what of the truth it can hold.

    Args:
        write: Writes the set into a folder.
        named: Words that name it, other than `dataset.root`.
        renamed: The truth's names -> those of the export; what it lacks is left out.
        silent: It says nothing of a picture without boxes.
    """

    write: Callable[[Path], None]
    named: list[str]
    renamed: dict[str, str] = field(default_factory=lambda: {name: name for name in _FILES})
    silent: bool = False


def _pictures(folder: Path, renamed: dict[str, str] | None = None) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for k, name in enumerate(_FILES):
        if renamed is None or name in renamed:
            width, height = size_of(name)
            (folder / (renamed or {}).get(name, name)).write_bytes(jpeg(height, width, k))


def _text(path: Path, text: str, encoding: str = "utf-8") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode(encoding))


def _stem(name: str) -> str:
    return name.rpartition(".")[0]


def _coco_json(names: dict[str, str], first: int, *, official: bool) -> dict[str, object]:
    images, boxes = [], []
    for k, (name, written) in enumerate(names.items()):
        width, height = size_of(name)
        image = {"id": 1000 * first + k, "file_name": written, "width": width, "height": height}
        images.append(
            {**image, "license": 1, "coco_url": f"http://images/{quote(written)}"}
            if official
            else {**image, "license": 1, "extra": {"name": name}}
        )
        for label, x1, y1, x2, y2 in TRUTH[name]:
            corners = [x1, y1, x2, y1, x2, y2, x1, y2]
            boxes.append(
                {
                    "id": 5000 * first + len(boxes), "image_id": image["id"],
                    "category_id": CLASSES.index(label) * 3 + 1, "iscrowd": 0,
                    "bbox": [float(x1), float(y1), float(x2 - x1), float(y2 - y1)],
                    "area": float((x2 - x1) * (y2 - y1)),
                    "segmentation": [corners] if official else [],
                }
            )  # fmt: skip
    categories = [
        {"id": 3 * k + 1, "name": name, "supercategory": "things"} for k, name in enumerate(CLASSES)
    ]
    if not official:  # Roboflow's first category is the name of the project.
        parent = {"id": 0, "name": "things", "supercategory": "none"}
        categories = [parent, *categories]
    return {"info": {"year": 2024}, "licenses": [{"id": 1}], "images": images,
            "annotations": boxes, "categories": categories}  # fmt: skip


def _halves() -> list[list[str]]:
    return [_FILES[:8], _FILES[8:]]


def coco(root: Path) -> None:
    for first, (split, names) in enumerate(zip(("train2017", "val2017"), _halves(), strict=True)):
        _pictures(root / split, {name: name for name in names})
        content = _coco_json({name: name for name in names}, first, official=True)
        _text(root / f"annotations/instances_{split}.json", json.dumps(content))
    _text(root / "annotations/captions_val2017.json", '{"images": [], "annotations": []}')


_ROBOFLOW = {
    n: f"{_stem(n).replace(' ', '-')}_{n.rpartition('.')[2]}.rf.{k:032x}.jpg"
    for k, n in enumerate(_FILES)
}


def roboflow_coco(root: Path) -> None:
    for first, (split, names) in enumerate(zip(("train", "valid"), _halves(), strict=True)):
        renamed = {name: _ROBOFLOW[name] for name in names}
        _pictures(root / split, renamed)
        content = _coco_json(renamed, first, official=False)
        _text(root / split / "_annotations.coco.json", json.dumps(content))
    _text(root / "README.roboflow.txt", "things - v1\n")


def _yolo_lines(name: str) -> str:
    width, height = size_of(name)
    return "".join(
        f"{CLASSES.index(c)} {(x1 + x2) / 2 / width:.6f} {(y1 + y2) / 2 / height:.6f} "
        f"{(x2 - x1) / width:.6f} {(y2 - y1) / height:.6f}\r\n"
        for c, x1, y1, x2, y2 in TRUTH[name]
    )


def _yaml_text(name: str) -> str:
    doubled = name.replace("'", "''")
    return f"'{doubled}'"


def yolo(root: Path) -> None:
    for split, names in zip(("train", "val"), _halves(), strict=True):
        _pictures(root / "images" / split, {name: name for name in names})
        for name in names:
            _text(root / f"labels/{split}/{_stem(name)}.txt", _yolo_lines(name))
    lines = "".join(f"  {k}: {_yaml_text(name)}\n" for k, name in enumerate(CLASSES))
    paths = "path: C:\\Users\\me\\set\ntrain: images\\train  # 8\nval: images\\val\ntest:\n"
    _text(root / "data.yaml", f"\ufeff{paths}\nnames:\n{lines}".replace("\n", "\r\n"))
    _text(root / "labels/train/classes.txt", "\n".join(CLASSES))


def roboflow_yolo(root: Path) -> None:
    for split, names in zip(("train", "valid"), _halves(), strict=True):
        _pictures(root / split / "images", {name: _ROBOFLOW[name] for name in names})
        for name in names:
            _text(root / f"{split}/labels/{_stem(_ROBOFLOW[name])}.txt", _yolo_lines(name))
    listed = ", ".join(map(_yaml_text, CLASSES))
    _text(
        root / "data.yaml",
        "train: ../train/images\nval: ../valid/images\n\nnc: 6\n"
        f"names: [{listed}]\n\nroboflow:\n  workspace: w\n  version: 1\n",
    )


def darknet(root: Path) -> None:
    _pictures(root / "obj_train_data")
    for name in _FILES:
        _text(root / f"obj_train_data/{_stem(name)}.txt", _yolo_lines(name))
    _text(root / "obj.names", "".join(f"{name}\n" for name in CLASSES))
    _text(root / "train.txt", "".join(f"data/obj_train_data/{name}\n" for name in _FILES))
    _text(
        root / "obj.data",
        "classes = 6\ntrain = data/train.txt\nnames = data/obj.names\nbackup = backup/\n",
    )


def _voc_xml(name: str, origin: int) -> str:
    width, height = size_of(name)
    objects = "".join(
        f"\n\t<object>\n\t\t<name>{escape(c)}</name>\n\t\t<pose>Unspecified</pose>\n\t\t<truncated>0"
        "</truncated>\n\t\t<difficult>0</difficult>\n\t\t<bndbox>\n"
        f"<xmin>{x1 + origin}</xmin><ymin>{y1 + origin}</ymin><xmax>{x2}</xmax><ymax>{y2}</ymax>\n"
        "\t\t</bndbox>\n\t</object>"
        for c, x1, y1, x2, y2 in TRUTH[name]
    )
    path = escape(f"C:\\Users\\Jürgen\\my set\\{name}")
    return (
        f"<annotation>\n\t<folder>my set</folder>\n\t<filename>{escape(name)}</filename>\n"
        f"\t<path>{path}</path>\n\t<source><database>Unknown</database></source>\n\t<size><width>"
        f"{width}</width><height>{height}</height><depth>3</depth></size>\n\t<segmented>0</segmented>"
        f"{objects}\n</annotation>\n"
    )


def voc(root: Path) -> None:
    _pictures(root / "JPEGImages")
    for name in _FILES:
        head = '<?xml version="1.0" encoding="UTF-8"?>\n'
        _text(root / f"Annotations/{_stem(name)}.xml", head + _voc_xml(name, 1), "utf-8-sig")
    for split, names in zip(("train", "val"), _halves(), strict=True):
        lines = "".join(f"{_stem(name)}\r\n" for name in names)
        _text(root / f"ImageSets/Main/{split}.txt", lines)


def voc_from_0(root: Path) -> None:
    """Pictures and XML in one folder, edges from 0, as labelling tools save them."""
    _pictures(root)
    for name in _FILES:
        _text(root / f"{_stem(name)}.xml", _voc_xml(name, 0))


def labelme(root: Path) -> None:
    _pictures(root / "images")
    for k, name in enumerate(_FILES):
        width, height = size_of(name)
        shapes = [
            {
                "label": c, "points": [[float(x2), float(y1)], [float(x1), float(y2)]],
                "group_id": None, "description": "", "shape_type": "rectangle", "flags": {},
                "mask": None,
            }
            for c, x1, y1, x2, y2 in TRUTH[name]
        ]  # fmt: skip
        picture = (
            base64.b64encode((root / "images" / name).read_bytes()).decode() if k < 2 else None
        )
        content = {
            "version": "5.5.0", "flags": {}, "shapes": shapes, "imagePath": f"..\\images\\{name}",
            "imageData": picture, "imageHeight": height, "imageWidth": width,
        }  # fmt: skip
        _text(root / f"labels/{_stem(name)}.json", json.dumps(content, indent=2))


_CVAT_HEAD = (
    '<?xml version="1.0" encoding="utf-8"?>\n<annotations>\n  <version>1.1</version>\n  <meta>'
    "<task><id>7</id><labels><label><name>x</name></label></labels>%s</task>"
    "<dumped>2024-01-01</dumped></meta>"
)


def cvat(root: Path) -> None:
    _pictures(root / "images")
    parts = [_CVAT_HEAD % ""]
    for k, name in enumerate(_FILES):
        width, height = size_of(name)
        parts.append(
            f'<image id="{k}" name={quoteattr(name)} subset="default" task_id="7" '
            f'width="{width}" height="{height}">'
        )
        parts += [
            f'<box label={quoteattr(c)} source="manual" occluded="0" xtl="{x1:.2f}" ytl="{y1:.2f}" '
            f'xbr="{x2:.2f}" ybr="{y2:.2f}" z_order="0"></box>'
            for c, x1, y1, x2, y2 in TRUTH[name]
        ]
        parts.append("</image>")
    _text(root / "annotations.xml", "\r\n".join([*parts, "</annotations>"]))


_FRAMES = {n: f"frame_{k:06d}.jpg" for k, n in enumerate(n for n in _FILES if n != PORTRAIT)}


def cvat_video(root: Path) -> None:
    _pictures(root / "images", _FRAMES)
    size = f"<original_size><width>{WIDTH}</width><height>{HEIGHT}</height></original_size>"
    parts, track = [_CVAT_HEAD % size], 0
    for frame, name in enumerate(_FRAMES):
        for c, x1, y1, x2, y2 in TRUTH[name]:
            box = f'xtl="{x1:.2f}" ytl="{y1:.2f}" xbr="{x2:.2f}" ybr="{y2:.2f}" z_order="0"'
            parts.append(
                f'<track id="{track}" label={quoteattr(c)} source="manual">'
                f'<box frame="{frame}" keyframe="1" outside="0" occluded="0" {box}></box>'
                f'<box frame="{frame + 1}" keyframe="1" outside="1" occluded="0" {box}></box>'
                "</track>"
            )
            track += 1
    _text(root / "annotations.xml", "\n".join([*parts, "</annotations>"]))


def label_studio(root: Path) -> None:
    _pictures(root / "images")
    tasks = []
    for k, name in enumerate(_FILES):
        width, height = size_of(name)
        regions = [
            {
                "original_width": width, "original_height": height, "image_rotation": 0,
                "value": {
                    "x": 100 * x1 / width, "y": 100 * y1 / height, "width": 100 * (x2 - x1) / width,
                    "height": 100 * (y2 - y1) / height, "rotation": 0, "rectanglelabels": [c],
                },
                "id": f"r{j}", "from_name": "label", "to_name": "image",
                "type": "rectanglelabels", "origin": "manual",
            }
            for j, (c, x1, y1, x2, y2) in enumerate(TRUTH[name])
        ]  # fmt: skip
        address = (
            f"/data/local-files/?d={quote(f'my set/images/{name}')}",
            f"/data/upload/3/{k:08x}-{quote(name)}",
            f"s3://bucket/my set/{name}",
            f"http://host:8080/pictures/{quote(name)}?v=2",
        )[k % 4]
        tasks.append(
            {
                "id": k + 1, "annotations": [{"id": k, "was_cancelled": False, "result": regions}],
                "file_upload": f"{k:08x}-{name}", "drafts": [], "predictions": [],
                "data": {"image": address}, "meta": {}, "project": 3,
            }
        )  # fmt: skip
    _text(root / "export.json", json.dumps(tasks))


def _csv(rows: list[list[object]], separator: str = ",") -> str:
    text = io.StringIO()
    csv.writer(text, delimiter=separator, lineterminator="\r\n").writerows(rows)
    return text.getvalue()


def open_images(root: Path) -> None:
    columns = "ImageID,Source,LabelName,Confidence,XMin,XMax,YMin,YMax,IsOccluded,IsTruncated,"
    header = f"{columns}IsGroupOf,IsDepiction,IsInside".split(",")
    for split, names in zip(("train", "validation"), _halves(), strict=True):
        _pictures(root / split, {name: f"{_stem(name)}.jpg" for name in names})
        rows: list[list[object]] = [list(header)]
        for name in names:
            width, height = size_of(name)
            for c, x1, y1, x2, y2 in TRUTH[name]:
                sides = (x1 / width, x2 / width, y1 / height, y2 / height)
                label = f"/m/0{CLASSES.index(c)}x"
                written = [f"{side:.6f}" for side in sides]
                rows.append([_stem(name), "xclick", label, 1, *written, 0, 0, 0, 0, 0])
        _text(root / f"{split}-annotations-bbox.csv", _csv(rows))
    described = _csv([[f"/m/0{k}x", name] for k, name in enumerate(CLASSES)])
    _text(root / "class-descriptions-boxable.csv", described)


def csv_named(root: Path) -> None:
    """As a spreadsheet of a country with decimal commas saves it, paths of Windows in it."""
    _pictures(root / "images")
    rows: list[list[object]] = [
        ["filename", "width", "height", "class", "xmin", "ymin", "xmax", "ymax"]
    ]
    for name in _FILES:
        for c, *corners in TRUTH[name]:
            numbers = [f"{corner},0" for corner in corners]
            rows.append([f"D:\\my set\\images\\{name}", *size_of(name), c, *numbers])
    _text(root / "annotations.csv", _csv(rows, ";"), "utf-8-sig")


def csv_bare(root: Path) -> None:
    _pictures(root / "images")
    rows: list[list[object]] = []
    for name in _FILES:
        rows += [[f"images/{name}", *box[1:], box[0]] for box in TRUTH[name]]
        rows += [] if TRUTH[name] else [[f"images/{name}", "", "", "", "", ""]]
    _text(root / "annotations.csv", _csv(rows))


def kitti(root: Path) -> None:
    _pictures(root / "image_2")
    for name in _FILES:
        rows = [
            f"{c} 0.00 0 0.00 {x1:.2f} {y1:.2f} {x2:.2f} {y2:.2f}" + 7 * " 0.00" + "\n"
            for c, x1, y1, x2, y2 in TRUTH[name]
        ]
        _text(root / f"label_2/{_stem(name)}.txt", "".join(rows))


def txt(root: Path) -> None:
    _pictures(root / "my images")
    for split, names in zip(("train", "val"), _halves(), strict=True):
        lines = []
        for name in names:
            boxes = [f"{x1},{y1},{x2},{y2},{CLASSES.index(c)}" for c, x1, y1, x2, y2 in TRUTH[name]]
            lines.append(" ".join([f"my images/{name}", *boxes]))
        _text(root / f"{split}.txt", "\r\n".join(lines), "utf-8-sig")
    _text(root / "classes.txt", "\n".join(CLASSES))


_IN_ONE_FOLDER = [
    f"dataset.splits.{s}.{k}=." for s in ("train", "val") for k in ("annotations", "images")
]
_JPG = {name: f"{_stem(name)}.jpg" for name in _FILES}
EXPORTS = {
    "coco": Export(coco, ["dataset=coco2017"]),
    "roboflow_coco": Export(roboflow_coco, ["dataset=roboflow"], _ROBOFLOW),
    "yolo": Export(yolo, ["dataset=yolo"]),
    "roboflow_yolo": Export(roboflow_yolo, ["dataset=roboflow"], _ROBOFLOW),
    "darknet": Export(darknet, ["dataset=darknet"]),
    "voc": Export(voc, ["dataset=voc"]),
    "voc_from_0": Export(
        voc_from_0,
        [
            *("dataset=voc", "dataset.box_origin=0", *_IN_ONE_FOLDER, "dataset.only=[train]"),
            "dataset.splits.train.list=''",
        ],
    ),
    "labelme": Export(labelme, ["dataset=labelme"]),
    "cvat": Export(cvat, ["dataset=cvat"]),
    "cvat_video": Export(cvat_video, ["dataset=cvat"], _FRAMES),
    "label_studio": Export(label_studio, ["dataset=label_studio"]),
    "open_images": Export(open_images, ["dataset=open_images"], _JPG, silent=True),
    "csv_named": Export(csv_named, ["dataset=csv"], silent=True),
    "csv_bare": Export(csv_bare, ["dataset=csv"]),
    "kitti": Export(kitti, ["dataset=kitti"]),
    "txt": Export(txt, ["dataset=txt", "dataset.names_file=classes.txt"]),
}  # fmt: skip


def read_named(words: list[str], root: Path) -> RawDataset:
    """Read a set as the command `convert.py` with these words would."""
    schema = "data_tools.convert.settings:ConvertSettings"
    dataset: DatasetSettings = compose("convert", schema, [*words, f"dataset.root={root}"]).dataset
    if dataset.kind in LOOKING_KINDS:
        dataset, _ = recognised(dataset)
    return read_source(with_data_yaml(dataset), ConvertSettings().content()["policy"])
