"""YOLO layout: a text file for each image with lines `class cx cy w h`, relative to the image's size.

Lines with more numbers are polygons, of which the extent is taken. An image without a file has no objects.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np

from data_tools.core.boxes import yxyx_from_cyxhw
from data_tools.core.errors import DataError
from data_tools.sources.defects import DefectLog
from data_tools.sources.image_files import (
    LabelledFile,
    SourceSplit,
    digest_of,
    is_text,
    list_images,
    numbers_for,
    read_text,
    require_folder,
    table_of_files,
)
from data_tools.sources.names import class_names
from data_tools.sources.settings import DatasetSettings, SplitSettings

_Box = tuple[list[float], int]
"""`[y1, x1, y2, x2]` relative, category id."""


def read_yolo(
    root: Path,
    split: SplitSettings,
    dataset: DatasetSettings,
    log: DefectLog,
    key: str = "dataset.splits",
) -> SourceSplit:
    """Read one split in YOLO layout.

    Category ids count from 1 in the order of the classes' numbers. Boxes stay relative until the image's
    size is known, see `SampleTable.relative`.

    Args:
        root: The data set's folder.
        split: Folder of the labels and folder of the images.
        dataset: Class names.
        log: Where defects go.
        key: Setting that named the folders, for messages.

    Returns:
        The split, sorted by image id.

    Raises:
        DataError: If a folder is missing, or there is no image or no list of class names.
    """
    labels, images = root / split.annotations, root / split.images
    require_folder(labels, f"{key}.annotations={split.annotations}")
    require_folder(images, f"{key}.images={split.images}")
    names = class_names(root, dataset.names, dataset.names_file, "dataset")
    if not names:
        raise DataError(
            "YOLO's files hold class numbers only: name the classes with dataset.names=[...] or "
            "dataset.names_file=data.yaml."
        )
    files = list_images(images)
    if not files:
        raise DataError(
            f"{images}: no image ({key}.images={split.images}). Check that setting and dataset.root."
        )
    contents: list[bytes] = []
    labelled, kept = [], []
    expected = set()
    for image_id, name in zip(numbers_for(files), files, strict=True):
        label = f"{name.rsplit('.', 1)[0]}.txt"
        expected.add(label)
        if not is_text(name):
            log.add("path_escape", split.images, f"file name {name!r}", image_id=image_id)
            continue
        where = f"{split.annotations}/{label}"
        found: list[_Box] = []
        if (labels / label).is_file():
            try:
                text = read_text(labels / label)
            except DataError as error:
                log.add("unreadable_annotation", where, str(error), image_id=image_id)
                continue
            contents += [label.encode(), hashlib.sha256(text.encode()).digest()]
            found = _boxes(text, len(names), where, image_id, log)
        boxes = np.array([box[0] for box in found], np.float64).reshape(-1, 4)
        labelled.append(LabelledFile(name, boxes, [box[1] for box in found]))
        kept.append(image_id)
    for path in sorted(labels.rglob("*.txt")):
        label = path.relative_to(labels).as_posix()
        if label not in expected and label != "classes.txt":
            where = f"{split.annotations}/{label}".encode(errors="backslashreplace").decode()
            log.add("unknown_image", where, "no image has this name")
    table = replace(table_of_files(images, labelled, kept), relative=True)
    digests = {split.annotations: digest_of(contents)}
    return SourceSplit(table, dict(enumerate(names, 1)), log, digests)


def _boxes(text: str, num_classes: int, where: str, image_id: int, log: DefectLog) -> list[_Box]:
    found: list[_Box] = []
    for number, line in enumerate(text.splitlines(), 1):
        words = line.split()
        if not words:
            continue
        place = f"{where}:{number}"
        try:
            label, values = int(words[0]), [float(word) for word in words[1:]]
            if len(values) not in (4, 5) and (len(values) < 6 or len(values) % 2):
                raise ValueError("expected 4 numbers or a polygon")
        except ValueError:
            log.add("malformed_box", place, f"{line[:80]!r}", image_id=image_id)
            continue
        if not 0 <= label < num_classes:
            log.add(
                "unknown_category",
                place,
                f"class {label} of 0..{num_classes - 1}",
                image_id=image_id,
            )
            continue
        if len(values) in (4, 5):
            cx, cy, width, height = values[:4]
            box = yxyx_from_cyxhw(np.array([cy, cx, height, width])).tolist()
        else:
            xs, ys = values[::2], values[1::2]
            box = [min(ys), min(xs), max(ys), max(xs)]
        found.append((box, label + 1))
    return found
