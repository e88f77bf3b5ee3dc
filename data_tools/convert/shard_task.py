"""Converts the images of one shard: the work that goes to a process of its own.

Knows neither the other shards nor the whole; `convert.py` hands out the tasks and `finish_split.py`
joins the results. What a shard becomes depends on its task alone.
"""

from __future__ import annotations

import os
import shutil
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from data_tools.convert.coco_json import ShardGroundTruth
from data_tools.convert.prepare_image import prepare_image
from data_tools.convert.settings import ImageSettings
from data_tools.convert.shard_result import write_result
from data_tools.core.errors import DataError
from data_tools.core.freed_memory import keep_freed_memory
from data_tools.core.read_ahead import with_images
from data_tools.core.sample import Sample
from data_tools.images.picture_hash import bytes_hash, picture_hash
from data_tools.shards.manifest import ShardInfo
from data_tools.shards.schema import row_from_sample
from data_tools.shards.stored_hashes import BYTES, IDS, PICTURES, pack_hashes, pack_id
from data_tools.shards.writer import HEADROOM_BYTES, ShardWriter
from data_tools.sources.box_checks import boxes_fit, fit_boxes
from data_tools.sources.classes import ClassMap
from data_tools.sources.defects import Defect, DefectLog, raise_errors
from data_tools.sources.table import SampleTable

Tick = Callable[[int, int], None]
"""Called with the images done and the defects found since the last call."""

_KINDS: dict[str, tuple[str, ...]] = {
    "none": (), "bytes": (IDS, BYTES), "pictures": (IDS, BYTES, PICTURES),
}  # fmt: skip
_TICK_ROWS = 16
"""Images between two calls: often enough for the eye, seldom enough to cost nothing."""


@dataclass(frozen=True)
class ShardTask:
    """Everything that decides one shard, and where it goes.

    Args:
        plan_digest: Hash of the plan, noted in the result.
        name: File name of the shard.
        table: Its samples, with source category ids.
        classes: What becomes of the categories.
        image: What is done to images.
        policy: Kind of defect -> action.
        keep_empty: Whether images without boxes are kept.
        page_bytes: MindRecord page size.
        folder: Folder of the split in the making.
        state: File for the result; it is there once the shard is whole.
        scratch: Folder for the shard while it is being written.
    """

    plan_digest: str
    name: str
    table: SampleTable
    classes: ClassMap
    image: ImageSettings
    policy: dict[str, str]
    keep_empty: bool
    page_bytes: int
    folder: Path
    state: Path
    scratch: Path


def convert_shard(task: ShardTask, tick: Tick) -> None:
    """Write one shard and its result file; both are whole or not there.

    Args:
        task: The shard.
        tick: Progress.

    Raises:
        DataError: If the disk is full or cannot be written.
    """
    keep_freed_memory()
    folder = task.scratch / f"{os.getpid()}-{task.name}"
    try:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        result = _write_rows(task, folder / task.name, tick)
        raise_errors(Defect(**entry) for entry in result["defects"])
        # Renaming a MindRecord file breaks it, moving it does not. The index goes first and the
        # result last: a shard counts from the moment its result is there.
        if result["shard"] is not None:
            for suffix in (".db", ""):
                (folder / (task.name + suffix)).replace(task.folder / (task.name + suffix))
        task.state.parent.mkdir(parents=True, exist_ok=True)
        write_result(task.state, result)
    except OSError as error:
        raise DataError(
            f"{task.folder / task.name}: cannot be written ({error.strerror or error}). Finished "
            "shards are kept: free some space or pick another `out`, then run the same command "
            "again."
        ) from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _write_rows(task: ShardTask, path: Path, tick: Tick) -> dict[str, Any]:
    log, changes = DefectLog(task.policy), Counter[str]()
    truth = ShardGroundTruth(task.classes.classes)
    fits, offsets = boxes_fit(task.table).tolist(), task.table.offsets.tolist()
    labels = task.classes.labels(task.table.category_ids)
    hashes: dict[str, list[bytes]] = {kind: [] for kind in _KINDS[task.image.hashes]}
    writer: ShardWriter | None = None
    shard: ShardInfo | None = None
    reported, reported_defects = 0, 0
    samples = with_images(task.table, task.table.root)
    try:
        for index, sample in enumerate(samples):
            known = labels[offsets[index] : offsets[index + 1]] if fits[index] else None
            row = make_row(task, sample, known, log, changes, truth)
            if row is not None:
                writer = writer or ShardWriter(path, task.page_bytes)
                writer.write([row])
                _hash(row, hashes)
            if (index + 1) % _TICK_ROWS == 0 or index + 1 == len(task.table):
                tick(index + 1 - reported, len(log.defects) - reported_defects)
                reported, reported_defects = index + 1, len(log.defects)
        shard = writer.close() if writer is not None else None
    finally:
        samples.close()  # its threads, where an error ends this early
        if writer is not None:
            writer.abort()
    return {
        "plan": task.plan_digest,
        "shard": asdict(shard) if shard is not None else None,
        **truth.as_dict(),
        "defects": [defect.as_dict() for defect in log.defects],
        "changes": dict(sorted(changes.items())),
        "hashes": {kind: pack_hashes(values) for kind, values in hashes.items()},
    }


def _hash(row: dict[str, Any], hashes: dict[str, list[bytes]]) -> None:
    data = row["image"]
    if BYTES in hashes:
        hashes[IDS].append(pack_id(int(row["image_id"])))
        hashes[BYTES].append(bytes_hash(data))
    if PICTURES in hashes:
        hashes[PICTURES].append(picture_hash(data, int(row["height"]), int(row["width"])))


class SampleCollector(Protocol):
    """What is collected of each sample as it is stored, such as `coco_json.ShardGroundTruth`."""

    def add(self, sample: Sample, labels: npt.NDArray[np.int32]) -> None:
        """Note a sample: boxes and size in the frame of the stored picture."""


def make_row(
    task: ShardTask,
    sample: Sample,
    labels: npt.NDArray[np.int32] | None,
    log: DefectLog,
    changes: Counter[str],
    truth: SampleCollector,
) -> dict[str, Any] | None:
    """Make one row as it is written, or find that its image is left out.

    Args:
        task: What decides the rows.
        sample: The image and its boxes as the source has them.
        labels: (N,) labels where all boxes are known to lie within the declared size, else None.
        log: Where defects go.
        changes: Counts of what was done to images.
        truth: Collects the sample as it is stored.

    Returns:
        Column name to value, see `row_from_sample`; None if the image is left out.
    """
    limit = task.page_bytes - HEADROOM_BYTES - 64 * len(sample.category_ids)
    prepared = prepare_image(sample, task.image, log, limit)
    if prepared is None:
        return None
    fitted = prepared.sample
    if labels is None or fitted is not sample or prepared.height != sample.height:
        had_boxes = len(fitted.category_ids) > 0
        fitted = fit_boxes(fitted, prepared.height, prepared.width, log)
        if had_boxes and not len(fitted.category_ids):
            detail = "every box was left out: none lies within the image"
            action = log.add("lost_all_boxes", sample.file_name, detail, image_id=sample.image_id)
            if action != "keep":
                return None
        labels = task.classes.labels(fitted.category_ids)
    if not len(fitted.category_ids) and not task.keep_empty:
        changes["empty_left_out"] += 1
        return None
    changes.update(prepared.changes)
    truth.add(fitted, labels)
    return row_from_sample(fitted, prepared.data, labels)
