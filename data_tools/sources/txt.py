"""Lists in a text file: a line is an image's path and its boxes, `path x1,y1,x2,y2,class ...`.

The order of the numbers and where they count from are settings, because tools differ.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import numpy as np

from data_tools.core.errors import DataError
from data_tools.sources.defects import DefectLog
from data_tools.sources.image_files import (
    LabelledFile,
    SourceSplit,
    corners_from,
    read_text,
    require_file,
    require_folder,
    safe_name,
    table_of_files,
)
from data_tools.sources.names import class_names
from data_tools.sources.settings import DatasetSettings, SplitSettings

_Box = tuple[list[float], int]
"""Four numbers as written, category id."""

_MOST_CLASSES = 100_000
"""Where no names are given, a class number above this is a slip and not that many classes."""

_NAMED_BOX = re.compile(r"(?<=\s)((?:[-+.\d]+,){4}(?=[^\s,]))")
"""Where a box begins whose class may be of several words."""


def read_txt(
    root: Path,
    split: SplitSettings,
    dataset: DatasetSettings,
    log: DefectLog,
    key: str = "dataset.splits",
) -> SourceSplit:
    """Read one split from a list.

    Category ids count from 1 in the order of the classes' numbers. Lines that name the same picture
    are joined.

    Args:
        root: The data set's folder.
        split: The list and the folder that its paths are relative to.
        dataset: Class names, order and origin of the numbers.
        log: Where defects go.
        key: Setting that named the files, for messages.

    Returns:
        The split, sorted by image id.

    Raises:
        DataError: If a file or folder is missing, or the list names no image.
    """
    path, folder = root / split.annotations, root / split.images
    require_file(path, f"{key}.annotations={split.annotations}")
    require_folder(folder, f"{key}.images={split.images}")
    names = class_names(root, dataset.names, dataset.names_file, "dataset")
    text = read_text(path)
    lines: list[tuple[str, list[_Box]]] = []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        where = f"{split.annotations}:{number}"
        name, tokens = split_line(line)
        lost_before = len(log.defects)
        safe = safe_name(_relative(name, folder))
        if safe is None:
            log.add("path_escape", where, f"file name {name!r}")
            continue
        read = [_box(token, names, dataset.first_class, where, log) for token in tokens]
        boxes = [box for box in read if box is not None]
        if tokens and not boxes and len(log.defects) > lost_before:
            detail = f"all {len(tokens)} boxes of {safe} were left out"
            if log.add("lost_all_boxes", where, detail) != "keep":
                continue
        lines.append((safe, boxes))
    if not lines and not any(defect.kind == "lost_all_boxes" for defect in log.defects):
        raise DataError(f"{path}: it names no image. Expected lines `path x1,y1,x2,y2,class ...`.")
    if not names:
        highest = max((box[1] for _, boxes in lines for box in boxes), default=1)
        names = [f"class_{k + dataset.first_class}" for k in range(highest)]
    boxes_of: dict[str, list[_Box]] = {}
    for name, words in lines:  # some tools write a line for each box
        boxes_of.setdefault(name, []).extend(words)
    files = []
    for name, words in sorted(boxes_of.items()):
        corners = np.array([box[0] for box in words], np.float64).reshape(-1, 4)
        edges = corners_from(corners, dataset.box_order, dataset.first_pixel)
        files.append(LabelledFile(name, edges, [box[1] for box in words]))
    digest = hashlib.sha256(text.encode()).hexdigest()
    categories = dict(enumerate(names, 1))
    return SourceSplit(table_of_files(folder, files), categories, log, {split.annotations: digest})


def split_line(line: str) -> tuple[str, list[str]]:
    """Split a line into the path, which may hold blanks, and the boxes behind it.

    >>> split_line("my photos/a 1.jpg 1,2,3,4,0 5,6,7,8,1")
    ('my photos/a 1.jpg', ['1,2,3,4,0', '5,6,7,8,1'])
    >>> split_line("a.jpg 1,2,3,4,cat 5,6,7,8,traffic light")
    ('a.jpg', ['1,2,3,4,cat', '5,6,7,8,traffic light'])
    """
    named = _NAMED_BOX.search(line)
    if named and not all(map(_looks_like_box, line[named.start(1) :].split())):
        # The class's name holds blanks: a box goes on until the next one begins.
        starts = [match.start(1) for match in _NAMED_BOX.finditer(line)]
        ends = [*starts[1:], len(line)]
        tokens = [line[a:b].strip() for a, b in zip(starts, ends, strict=True)]
        return line[: starts[0]].strip(), tokens
    words = line.split()
    count = len(words)
    while count > 1 and _looks_like_box(words[count - 1]):
        count -= 1
    boxes = words[count:]
    rest = line.rstrip()
    for word in reversed(boxes):
        rest = rest[: rest.rindex(word)].rstrip()
    return rest.strip(), boxes


def _looks_like_box(word: str) -> bool:
    parts = word.split(",")
    if len(parts) < 2:
        return False
    try:
        float(parts[0]), float(parts[1])
    except ValueError:
        return len(parts) == 5
    return True


def _relative(name: str, folder: Path) -> str:
    """An absolute path inside the folder is as good as a relative one."""
    if name.startswith("/"):
        try:
            return Path(name).relative_to(folder.absolute()).as_posix()
        except ValueError:
            return name
    return name


def _box(token: str, names: list[str], first_class: int, where: str, log: DefectLog) -> _Box | None:
    parts = token.split(",")
    try:
        if "_" in "".join(parts[:4]):  # Python's own way to write numbers, nobody else's
            raise ValueError(token)
        corners = [float(part) for part in parts[:4]]
        (label,) = (part.strip() for part in parts[4:])
    except ValueError:
        log.add("malformed_box", where, f"{token!r}, expected x1,y1,x2,y2,class")
        return None
    number = int(label) if _is_number(label) else -1
    is_one = first_class <= number < first_class + (len(names) or _MOST_CLASSES)
    if label in names and is_one and names.index(label) != number - first_class:
        raise DataError(
            f"{where}: the class {label!r} is the name of class number "
            f"{names.index(label) + first_class} and the number of "
            f"{names[number - first_class]!r}. Leave dataset.names out if the file has names only, "
            "or give names that are no numbers."
        )
    if label in names:
        return corners, names.index(label) + 1
    if not is_one:
        log.add("unknown_category", where, f"class {label!r} of {token!r}")
        return None
    return corners, number - first_class + 1


def _is_number(text: str) -> bool:
    digits = text.removeprefix("-").removeprefix("+")
    return digits.isascii() and digits.isdigit() and len(digits) < 10
