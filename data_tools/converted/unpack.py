"""`convert.py unpack=SET format=...`: pictures and labels for other tools, from a converted set.

How each format is written is in `data_tools/converted/label_formats.py`.
"""

from __future__ import annotations

import shlex
import shutil
from pathlib import Path

from data_tools.convert.settings import ConvertSettings
from data_tools.converted.label_formats import WRITERS, Unpacked, finish_set
from data_tools.converted.verify import split_folders
from data_tools.core.errors import DataError
from data_tools.core.progress import Progress
from data_tools.core.settings_fields import require
from data_tools.core.where_to_look import where_to_look
from data_tools.shards.manifest import open_split
from data_tools.shards.reader import RowReader
from data_tools.sources.coco import read_annotations
from data_tools.sources.image_files import safe_name


def run_unpack(settings: ConvertSettings) -> int:
    """Write the pictures and labels of a converted set in another format; appears whole or not at
    all.

    Args:
        settings: Settings of the command: `unpack`, `format`, `out`.

    Returns:
        0.

    Raises:
        DataError: If there is no such set, `out` holds something, or the disk cannot be written.
    """
    require(bool(settings.out), "out", settings.out, "the folder for the pictures and labels")
    out = Path(settings.out).expanduser().absolute()
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise DataError(
            f"out={out}: there is something already. Choose a folder that is not there yet."
        )
    root = Path(settings.unpack)
    folders = split_folders(root)
    partial = out.with_name(out.name + ".unpacking")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        lost = {}
        for folder in folders:
            lost[folder.name] = _unpack_split(folder, partial, settings.format)
        finish_set(
            partial, settings.format, [folder.name for folder in folders], _names(folders[0])
        )
        if out.exists():
            out.rmdir()
        partial.rename(out)
    except OSError as error:
        raise DataError(f"out={out}: cannot be written ({error.strerror or error}).") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    for name, flags in lost.items():
        for flag, count in flags.items():
            print(f"{name}: {settings.format} cannot hold that {count} boxes are {flag}")
    _print_order(folders, settings.format)
    print(f"{out}: {', '.join(lost)} as {settings.format}")
    print(where_to_look(then=f"the pictures are below {out}"))
    return 0


def _print_order(folders: list[Path], form: str) -> None:
    """Say so where reading the format again numbers the classes otherwise.

    COCO's are in the order of their ids, YOLO's in that of its list; the others have no list.
    """
    splits = [open_split(folder.parent, folder.name) for folder in folders]
    classes = splits[0].classes
    if form == "coco":
        order = sorted(classes, key=lambda entry: entry.category_id)
    elif form == "yolo":
        order = list(classes)
    else:
        tables = [read_annotations(split.annotations_path).table for split in splits]
        used = {number for table in tables for number in table.category_ids.tolist()}
        boxed = [entry for entry in classes if entry.category_id in used]
        order = sorted(boxed, key=lambda entry: entry.name)
    if order != list(classes):
        names = [entry.name for entry in classes]
        print(
            f"{form} cannot hold this order of classes, or one without a box: read it with "
            f"{shlex.quote(f'dataset.classes={names}')} to keep their labels"
        )


def _names(folder: Path) -> list[str]:
    return [entry.name for entry in open_split(folder.parent, folder.name).classes]


def _unpack_split(folder: Path, out: Path, form: str) -> dict[str, int]:
    """Write one split; returns how many boxes are what the format cannot hold."""
    split = open_split(folder.parent, folder.name)
    table = read_annotations(split.annotations_path).table
    row_of = {int(number): k for k, number in enumerate(table.image_ids)}
    reader = RowReader(split)
    labels = {entry.category_id: entry.label - 1 for entry in split.classes}
    writer = WRITERS[form](out, folder.name, split.classes)
    used: set[str] = set()
    lost = {"crowd regions": 0, "difficult": 0}
    renamed = 0
    with Progress(f"unpacking {folder.name}", len(reader)) as progress:
        for index in range(len(reader)):
            row = reader[index]
            if row.image_id not in row_of:
                raise reader.damaged(index, f"{split.annotations_path.name} has no such image")
            sample = table[row_of[row.image_id]]
            data = row.image.tobytes()
            safe = safe_name(sample.file_name) or f"{row.image_id}"
            held = writer.file_name(safe)
            renamed += held != safe
            name = _file_name(held, data, row.image_id, used)
            writer.add(Unpacked(name, data, sample, [labels[int(c)] for c in sample.category_ids]))
            lost["crowd regions"] += 0 if writer.holds_crowd else int(sample.iscrowd.sum())
            lost["difficult"] += 0 if writer.holds_difficult else int(sample.difficult.sum())
            progress.update()
    writer.close()
    if renamed:
        print(
            f"{folder.name}: {renamed} pictures lie below images_ in place of images: "
            f"{form}'s tools look for labels where the last folder of that name is"
        )
    return {what: count for what, count in (lost | writer.changed).items() if count}


def _file_name(safe: str, data: bytes, image_id: int, used: set[str]) -> str:
    """The picture's name, with the ending of what its bytes are, and a stem of its own."""
    stem, _, ending = safe.rpartition(".")
    jpeg, png = data.startswith(b"\xff\xd8"), data.startswith(b"\x89PNG")
    if jpeg and ending.lower() not in ("jpg", "jpeg"):
        ending = "jpg"
    elif png and ending.lower() != "png":
        ending = "png"
    stem = stem or safe
    if stem.lower() in used:
        stem += f"_{image_id}"
    used.add(stem.lower())
    return f"{stem}.{ending}"
