"""`convert.py leaks=[SET_A,SET_B]`: which pictures of one converted set are in another.

Pictures are distinguished by the hashes in the manifests (`shards/stored_hashes.py`), so the shards
may be elsewhere. What differs between two versions of one set is the business of `diff.py`.
"""

from __future__ import annotations

import csv
import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from data_tools.convert.copy_boxes import box_difference
from data_tools.convert.settings import ConvertSettings
from data_tools.converted.verify import refuse_set, split_folders
from data_tools.core.errors import DataError, SettingError
from data_tools.core.files import make_folder, replacing, write_atomic
from data_tools.core.progress import Progress
from data_tools.core.words import csv_cell
from data_tools.images.copies import BYTES, NEAR, PIXELS, Copy, find_copies
from data_tools.images.decode import PictureError, decode_file
from data_tools.images.inspect import inspect
from data_tools.images.picture_hash import HashPool, pixels_hash
from data_tools.shards import stored_hashes as stored
from data_tools.shards.manifest import Manifest, open_split, read_manifest
from data_tools.shards.reader import RowReader
from data_tools.sources.coco import read_annotations
from data_tools.sources.table import SampleTable

COLUMNS = ("action", "split", "image", "same_as_split", "same_as", "how", "different_bits", "boxes")


@dataclass(frozen=True)
class Side:
    """One split of one of the sets, its pictures in the order of `annotations.json`.

    Args:
        folder: The split's folder.
        manifest: Its manifest.
        table: Its ground truth.
        bytes_hashes: Of each picture.
        picture_hashes: Of each picture; None where the manifest has none and there are no shards.
        reader: The rows; None where there are no shards.
    """

    folder: Path
    manifest: Manifest
    table: SampleTable
    bytes_hashes: list[bytes]
    picture_hashes: list[bytes] | None
    reader: RowReader | None


def run_leaks(settings: ConvertSettings) -> int:
    """Look for the pictures of one set in another: a table on the terminal, `leaks.csv` and
    `leaks.json`.

    Args:
        settings: Settings of the command: `leaks`, `out`.

    Returns:
        0 if no picture of the first set is in the second, else 1.

    Raises:
        SettingError: If `leaks` is not two sets.
        DataError: If a set is missing or damaged, or has neither hashes nor shards.
    """
    if len(settings.leaks) != 2:
        raise SettingError(
            f"leaks={settings.leaks}: expected two converted sets or splits, leaks=[SET,OTHER], "
            "such as leaks=[DATA/train,DATA/val]."
        )
    out = Path(settings.out or "outputs/leaks").expanduser()
    refuse_set(out, "findings")
    ours, theirs = (
        [_side(part) for part in split_folders(Path(folder).expanduser())]
        for folder in settings.leaks
    )
    if {side.folder.resolve() for side in ours} & {side.folder.resolve() for side in theirs}:
        raise SettingError(
            f"leaks={settings.leaks}: a split of both is one and the same. Name two that are not, "
            "such as leaks=[DATA/train,DATA/val]."
        )
    make_folder(out, "out")
    leaks = [row for side in ours for row in _leaks_of(side, theirs)]
    with (
        replacing(out / "leaks.csv") as temporary,
        open(temporary, "w", newline="", encoding="utf-8") as file,
    ):
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        writer.writerows([csv_cell(str(row[key])) for key in COLUMNS] for row in leaks)
    content = {
        "sets": [
            {
                "set": folder,
                "fingerprints": {s.manifest.split: s.manifest.fingerprint for s in sides},
            }
            for folder, sides in zip(settings.leaks, (ours, theirs), strict=True)
        ],
        "compared": BYTES if _without_pictures(ours, theirs) else f"{BYTES}, {NEAR}",
        "leaks": leaks,
    }
    write_atomic(out / "leaks.json", json.dumps(content, indent=1) + "\n")
    _print_table(ours, theirs, leaks, settings.leaks)
    print(f"every picture: {out}/leaks.csv and leaks.json")
    if leaks:
        print(f"to leave them out of the first set: convert it again with exclude={out}/leaks.csv")
    return 1 if leaks else 0


def _without_pictures(ours: list[Side], theirs: list[Side]) -> bool:
    return any(side.picture_hashes is None for side in [*ours, *theirs])


def _side(folder: Path) -> Side:
    manifest = read_manifest(folder)
    table = read_annotations(folder / "annotations.json").table
    try:
        reader = RowReader(open_split(folder.parent, folder.name))
    except DataError:
        reader = None  # the shards are elsewhere
    ids, bytes_hashes, pictures = (
        stored.stored_hashes(manifest, kind) for kind in (stored.IDS, stored.BYTES, stored.PICTURES)
    )
    if ids is None or bytes_hashes is None or (pictures is None and reader is not None):
        if reader is None:
            raise DataError(
                f"{folder}: its manifest has no hashes of pictures (an older version made it, or "
                "image.hashes=none) and its shards are not there. Give the whole set, or convert "
                "it again."
            )
        num_bytes = sum((folder / shard.file).stat().st_size for shard in manifest.shards)
        print(
            f"{folder}: its manifest has no hashes of what its pictures show, so {len(reader)} "
            f"pictures ({num_bytes / 1e6:.0f} MB) are read from its shards and decoded; a set "
            "converted with image.hashes=pictures needs neither"
        )
        with HashPool() as pool, Progress(f"hashing {folder}", len(reader)) as bar:
            numbers = []
            for index in range(len(reader)):
                row = reader[index]
                numbers.append(row.image_id)
                data = row.image.tobytes()
                pool.add(data, *_size(data, row.height, row.width))
                bar.update()
        hashes = pool.results()
        bytes_hashes, pictures = [b for b, _ in hashes], [p for _, p in hashes]
    else:
        numbers = [stored.unpack_id(data) for data in ids]
    row_of = {number: k for k, number in enumerate(numbers)}
    wanted = table.image_ids.tolist()
    if len(row_of) != len(wanted) or not set(wanted) <= set(row_of):
        raise DataError(
            f"{folder}: annotations.json and the manifest name different images. Copy the set "
            "again."
        )
    order = [row_of[number] for number in wanted]
    return Side(
        folder,
        manifest,
        table,
        [bytes_hashes[k] for k in order],
        None if pictures is None else [pictures[k] for k in order],
        reader,
    )


def _size(data: bytes, height: int, width: int) -> tuple[int, int]:
    if height and width:
        return height, width
    facts = inspect(data)  # shards of the published tools do not say
    return facts.height, facts.width


def _leaks_of(side: Side, theirs: list[Side]) -> list[dict[str, Any]]:
    """The pictures of one split that are in any of the others: rows of `leaks.csv`."""
    sides = [side, *theirs]
    starts = np.cumsum([0, *(len(s.table) for s in sides)])
    listed = [part.picture_hashes for part in sides if part.picture_hashes is not None]
    pictures = [h for part in listed for h in part] if len(listed) == len(sides) else None

    def split_and_row(index: int) -> tuple[Side, int]:
        which = int(np.searchsorted(starts, index, side="right")) - 1
        return sides[which], index - int(starts[which])

    def pixels_of(index: int) -> bytes | None:
        part, row = split_and_row(index)
        if part.reader is None:
            return None
        try:
            return pixels_hash(decode_file(part.reader[row].image.tobytes()))
        except PictureError:
            return None

    rank = np.repeat([0, *[1] * len(theirs)], np.diff(starts))
    hashes = [h for part in sides for h in part.bytes_hashes]
    readable = all(part.reader is not None for part in sides)
    copies = find_copies(rank.tolist(), hashes, pictures, pixels_of if readable else None)
    return [
        _row(copy, *split_and_row(copy.index), *split_and_row(copy.original))
        for copy in copies.across
    ]


def _row(copy: Copy, ours: Side, row: int, theirs: Side, other: int) -> dict[str, Any]:
    equal = copy.how in (BYTES, PIXELS)
    sample = ours.table[row]
    size = (sample.height, sample.width) if equal and sample.height else None
    return {
        "action": "drop_image",
        "split": ours.manifest.split,
        "image": ours.table.file_names[row],
        "same_as_split": theirs.manifest.split,
        "same_as": theirs.table.file_names[other],
        "how": copy.how,
        "different_bits": copy.bits,
        "boxes": box_difference(*_boxes(ours, row), *_boxes(theirs, other), size) or "the same",
    }


def _boxes(side: Side, row: int) -> tuple[Any, list[str]]:
    sample = side.table[row]
    names = {entry.category_id: entry.name for entry in side.manifest.classes}
    size = np.array([sample.height or 1, sample.width or 1] * 2, np.float64)
    return sample.boxes_yxyx_px / size, [names.get(int(c), str(c)) for c in sample.category_ids]


def _print_table(
    ours: list[Side], theirs: list[Side], leaks: list[dict[str, Any]], names: list[str]
) -> None:
    compared = "bytes only" if _without_pictures(ours, theirs) else "bytes and pictures"
    print(f"pictures of {names[0]} that are in {names[1]} ({compared} compared)")
    kinds = "".join(f"{{:>{len(kind) + 4}}}" for kind in (BYTES, PIXELS, NEAR))
    widths = f"  {{:<24}}{{:>9}}{kinds}{{:>20}}"
    print(widths.format("splits", "images", BYTES, PIXELS, NEAR, "other boxes"))
    for side in ours:
        for other in theirs:
            rows = [
                row
                for row in leaks
                if (row["split"], row["same_as_split"])
                == (side.manifest.split, other.manifest.split)
            ]
            counts = Counter(row["how"] for row in rows)
            differ = sum(row["boxes"] != "the same" for row in rows)
            title = f"{side.manifest.split} in {other.manifest.split}"
            cells = (len(side.table), counts[BYTES], counts[PIXELS], counts[NEAR], differ)
            print(widths.format(title, *cells))
    if _without_pictures(ours, theirs):
        print(
            "Copies that were altered (re-encoded, scaled) were not looked for: a set has neither "
            "its shards nor hashes of what its pictures show. Convert it with "
            "image.hashes=pictures."
        )
