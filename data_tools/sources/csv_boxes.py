"""Boxes in a CSV file, a line each: two common forms, and Open Images with its own columns.

Columns are known by their names, or by their order where the file has none.
"""

from __future__ import annotations

import csv
import hashlib
import io
from collections.abc import Iterator
from pathlib import Path

from data_tools.core.archives import bytes_of, read_file
from data_tools.core.errors import DataError
from data_tools.sources.coco_fields import class_name, flag
from data_tools.sources.defects import DefectLog
from data_tools.sources.file_kinds import separator_of, text_of
from data_tools.sources.image_files import SourceSplit, require_file
from data_tools.sources.named_boxes import Labelled, NamedBox, Pictures, split_of
from data_tools.sources.named_fields import number, side
from data_tools.sources.settings import DatasetSettings, SplitSettings

_LARGEST = 4 << 30
_LONGEST_CELL = 131_072  # as the csv module has it, whose own limit other packages lift
_NAMES = {
    "file": ("filename", "file_name", "file", "path", "image", "image_path", "img", "image_id"),
    "class": ("class", "label", "class_name", "category", "name"),
    "x1": ("xmin", "x1", "x_min", "left", "xtl"),
    "y1": ("ymin", "y1", "y_min", "top", "ytl"),
    "x2": ("xmax", "x2", "x_max", "right", "xbr"),
    "y2": ("ymax", "y2", "y_max", "bottom", "ybr"),
    "width": ("width", "image_width", "img_width"),
    "height": ("height", "image_height", "img_height"),
}
_NEEDED = ("file", "class", "x1", "y1", "x2", "y2")
FILE_COLUMNS = ("imageid", *_NAMES["file"])
"""Names of the column of picture names, in small letters, the surest first."""
_BARE = {"file": 0, "x1": 1, "y1": 2, "x2": 3, "y2": 4, "class": 5}
_OPEN_IMAGES = ("ImageID", "LabelName", "XMin", "XMax", "YMin", "YMax")


def read_csv(
    root: Path,
    split: SplitSettings,
    dataset: DatasetSettings,
    log: DefectLog,
    key: str,
    *,
    whole_folder: bool,
) -> SourceSplit:
    """Read one split from a CSV file of boxes in pixels.

    Either with a line of names (`filename,width,height,class,xmin,ymin,xmax,ymax`, in any order),
    or without (`path,x1,y1,x2,y2,class`; a path alone is an image without objects).

    Args:
        root: The data set's folder.
        split: The file and the folder of the pictures.
        dataset: Where pixels count from (`box_origin`).
        log: Where defects go.
        key: Setting that named them, for messages.
        whole_folder: All pictures of the folder belong to the split.

    Raises:
        DataError: If a file or folder is missing, or the columns are others.
    """
    text, pictures, digests = _open(root, split, log, key)
    path = root / split.annotations
    rows = csv_rows(text, path)
    first = next(rows, (0, []))[1]
    lowered = [cell.strip().lower() for cell in first]
    columns = {
        k: lowered.index(n) for k, names in _NAMES.items() for n in names[::-1] if n in lowered
    }
    if not all(k in columns for k in _NEEDED):
        if len(first) != 6 or not all(_is_number(cell) or not cell.strip() for cell in first[1:5]):
            raise DataError(
                f"{root / split.annotations}: its first line is {','.join(first)[:200]!r}; "
                "expected filename,width,height,class,xmin,ymin,xmax,ymax or lines "
                "path,x1,y1,x2,y2,class."
            )
        columns, rows = _BARE, csv_rows(text, path)
    entries: dict[str, Labelled] = {}
    for line, cells in rows:
        where = f"{split.annotations}:{line}"
        if len(cells) <= max(columns[k] for k in _NEEDED):
            log.add("malformed_entry", where, f"{len(cells)} columns: {','.join(cells)[:80]!r}")
            if columns["file"] < len(cells):
                pictures.speak_for(cells[columns["file"]])
            continue
        values = {
            k: cells[position].strip() for k, position in columns.items() if position < len(cells)
        }
        entry = entries.setdefault(values["file"], Labelled(values["file"], where))
        entry.width = entry.width or side(values.get("width"))
        entry.height = entry.height or side(values.get("height"))
        corners = [values[k] for k in ("y1", "x1", "y2", "x2")]
        if not any([*corners, values["class"]]):
            continue
        try:
            box = [number(value) for value in corners]
            name = class_name(values["class"])
        except ValueError as error:
            log.add("malformed_box", where, str(error))
            entry.lost += 1
            continue
        if dataset.first_pixel and box[2] > box[0] and box[3] > box[1]:
            box = [box[0] - 1, box[1] - 1, box[2], box[3]]
        entry.boxes.append(NamedBox(name, box))
    return split_of(list(entries.values()), pictures, digests, log, whole_folder=whole_folder)


def read_open_images(
    root: Path,
    split: SplitSettings,
    dataset: DatasetSettings,
    log: DefectLog,
    key: str,
    *,
    whole_folder: bool,
) -> SourceSplit:
    """Read one split of Open Images: `ImageID,...,LabelName,...,XMin,XMax,YMin,YMax,...`, relative.

    `dataset.names_file` is the file of class descriptions (`/m/011k07,Tortoise`). Groups
    (`IsGroupOf`) are crowd regions.

    Args:
        root: The data set's folder.
        split: The file of boxes and the folder of the pictures.
        dataset: The file of class descriptions.
        log: Where defects go.
        key: Setting that named them, for messages.
        whole_folder: All pictures of the folder belong to the split.

    Raises:
        DataError: If a file or folder is missing, or the columns are others.
    """
    names: dict[str, str] = {}
    if dataset.names_file:
        require_file(root / dataset.names_file, f"dataset.names_file={dataset.names_file}")
        names = _descriptions(root / dataset.names_file)
    text, pictures, digests = _open(root, split, log, key)
    rows = csv_rows(text, root / split.annotations)
    header = [cell.strip() for cell in next(rows, (0, []))[1]]
    if not set(_OPEN_IMAGES) <= set(header):
        raise DataError(
            f"{root / split.annotations}: its columns are {','.join(header)[:200]!r}; Open Images' "
            f"boxes have {','.join(_OPEN_IMAGES)}."
        )
    column_of = {name: header.index(name) for name in header}
    entries: dict[str, Labelled] = {}
    for line, cells in rows:
        where = f"{split.annotations}:{line}"
        if len(cells) < len(header):
            log.add("malformed_entry", where, f"{len(cells)} columns of {len(header)}")
            if column_of["ImageID"] < len(cells):
                pictures.speak_for(cells[column_of["ImageID"]])
            continue
        image = cells[column_of["ImageID"]].strip()
        entry = entries.setdefault(image, Labelled(image, where))
        label = cells[column_of["LabelName"]].strip()
        if not label or (names and label not in names):
            log.add("unknown_category", where, f"{label!r} is not in {dataset.names_file}")
            entry.lost += 1
            continue
        try:
            box = [number(cells[column_of[k]]) for k in ("YMin", "XMin", "YMax", "XMax")]
            group = cells[column_of["IsGroupOf"]].strip() if "IsGroupOf" in column_of else "0"
            crowd = group != "-1" and flag(group)  # -1: nobody looked
        except ValueError as error:
            log.add("malformed_box", where, str(error))
            entry.lost += 1
            continue
        entry.boxes.append(NamedBox(names.get(label, label), box, crowd))
    boxes = list(entries.values())
    for entry in boxes:
        if pictures.find(entry.written, entry.where) not in pictures.files:
            entry.written += ".jpg"
    return split_of(boxes, pictures, digests, log, relative=True, whole_folder=whole_folder)


def _descriptions(path: Path) -> dict[str, str]:
    """Read the file of class descriptions: identifier -> name.

    Raises:
        DataError: If an identifier has no name, or two.
    """
    names: dict[str, str] = {}
    for line, cells in csv_rows(csv_text(path), path):
        label, name = cells[0].strip(), cells[1].strip() if len(cells) > 1 else ""
        if not name or names.setdefault(label, name) != name:
            wrong = f"the names {names[label]!r} and {name!r}" if name else "no name"
            raise DataError(
                f"{path}, line {line}: {label!r} has {wrong}. A line is an identifier and its one "
                "name: /m/011k07,Tortoise."
            )
    return names


def _open(
    root: Path, split: SplitSettings, log: DefectLog, key: str
) -> tuple[str, Pictures, dict[str, str]]:
    path = root / split.annotations
    require_file(path, f"{key}.annotations={split.annotations}")
    text = csv_text(path)
    digests = {split.annotations: hashlib.sha256(text.encode()).hexdigest()}
    return text, Pictures(root, split, log, key), digests


def csv_text(path: Path) -> str:
    """The text of a file in UTF-8 or, with its mark, UTF-16, as spreadsheets save it.

    Raises:
        DataError: If the file is too large, cannot be read, or is no such text.
    """
    if bytes_of(path) > _LARGEST:
        raise DataError(f"{path}: larger than {_LARGEST >> 30} GiB. Cut it into splits.")
    data = read_file(path)
    try:
        return text_of(data)
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not UTF-8 text ({error}). Save the file as UTF-8.") from error


def csv_rows(text: str, path: Path) -> Iterator[tuple[int, list[str]]]:
    """Yield number and cells of each line; the first one says what separates them.

    Raises:
        DataError: If a quote is not closed or a cell is too long.
    """
    first = next((line for line in text.splitlines() if line.strip()), "")
    # Strict: a quote that is never closed would swallow all lines behind it.
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator_of(first), strict=True)
    try:
        for cells in reader:
            if max(map(len, cells), default=0) > _LONGEST_CELL:
                raise csv.Error(f"a cell of more than {_LONGEST_CELL:,} characters")
            if any(cell.strip() for cell in cells):
                yield reader.line_num, cells
    except csv.Error as error:
        raise DataError(
            f"{path}, line {reader.line_num}: no CSV ({error}). Look for a quote that is not "
            "closed, or save the file again."
        ) from error


def _is_number(cell: str) -> bool:
    try:
        number(cell)
    except ValueError:
        return False
    return True
