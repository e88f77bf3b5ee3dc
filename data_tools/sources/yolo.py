"""YOLO layout: a text file for each image with lines `class cx cy w h`, relative to the image's
size.

What lines with more numbers are is decided in `yolo_lines.py`. An image without a file has no
objects.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from data_tools.core.archives import bytes_of, is_file, names_in
from data_tools.core.errors import DataError
from data_tools.sources.data_yaml import labels_for, read_data_yaml
from data_tools.sources.defects import DefectLog
from data_tools.sources.image_files import (
    LabelledFile,
    SourceSplit,
    digest_of,
    is_text,
    numbers_for,
    read_text,
    require_file,
    require_folder,
    safe_name,
    table_of_files,
)
from data_tools.sources.listing import list_files, list_images
from data_tools.sources.names import class_names
from data_tools.sources.picture_names import PictureNames
from data_tools.sources.settings import DatasetSettings, SplitSettings
from data_tools.sources.yolo_lines import Line, box_of_line, kind_of_lines, parse_line

LARGEST_LABELS = 64 << 20
_NO_LABELS = ("classes.txt", "README.dataset.txt", "README.roboflow.txt")
"""Text files that tools put next to labels."""

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

    Category ids count from 1 in the order of the classes' numbers. Boxes stay relative until the
    image's size is known, see `SampleTable.relative`.

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
    images = root / split.images
    if split.annotations:
        require_folder(root / split.annotations, f"{key}.annotations={split.annotations}")
    require_folder(images, f"{key}.images={split.images}")
    names = class_names(root, dataset.names, dataset.names_file, "dataset")
    if not names:
        raise DataError(
            "YOLO's files hold class numbers only: name the classes with dataset.names=[...] or "
            "dataset.names_file=data.yaml."
        )
    # Of several places that a data.yaml names, some may be lists.
    lists = [entry for entry in split.folders if is_file(root / entry)]
    folders = [entry for entry in split.folders if entry not in lists]
    files = list_images(images, log, split.images, folders)
    if not split.annotations and split.list:
        files = _files_listed(root, split, split.list, files, log, key)
    elif lists:
        everything = list_images(images)
        listed = [_files_listed(root, split, entry, everything, log, key) for entry in lists]
        files = sorted({*(files if folders else ()), *(name for some in listed for name in some)})
    if not files:
        raise DataError(
            f"{images}: no image ({key}.images={split.images}). Check that setting and "
            "dataset.root."
        )
    read, stray = _read_labels(root, split, files, log)
    kind = kind_of_lines(
        (line for labels in read.values() for line in labels.lines),
        key_points := _key_points(root, dataset),
        dataset.yolo_lines,
    )
    contents: list[bytes] = []
    labelled, kept = [], []
    for image_id, name in zip(numbers_for(files), files, strict=True):
        if not is_text(name):
            log.add("path_escape", split.images, f"file name {name!r}", image_id=image_id)
            continue
        labels = read.get(name)
        boxes: list[_Box] = []
        if labels is not None:
            if labels.problem:
                kind_of_problem = "ambiguous_image" if labels.shared else "unreadable_annotation"
                log.add(kind_of_problem, labels.where, labels.problem, image_id=image_id)
                continue
            contents += [labels.name.encode(), labels.digest]
            for line_name, text in labels.malformed:
                log.add("malformed_box", line_name, f"{text[:80]!r}", image_id=image_id)
            boxes = _boxes(labels.lines, len(names), kind, key_points, image_id, log)
        corners = np.array([box[0] for box in boxes], np.float64).reshape(-1, 4)
        labelled.append(LabelledFile(name, corners, [box[1] for box in boxes]))
        kept.append(image_id)
    for label in stray:
        where = label.encode(errors="backslashreplace").decode()
        log.add("unknown_image", where, "no image has this name")
    table = replace(table_of_files(images, labelled, kept), relative=True)
    digests = {split.annotations or split.list or split.images: digest_of(contents)}
    return SourceSplit(table, dict(enumerate(names, 1)), log, digests)


@dataclass
class _LabelFile:
    """What one label file holds, before it is known what its lines are."""

    name: str
    where: str
    lines: list[Line] = field(default_factory=list)
    malformed: list[tuple[str, str]] = field(default_factory=list)
    digest: bytes = b""
    problem: str = ""
    shared: bool = False


def _key_points(root: Path, dataset: DatasetSettings) -> tuple[int, int] | None:
    path = root / dataset.names_file
    is_yaml = dataset.names_file.lower().endswith((".yaml", ".yml"))
    return read_data_yaml(path).key_points if is_yaml and is_file(path) else None


def _files_listed(
    root: Path, split: SplitSettings, list_file: str, files: list[str], log: DefectLog, key: str
) -> list[str]:
    """The images of a list as YOLO's tools write it: paths of this machine or another's."""
    path = root / list_file
    require_file(path, f"{key}.list={list_file}")
    pictures = PictureNames(files)
    chosen, unknown = set(), []
    for line in read_text(path).splitlines():
        matches = pictures.find(line) if line.strip() else []
        chosen.update(matches[:1])
        if line.strip() and len(matches) != 1:
            unknown.append(line.strip())
    # One that is gone is its own loss; a list that fits nothing, or a name that fits several, is a
    # slip.
    if chosen and not any(pictures.find(line) for line in unknown):
        for line in unknown:
            log.add("missing_image", safe_name(line) or line, f"{list_file} lists it")
    elif unknown:
        raise DataError(
            f"{path} ({key}.list): {len(unknown)} of its lines name no image below "
            f"{root / split.images}, or several: {', '.join(unknown[:5])}."
        )
    return sorted(chosen)


def _read_labels(
    root: Path, split: SplitSettings, files: list[str], log: DefectLog
) -> tuple[dict[str, _LabelFile], list[str]]:
    """Read the label file of each image that has one; also name those that no image has.

    Raises:
        DataError: If not one image has a label file.
    """
    home = root / (split.annotations or split.images)
    names_in(home)  # of object storage one list, rather than a question for each file
    shown = split.annotations or split.images
    expected: dict[str, list[str]] = {}
    for name in files:
        path = name if split.annotations else labels_for(name)
        expected.setdefault(f"{path.rsplit('.', 1)[0]}.txt", []).append(name)
    read: dict[str, _LabelFile] = {}
    for label, pictures in expected.items():
        if not is_text(label) or not is_file(home / label):
            continue
        label_file = _LabelFile(label, f"{shown}/{label}")
        for picture in pictures:
            read[picture] = label_file
        if len(pictures) > 1:
            label_file.problem, label_file.shared = f"it fits {' and '.join(pictures[:3])}", True
            continue
        try:
            if bytes_of(home / label) > LARGEST_LABELS:
                raise DataError(f"larger than {LARGEST_LABELS >> 20} MiB")
            text = read_text(home / label)
        except DataError as error:
            label_file.problem = str(error)
            continue
        label_file.digest = hashlib.sha256(text.encode()).digest()
        for number, line in enumerate(text.splitlines(), 1):
            if not line.split():
                continue
            try:
                label_file.lines.append(parse_line(line, f"{label_file.where}:{number}"))
            except ValueError:
                label_file.malformed.append((f"{label_file.where}:{number}", line))
    stray = []
    if split.annotations:
        stray = [
            n
            for n in list_files(
                home, (".txt",), log if home != root / split.images else None, shown
            )
            if n not in expected and n.rsplit("/", 1)[-1] not in _NO_LABELS
        ]
    if not read:
        seen = f" The folder has {', '.join(stray[:3])} instead." if stray else ""
        raise DataError(
            f"{home}: none of the {len(files)} images has a label file there; expected for "
            f"instance {next(iter(expected))}.{seen} Check dataset.splits: an image without "
            "objects may lack its file, but not all of them."
        )
    return read, [f"{shown}/{label}" for label in stray]


def _boxes(
    lines: list[Line],
    num_classes: int,
    kind: str,
    key_points: tuple[int, int] | None,
    image_id: int,
    log: DefectLog,
) -> list[_Box]:
    boxes: list[_Box] = []
    for line in lines:
        try:
            box = box_of_line(line.values, kind, key_points)
        except ValueError as error:
            log.add("malformed_box", line.where, str(error), image_id=image_id)
            continue
        if not 0 <= line.label < num_classes:
            log.add(
                "unknown_category",
                line.where,
                f"class {line.label} of 0..{num_classes - 1}",
                image_id=image_id,
            )
            continue
        boxes.append((box, line.label + 1))
    return boxes
