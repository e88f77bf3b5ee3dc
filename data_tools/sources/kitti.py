"""KITTI: a text file for each picture, fifteen columns a line, corners in pixels from 0.

Regions called DontCare are left out, with a line each.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from data_tools.core.archives import bytes_of
from data_tools.core.errors import DataError
from data_tools.sources.defects import DefectLog
from data_tools.sources.image_files import SourceSplit, digest_of, read_text, require_folder
from data_tools.sources.listing import list_files
from data_tools.sources.named_boxes import Labelled, NamedBox, Pictures, split_of
from data_tools.sources.named_fields import number
from data_tools.sources.settings import SplitSettings

_LARGEST = 64 << 20


def read_kitti(
    root: Path, split: SplitSettings, log: DefectLog, key: str, *, whole_folder: bool
) -> SourceSplit:
    """Read one split in KITTI's layout.

    Args:
        root: The data set's folder.
        split: Folder of the text files (`label_2`) and folder of the pictures (`image_2`).
        log: Where defects go.
        key: Setting that named the folders, for messages.
        whole_folder: All pictures of the folder belong to the split.

    Raises:
        DataError: If a folder is missing or there is no text file.
    """
    folder = root / split.annotations
    require_folder(folder, f"{key}.annotations={split.annotations}")
    pictures = Pictures(root, split, log, key)
    entries, contents = [], []
    hidden = log if folder != pictures.folder else None
    for name in list_files(folder, (".txt",), hidden, split.annotations):
        where = f"{split.annotations}/{name}"
        try:
            if bytes_of(folder / name) > _LARGEST:
                raise DataError(f"larger than {_LARGEST >> 20} MiB")
            text = read_text(folder / name)
        except (OSError, DataError) as error:
            log.add("unreadable_annotation", where, str(error))
            pictures.speak_for(name[:-4])
            continue
        contents += [name.encode(errors="surrogateescape"), hashlib.sha256(text.encode()).digest()]
        entry = Labelled(name[:-4], where)
        if pictures.find(entry.written, where) not in pictures.files:
            entry.written += ".png"
        for line, row in enumerate(text.splitlines(), 1):
            if row.strip():
                _add(row.split(), entry, f"{where}:{line}", log)
        entries.append(entry)
    if not contents and not log.defects:
        raise DataError(f"{folder}: no text file ({key}.annotations={split.annotations}).")
    digests = {split.annotations: digest_of(contents)}
    return split_of(entries, pictures, digests, log, whole_folder=whole_folder)


def _add(words: list[str], entry: Labelled, where: str, log: DefectLog) -> None:
    try:
        if len(words) < 15:
            raise ValueError(f"{len(words)} columns, expected 15")
        # From the end: a name may hold blanks, and a score may follow.
        start = next(k for k in range(1, len(words) - 13) if _are_numbers(words[k : k + 14]))
        name = " ".join(words[:start])
        x1, y1, x2, y2 = (number(word) for word in words[start + 3 : start + 7])
    except (ValueError, StopIteration) as error:
        log.add("malformed_box", where, str(error) or "expected a name and 14 numbers")
        entry.lost += 1
        return
    if name.lower() == "dontcare":  # NVIDIA's tools write it in small letters
        log.add("ignored_region", where, f"x1, y1, x2, y2 = {x1:g}, {y1:g}, {x2:g}, {y2:g}")
        return
    entry.boxes.append(NamedBox(name, [y1, x1, y2, x2]))


def _are_numbers(words: list[str]) -> bool:
    try:
        return bool([number(word) for word in words])
    except ValueError:
        return False
