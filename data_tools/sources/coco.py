"""COCO layout: one JSON of images, annotations and categories for a split, and a folder of images.

Reads any file of that layout (Objects365, LVIS- and CrowdHuman-style, one's own) without holding it
in memory. The entries are read in `coco_entries.py`, boxes are checked in `box_checks.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from urllib.parse import unquote

import numpy as np

from data_tools.core.boxes import yxyx_from_xywh
from data_tools.sources.coco_columns import CROWD, IGNORED
from data_tools.sources.coco_entries import CocoEntries
from data_tools.sources.defects import DefectLog
from data_tools.sources.image_files import SourceSplit, require_file, require_folder
from data_tools.sources.listing import list_images
from data_tools.sources.picture_names import PictureNames
from data_tools.sources.table import SampleTable


def read_coco(
    root: Path, annotations: str, images: str, log: DefectLog, key: str = "dataset.splits"
) -> SourceSplit:
    """Read one split in COCO layout.

    Args:
        root: The data set's folder.
        annotations: The JSON file, relative to `root`.
        images: Folder of the images, relative to `root`.
        log: Where defects go.
        key: Setting that named the files, for messages.

    Returns:
        The split, sorted by image id.

    Raises:
        DataError: If a file or folder is missing, or the file is not COCO's layout.
    """
    path = root / annotations
    require_file(path, f"{key}.annotations={annotations}")
    require_folder(root / images, f"{key}.images={images}")
    pictures = cache(lambda: PictureNames(list_images(root / images)))

    def find(written: str) -> str | None:
        matches = [pictures().find(form) for form in (written, unquote(written))]
        return next((files[0] for files in matches if len(files) == 1), None)

    return _split(path, annotations, root / images, log, find)


def read_annotations(path: Path) -> SourceSplit:
    """Read a JSON in COCO layout by itself, for instance a converted set's `annotations.json`.

    Raises:
        DataError: If it is missing or not COCO's layout.
    """
    require_file(path, path.name)
    return _split(path, path.name, path.parent, DefectLog({}), lambda written: None)


def _split(
    path: Path, name: str, folder: Path, log: DefectLog, find: Callable[[str], str | None]
) -> SourceSplit:
    """Sort everything by image id and annotation id; annotations of unknown images are reported."""
    read = CocoEntries(path, name, log, find)
    read.read()
    # Texts get their numbers, and every message names the texts.
    final_image, log.names["image"] = read.image_ids.final(read.images)
    final_category, log.names["category"] = read.category_ids.final(read.categories)
    columns = np.frombuffer(read.integers, np.int64).reshape(-1, 4).T
    final_annotation, log.names["annotation"] = read.annotation_ids.final(map(int, columns[2]))
    if log.names["image"] or log.names["annotation"]:
        log.renumber({"image": final_image, "annotation": final_annotation})
    keys = final_category(np.array(list(read.categories), np.int64)).tolist()
    categories = dict(zip(keys, read.categories.values(), strict=True))
    image_of, category_of = final_image(columns[0]), final_category(columns[1])
    numbers = final_annotation(columns[2])
    without = columns[2] == -1
    numbers[without] = numbers.max(initial=0) + 1 + np.arange(int(without.sum()))
    listed = np.array(list(read.images), np.int64)
    image_ids = final_image(listed)
    order = np.argsort(image_ids, kind="stable")
    image_ids = image_ids[order]
    entries = [read.images[key] for key in listed[order].tolist()]
    row_of = np.searchsorted(image_ids, image_of)
    known = image_ids[np.minimum(row_of, len(image_ids) - 1)] == image_of
    for k in np.flatnonzero(~known):
        log.add(
            "unknown_image",
            name,
            f"there is no image {log.called('image', int(image_of[k]))}",
            image_id=int(image_of[k]),
            annotation_id=int(numbers[k]),
        )
    rows = np.lexsort((numbers, row_of))
    rows = rows[known[rows]]
    measures = np.frombuffer(read.numbers, np.float64).reshape(-1, 5)[rows]
    xywh, areas = measures[:, :4], measures[:, 4]
    with np.errstate(over="ignore", invalid="ignore"):  # what is not finite is reported later
        areas = np.where(np.isfinite(areas), areas, xywh[:, 2] * xywh[:, 3])
        edges = yxyx_from_xywh(xywh).astype(np.float64)
    counts = np.bincount(row_of[rows], minlength=len(image_ids))
    table = SampleTable(
        root=folder,
        image_ids=image_ids,
        file_names=[file_name for file_name, _, _ in entries],
        heights=np.array([height for _, height, _ in entries], np.int32),
        widths=np.array([width for _, _, width in entries], np.int32),
        offsets=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
        boxes_yxyx_px=edges,
        category_ids=category_of[rows],
        iscrowd=(columns[3][rows] & CROWD) > 0,
        difficult=(columns[3][rows] & IGNORED) > 0,
        areas_px=areas,
        annotation_ids=numbers[rows],
    )
    named = [k for k, file_name in enumerate(table.file_names) if file_name]
    return SourceSplit(table.take(named), categories, log, {name: read.sha256}, read.parents)
