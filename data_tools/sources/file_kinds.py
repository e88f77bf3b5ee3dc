"""Tells what an annotation file is by its name and first bytes: COCO, VOC, CVAT, CSV and so on.

Which layout a whole folder has is decided in `data_tools/sources/recognise.py`.
"""

from __future__ import annotations

import csv
import re
from pathlib import Path

from data_tools.core.archives import bytes_of, open_file
from data_tools.core.files import IMAGE_SUFFIXES

_HEAD_BYTES = 1 << 16
_LARGEST_SCANNED = 128 << 20

WORDS = {
    "coco": "COCO",
    "cvat": "CVAT's XML",
    "label_studio": "Label Studio's JSON",
    "open_images": "Open Images' CSV",
    "csv": "a CSV file of boxes",
    "voc": "Pascal VOC",
    "labelme": "LabelMe",
    "kitti": "KITTI",
    "txt": "a list of pictures with boxes",
}
_SUFFIX = "|".join(re.escape(suffix) for suffix in IMAGE_SUFFIXES)
_BOXES = re.compile(rf"({_SUFFIX})\s+([-+\d.]+,){{4}}[^,\s]", re.IGNORECASE)
"""A line of such a list: a picture, and a box of four numbers and a class."""


UTF16_MARKS = (b"\xff\xfe", b"\xfe\xff")
"""First bytes of a text in UTF-16, as PowerShell and spreadsheets write it."""


def text_of(data: bytes, errors: str = "strict") -> str:
    """Decode UTF-8, with or without a byte order mark, or UTF-16 with its mark.

    Args:
        data: The bytes.
        errors: What becomes of those that are neither, in Python's words.

    Raises:
        UnicodeDecodeError: If it is neither, and `errors` is `strict`.
    """
    return data.decode("utf-16" if data[:2] in UTF16_MARKS else "utf-8-sig", errors)


def head_of(path: Path, count: int) -> str:
    """Return the first `count` bytes of a file as text, without its mark; what is none stands as
    replacement characters.
    """
    with open_file(path) as file:
        return text_of(file.read(count), "replace").lstrip("\ufeff")


def kind_of_file(path: Path) -> str:
    """Tell what an annotation file is by its first bytes; empty if it is none."""
    suffix = path.suffix.lower()
    if suffix not in (".json", ".xml", ".csv", ".txt"):
        return ""
    text = head_of(path, _HEAD_BYTES).lstrip()
    if suffix == ".json":
        if text.startswith("[") and ('"annotations"' in text or "labels" in text):
            return "label_studio"
        if '"shapes"' in text or '"imagePath"' in text:
            return "labelme"
        tail = _tail(path).decode(errors="replace")
        coco = sum(f'"{k}"' in text + tail for k in ("images", "annotations", "categories"))
        return "coco" if text.startswith("{") and coco >= 2 else ""
    if suffix == ".xml":
        if "<annotations" in text:
            return "cvat"
        return "voc" if "<annotation" in text else ""
    lines = text.splitlines()
    first = lines[0] if lines else ""
    if suffix == ".csv":
        cells = _cells(first.lower())
        # Relations and outlines of Open Images have other columns as well.
        if {"imageid", "labelname", "xmin"} <= set(cells):
            return "open_images"
        if any(k in cells for k in ("xmin", "x1", "x_min")) and len(cells) >= 6:
            return "csv"
        bare = len(cells) == 6 and cells[0].endswith(IMAGE_SUFFIXES)
        return "csv" if bare else ""
    words = first.split()
    if len(words) in (15, 16) and not words[0][:1].isdigit():
        return "kitti"
    return "txt" if any(map(_BOXES.search, lines[:20])) else ""


def has_labels(path: Path, kind: str) -> bool:
    """Whether a file has a place for boxes: COCO's lists of pictures to be labelled
    (`image_info_test2017.json`) do not.

    Args:
        path: The file.
        kind: What it is.
    """
    if kind != "coco":
        return True
    if "image_info" in path.name or bytes_of(path) > _LARGEST_SCANNED:
        return "image_info" not in path.name
    key, before = b'"annotations"', b""
    with open_file(path) as file:
        while piece := file.read(1 << 20):
            if key in before + piece:
                return True
            before = piece[-len(key) :]
    return False


def separator_of(line: str) -> str:
    """Return what separates the cells of a CSV's line; what stands in quotes does not count.

    >>> separator_of('a.jpg,1,2,3,4,"cat; big"'), separator_of("a.jpg;1,5;2,5;9,5;9,5;cat")
    (',', ';')
    """
    bare = re.sub(r'"[^"]*"', "", line)
    # With semicolons or tabs the commas are those of numbers.
    return next((c for c in ";\t" if c in bare), ",")


def _cells(line: str) -> list[str]:
    try:
        rows = list(csv.reader([line], delimiter=separator_of(line)))
    except csv.Error:
        return []
    return [cell.strip() for cell in rows[0]] if rows else []


def _tail(path: Path) -> bytes:
    with open_file(path) as file:
        if file.seekable():
            file.seek(max(0, bytes_of(path) - _HEAD_BYTES))
            return file.read()
        # An entry of an archive is read from its start to its end.
        tail = b""
        while piece := file.read(1 << 20):
            tail = (tail + piece)[-_HEAD_BYTES:]
        return tail
