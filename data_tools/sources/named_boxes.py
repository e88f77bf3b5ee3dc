"""Pictures with boxes of named classes, as annotation tools export them, and their way into a
table.

What LabelMe, CVAT, Label Studio, CSV files and KITTI have in common; each has a reader of its own.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from urllib.parse import unquote, urlsplit

import numpy as np

from data_tools.core.errors import DataError
from data_tools.sources.defects import DefectLog
from data_tools.sources.image_files import (
    LabelledFile,
    SourceSplit,
    is_text,
    numbers_for,
    require_folder,
    safe_name,
    table_of_files,
)
from data_tools.sources.listing import list_images
from data_tools.sources.picture_names import PictureNames
from data_tools.sources.settings import SplitSettings

Point = Sequence[float]


@dataclass
class NamedBox:
    """A box: class name, `[y1, x1, y2, x2]`, flags."""

    name: str
    box: list[float]
    crowd: bool = False
    difficult: bool = False


@dataclass
class Labelled:
    """What an annotation file says of one picture.

    Args:
        written: The picture's name as the file has it.
        where: The entry, for reports.
        height: Declared height in pixels, 0 if none.
        width: Declared width in pixels, 0 if none.
        boxes: Its boxes.
        lost: Number of boxes that were left out, each with a line in the log.
    """

    written: str
    where: str
    height: int = 0
    width: int = 0
    boxes: list[NamedBox] = field(default_factory=list)
    lost: int = 0


class Pictures:
    """The pictures of a split's folder, found by the names that annotation files have for them."""

    def __init__(self, root: Path, split: SplitSettings, log: DefectLog, key: str) -> None:
        require_folder(root / split.images, f"{key}.images={split.images}")
        self.folder, self._shown, self._log = root / split.images, split.images, log
        self.files = list_images(self.folder, log, split.images, split.folders)
        self._spoken_for: set[str] = set()
        self._names = PictureNames(self.files)

    def speak_for(self, written: str) -> None:
        """Note that an entry or file, refused for a defect of its own, was about a picture: it does
        not lack one.
        """
        if written.strip():
            self._spoken_for.update(self._names.find(written) or self._names.with_stem(written))

    def is_spoken_for(self, file: str) -> bool:
        """Whether a refused entry was about the picture."""
        return file in self._spoken_for

    def find(self, written: str, where: str) -> str | None:
        """Return the picture that a name means; one that is not there is returned as it is written.

        Names may be paths of another machine, with backslashes, percent-encoded, or addresses.
        """
        for form in name_forms(written):
            matches = self._names.find(form) if form.strip() else []
            if len(matches) == 1:
                return matches[0]
            if matches:
                detail = f"{written!r} fits {' and '.join(matches[:3])}"
                self._log.add("ambiguous_image", where, detail)
                return None
        path = _paths_of(written)[-1]
        safe = safe_name(path) or safe_name(_last_part(path))
        if safe is None or ".." in written.replace("\\", "/").split("/"):
            self._log.add("path_escape", where, f"file name {written!r}")
            return None
        return safe


def name_forms(written: str) -> list[str]:
    """Return what a picture may be called that an annotation file names so, the surest first.

    >>> name_forms("/data/upload/1/0a1b2c3d-a%20b.jpg")[-2:]
    ['a%20b.jpg', 'a b.jpg']
    """
    forms = _paths_of(written)
    bases = [_last_part(form) for form in forms]
    # Label Studio sets eight hexadecimal digits before the name of an upload.
    uploads = [base[9:] for base in bases if base[8:9] == "-" and _is_hex(base[:8])]
    return list(dict.fromkeys((*forms, *bases, *uploads)))


def _paths_of(written: str) -> list[str]:
    address = urlsplit(written) if "://" in written or written.startswith("/data/") else None
    forms = [written, unquote(written)]
    if address is not None:
        query = address.query.partition("d=")[2] if "d=" in address.query else ""
        forms += [unquote(query)] if query else [unquote(address.path)]
    return forms


def _last_part(path: str) -> str:
    return path.replace("\\", "/").rsplit("/", 1)[-1]


def _is_hex(text: str) -> bool:
    return all(c in "0123456789abcdef" for c in text)


def split_of(
    entries: Sequence[Labelled],
    pictures: Pictures,
    digests: dict[str, str],
    log: DefectLog,
    *,
    relative: bool = False,
    whole_folder: bool = True,
) -> SourceSplit:
    """Put pictures with named boxes into a table, sorted by file name.

    Args:
        entries: What the annotations say of each picture.
        pictures: The pictures of the split.
        digests: What was read -> sha256.
        log: Where defects go.
        relative: The boxes are in 0..1 of the pictures' sizes.
        whole_folder: All pictures of the folder belong to the split: one without an entry is
            reported.

    Raises:
        DataError: If there is no entry at all.
    """
    if not entries and not log.defects:
        raise DataError(f"{next(iter(digests))}: it names no picture. Check dataset.splits.")
    claims: dict[str, list[Labelled]] = {}
    for entry in entries:
        file = pictures.find(entry.written, entry.where)
        if file is not None:
            claims.setdefault(file, []).append(entry)
    categories: dict[str, int] = {}
    files = []
    for file, claimed in sorted(claims.items()):
        if len(claimed) > 1:
            where = " and ".join(entry.where for entry in claimed[:3])
            log.add("ambiguous_image", claimed[0].where, f"{where} all claim {file}")
            continue
        (entry,) = claimed
        if entry.lost and not entry.boxes:
            detail = f"all {entry.lost} boxes of {file} were left out"
            if log.add("lost_all_boxes", entry.where, detail) != "keep":
                continue
        files.append(
            LabelledFile(
                file,
                np.array([b.box for b in entry.boxes], np.float64).reshape(-1, 4),
                [categories.setdefault(b.name, len(categories) + 1) for b in entry.boxes],
                [b.difficult for b in entry.boxes],
                entry.height,
                entry.width,
                [b.crowd for b in entry.boxes],
            )
        )
    if whole_folder:
        for file in pictures.files:
            if file in claims or pictures.is_spoken_for(file) or not is_text(file):
                continue
            if log.add("missing_annotation", file, "no annotation names the picture") == "keep":
                files.append(LabelledFile(file, np.zeros((0, 4)), []))
        files.sort(key=lambda entry: entry.name)
    table = table_of_files(pictures.folder, files, numbers_for([file.name for file in files]))
    names = {number: name for name, number in categories.items()}
    return SourceSplit(replace(table, relative=relative), names, log, digests)


def extent(points: Sequence[Point]) -> list[float]:
    """Return the extent of points (x, y) as `[y1, x1, y2, x2]`.

    Raises:
        ValueError: If there are fewer than two.
    """
    if len(points) < 2:
        raise ValueError("fewer than two points")
    xs, ys = [float(x) for x, _ in points], [float(y) for _, y in points]
    return [min(ys), min(xs), max(ys), max(xs)]


def turned_extent(box: Sequence[float], degrees: float, pivot: Point) -> list[float]:
    """Return the extent of a box `[y1, x1, y2, x2]` turned clockwise about a point (x, y)."""
    y1, x1, y2, x2 = box
    sine, cosine = math.sin(math.radians(degrees)), math.cos(math.radians(degrees))
    px, py = pivot
    corners = [(x - px, y - py) for x in (x1, x2) for y in (y1, y2)]
    return extent([(px + x * cosine - y * sine, py + x * sine + y * cosine) for x, y in corners])


def ellipse_extent(cx: float, cy: float, rx: float, ry: float, degrees: float = 0) -> list[float]:
    """Return the extent of an ellipse, turned by degrees, as `[y1, x1, y2, x2]`."""
    sine, cosine = math.sin(math.radians(degrees)), math.cos(math.radians(degrees))
    dx, dy = math.hypot(rx * cosine, ry * sine), math.hypot(rx * sine, ry * cosine)
    return [cy - dy, cx - dx, cy + dy, cx + dx]
