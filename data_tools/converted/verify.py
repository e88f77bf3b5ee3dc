"""`convert.py verify=DIR`: checks every hash, row count, id and box of a converted set.

A file is hashed before it is opened: a damaged MindRecord file can end a process that reads it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from data_tools.convert.workspace import PART_PREFIX
from data_tools.core.boxes import xywh_from_yxyx
from data_tools.core.errors import DataError, SettingError
from data_tools.core.files import neighbours, sha256_of_file
from data_tools.core.progress import Progress
from data_tools.core.where_to_look import preview_of, where_to_look
from data_tools.images.inspect import inspect
from data_tools.images.picture_hash import bytes_hash
from data_tools.shards.manifest import (
    ANNOTATIONS,
    MANIFEST,
    ConvertedSplit,
    ShardInfo,
    read_manifest,
)
from data_tools.shards.mindrecord_reader import ShardError, ShardFile
from data_tools.shards.reader import Row, RowReader
from data_tools.shards.schema import PUBLISHED_FORMAT
from data_tools.shards.stored_hashes import BYTES, IDS, stored_hashes, unpack_id
from data_tools.sources.coco import read_annotations
from data_tools.sources.table import SampleTable

_SHOWN_IDS = 100
_TOLERANCE_PX = 0.01
"""Rows hold float32; annotations.json has six decimals."""


def run_verify(root: Path) -> int:
    """Check a converted set and print what is wrong with it.

    Args:
        root: The folder that was `out`, or the folder of one split.

    Returns:
        0 if all is well, else 1.

    Raises:
        DataError: If there is no converted set.
    """
    folders = split_folders(root)
    problems = 0
    for folder in folders:
        rows = 0
        for problem in verify_split(folder):
            problems += 1
            print(f"BAD {problem}")
        try:
            rows = read_manifest(folder).num_images
        except DataError:
            continue
        print(f"{folder}: {rows} rows checked")
    if problems:
        print(f"{root}: {problems} problems found")
        return 1
    print(f"{root}: good")
    print(where_to_look(then=preview_of(root)))
    return 0


def split_folders(root: Path) -> list[Path]:
    """Return the folders of the splits of a converted set.

    Raises:
        DataError: If there is none.
    """
    if (root / MANIFEST).is_file():
        return [root]
    folders = sorted(p.parent for p in root.glob(f"*/{MANIFEST}"))
    partial = root.with_name(root.name + ".partial")
    if not folders and partial.exists():
        raise DataError(
            f"{root}: no converted set yet; {partial} holds an unfinished one. Run the conversion "
            "again: it goes on where it stopped."
        )
    if not folders and any(root.glob(f"{PART_PREFIX}*")):
        raise DataError(f"{root}: holds parts of a set. Join them: python convert.py merge={root}")
    if not folders and not root.exists():
        raise DataError(f"{root}: no converted set: no such folder.{neighbours(root)}")
    if not folders:
        raise DataError(f"{root}: no converted set: expected <split>/{MANIFEST} in it.")
    return folders


def refuse_set(out: Path, what: str) -> None:
    """Refuse an `out` that is a converted set, in which nothing else is written.

    Args:
        out: The folder; need not exist.
        what: What is to be written there.

    Raises:
        SettingError: If it is a set or a split.
    """
    if any(out.glob(f"*/{MANIFEST}")) or (out / MANIFEST).exists():
        raise SettingError(f"out={out}: a converted set. Choose another folder for the {what}.")


def verify_split(folder: Path) -> Iterator[str]:
    """Check one split; yields one line for each thing that is wrong.

    Args:
        folder: The split's folder.
    """
    try:
        manifest = read_manifest(folder)
    except DataError as error:
        yield str(error)
        return
    annotations_good = True
    for name, digest in manifest.files.items():
        problem = _file_problem(folder / name, digest)
        if problem:
            annotations_good &= name != ANNOTATIONS
            yield problem
    truth: SampleTable | None = None
    if annotations_good:
        try:
            truth = read_annotations(folder / ANNOTATIONS).table
        except DataError as error:
            yield str(error)
    first, bad = 0, False
    with Progress(f"verifying {manifest.split}", manifest.num_images, unit="row") as bar:
        for shard in manifest.shards:
            ids = truth.image_ids[first : first + shard.rows].tolist() if truth is not None else []
            if ids and (ids[0], ids[-1]) != (shard.first_image_id, shard.last_image_id):
                ids = []  # shards of a set that grew take turns: the manifest has the range only
            first += shard.rows
            problems = list(_shard_problems(folder, shard))
            if problems:
                bad = True
                yield from (f"{problem}{_ids_text(shard, ids)}" for problem in problems)
                yield from _damaged_rows(folder, shard, ids)
                bar.update(shard.rows)
            else:
                bar.update(0)
        if not bad and truth is not None:
            yield from _check_rows(ConvertedSplit(folder, manifest), truth, bar)
        if not bad:
            yield from _check_hashes(ConvertedSplit(folder, manifest))
    expected = {MANIFEST, *manifest.files}
    expected |= {name for shard in manifest.shards for name in shard.digests}
    for path in sorted(folder.iterdir()):
        if path.name not in expected:
            yield f"{path}: the manifest does not know this file"


def _file_problem(path: Path, digest: str) -> str:
    if not path.is_file():
        return f"{path}: missing"
    try:
        actual = sha256_of_file(path)
    except OSError as error:
        return f"{path}: cannot be read ({error.strerror or error})"
    if actual == digest:
        return ""
    return (
        f"{path}: its sha256 is {actual[:16]}..., the manifest says {digest[:16]}...: "
        "changed or damaged"
    )


def _shard_problems(folder: Path, shard: ShardInfo) -> Iterator[str]:
    path = folder / shard.file
    if path.is_file() and path.stat().st_size != shard.bytes:
        yield f"{path}: {path.stat().st_size} bytes, the manifest says {shard.bytes}"
        return
    for name, digest in shard.digests.items():
        problem = _file_problem(folder / name, digest)
        if problem:
            yield problem


def _ids_text(shard: ShardInfo, ids: Sequence[int]) -> str:
    if not ids:
        return f"; it holds {shard.rows} images, {shard.first_image_id} to {shard.last_image_id}"
    shown = ", ".join(map(str, ids[:_SHOWN_IDS]))
    more = f", ... {ids[-1]}" if len(ids) > _SHOWN_IDS else ""
    return f"; it holds {len(ids)} images: {shown}{more}"


def _damaged_rows(folder: Path, shard: ShardInfo, ids: Sequence[int]) -> Iterator[str]:
    """Name the rows of a bad shard that can be seen to be bad; a changed pixel cannot be seen."""
    path = folder / shard.file
    try:
        file = ShardFile(path, ())
    except (ShardError, OSError) as error:
        yield f"{path}: cannot be opened: {error}"
        return
    for row in range(min(len(file), shard.rows)):
        number = ids[row] if row < len(ids) else "?"
        try:
            facts = inspect(file.arrays(row, ("image",))["image"].tobytes())
            problem = facts.problem
        except (ShardError, OSError) as error:
            problem = str(error)
        if problem:
            yield f"{path}: image {number} (row {row}): {problem}"


def _check_rows(split: ConvertedSplit, truth: SampleTable, bar: Progress) -> Iterator[str]:
    """Compare every row with annotations.json; the files' hashes are good."""
    reader = RowReader(split)
    if len(truth) != len(reader):
        yield (f"{split.folder}: {len(reader)} rows, but {len(truth)} images in {ANNOTATIONS}")
        return
    published = split.manifest.format == PUBLISHED_FORMAT
    label_of = {entry.category_id: entry.label for entry in split.classes}
    seen: set[int] = set()
    for index in range(len(reader)):
        try:
            row = reader[index]
        except DataError as error:
            yield str(error)
            continue
        problem = "" if published else _row_problem(row, truth, index, label_of)
        if row.image_id in seen:
            problem = "its id is used twice"
        seen.add(row.image_id)
        if problem:
            yield f"{reader.shard_of(index)}: image {row.image_id} (row {index}): {problem}"
        bar.update(1)


def _check_hashes(split: ConvertedSplit) -> Iterator[str]:
    """Compare the hashes of pictures in the manifest, where it has them, with the rows."""
    if not split.manifest.hashes:
        return
    ids, known = stored_hashes(split.manifest, IDS), stored_hashes(split.manifest, BYTES)
    if ids is None or known is None:
        partly = any(
            len(texts) < len(split.manifest.shards) for texts in split.manifest.hashes.values()
        )
        if not partly:  # a set that an older version began has hashes of its newer shards only
            yield f"{split.folder / MANIFEST}: its hashes of pictures are not one for each row"
        return
    expected = dict(zip((unpack_id(data) for data in ids), known, strict=True))
    reader = RowReader(split)
    for index in range(len(reader)):
        row = reader[index]
        if expected.get(row.image_id) != bytes_hash(row.image.tobytes()):
            name = f"{split.folder / MANIFEST}: image {row.image_id}"
            yield f"{name}: its hash is that of another picture"


def _row_problem(row: Row, truth: SampleTable, index: int, label_of: dict[int, int]) -> str:
    sample = truth[index]
    if row.image_id != sample.image_id:
        return f"{ANNOTATIONS} has image {sample.image_id} in its place"
    if (row.height, row.width) != (sample.height, sample.width):
        return f"size {row.height}, {row.width}; {ANNOTATIONS}: {sample.height}, {sample.width}"
    facts = inspect(row.image.tobytes())
    if facts.format == "other" or (facts.height, facts.width) != (row.height, row.width):
        return f"the stored picture is {facts.format} of {facts.height}, {facts.width}"
    if len(row.labels) != len(sample.category_ids):
        return f"{len(row.labels)} boxes, {ANNOTATIONS} has {len(sample.category_ids)}"
    if not len(row.labels):
        return ""
    labels = np.array([label_of.get(int(c), 0) for c in sample.category_ids])
    if not np.array_equal(labels, row.labels):
        return f"labels {row.labels.tolist()}, {ANNOTATIONS}: {labels.tolist()}"
    if not np.array_equal(sample.iscrowd, row.iscrowd):
        return f"crowd flags differ from {ANNOTATIONS}"
    difference = np.abs(
        xywh_from_yxyx(row.boxes_yxyx_px) - xywh_from_yxyx(sample.boxes_yxyx_px)
    ).max()
    if not difference <= _TOLERANCE_PX:
        return f"a box is {difference:g} pixels away from {ANNOTATIONS}"
    return ""
