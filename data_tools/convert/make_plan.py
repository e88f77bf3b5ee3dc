"""Planning a conversion: which images are there, how large, and into which shards they are cut.

What a plan holds is in `plan.py`.
"""

from __future__ import annotations

import errno
import itertools
import os
import stat
from typing import Any

import numpy as np
import numpy.typing as npt

from data_tools.convert.plan import Plan, SplitPlan
from data_tools.convert.settings import ConvertSettings
from data_tools.core.archives import size_of, split_path
from data_tools.core.errors import DataError
from data_tools.core.object_storage import is_remote, learn_sizes
from data_tools.shards.writer import HEADROOM_BYTES, MAX_PAGE_BYTES, page_bytes_for
from data_tools.sources.defects import (
    DefectLog,
    raise_errors,
    summary,
    where_boxes_went,
)
from data_tools.sources.image_files import digest_of
from data_tools.sources.raw_split import RawDataset, RawSplit
from data_tools.sources.table import SampleTable

IMAGES_PER_SHARD = 2000
_USUAL_PAGE_BYTES = (1 << 22) - HEADROOM_BYTES


def make_plan(settings: ConvertSettings, raw: RawDataset) -> tuple[Plan, dict[str, SampleTable]]:
    """Plan a conversion.

    Args:
        settings: Settings of the converter.
        raw: The raw data set, read.

    Returns:
        The plan, and for each split the table of the images that its shards are cut from.

    Raises:
        DataError: If a split has no image that is there.
    """
    if not raw.classes.classes:
        defects = [defect for split in raw.splits for defect in split.defects]
        went = where_boxes_went(summary(defects))
        lines = "\n".join(f"  {defect.line()}" for defect in defects[:5])
        raise DataError(
            "the data set has no class: no annotation of any split has a box that can be read. "
            + (
                f"Where they went:\n{went}\nThe first defects:\n{lines}\n"
                "See all of them with check=true."
                if defects
                else "They name no object at all: check dataset.kind and dataset.splits."
            )
        )
    # What is found by reading alone need not wait until all images are written.
    raise_errors(d for split in raw.splits for d in split.defects if d.kind == "no_box")
    planned = [_plan_split(split, settings) for split in raw.splits]
    plan = Plan(settings.content(), raw.classes.classes, tuple(p for p, _ in planned))
    return plan, {p.name: table for p, table in planned}


def _plan_split(split: RawSplit, settings: ConvertSettings) -> tuple[SplitPlan, SampleTable]:
    log = DefectLog(settings.content()["policy"])
    log.defects.extend(split.defects)
    table, sizes = measure_files(split.table, log)
    if not len(table):
        if not len(split.table) and log.defects:
            lines = "\n".join(f"  {defect.line()}" for defect in log.defects[:5])
            raise DataError(
                f"split {split.name!r}: none of its {split.found['images']} images can be used; "
                f"all were left out when the annotations were read. The first defects:\n{lines}\n"
                "See all of them with check=true."
            )
        where = "" if split.table.images else f" below {split.table.root}"
        seen = f" The first defect: {log.defects[0].line()}." if log.defects else ""
        raise DataError(
            f"split {split.name!r}: none of its {split.found['images']} images is there{where}. "
            f"Check dataset.root and dataset.splits.{split.name}.images.{seen}"
        )
    source: dict[str, Any] = {
        "kind": settings.dataset.kind,
        "annotations": split.digests,
        "images": {
            "count": len(table),
            "bytes": int(sizes.sum()),
            "listing_sha256": digest_of(
                [f"{n}\0{s}".encode() for n, s in zip(table.file_names, sizes, strict=True)]
            ),
        },
    }
    bounds, page_bytes = cut(table, sizes, settings.shards)
    plan = SplitPlan(
        name=split.name,
        bounds=bounds,
        page_bytes=page_bytes,
        found=split.found,
        other_classes=split.other_classes,
        empty_left_out=split.empty_left_out,
        source=source,
        defects=tuple(log.defects),
    )
    return plan, table


def cut(
    table: SampleTable, sizes: npt.NDArray[np.int64], shards: int
) -> tuple[tuple[int, ...], int]:
    """Cut a split into shards.

    Args:
        table: The I images, at least one.
        sizes: (I,) their sizes in bytes.
        shards: How many shards; 0 takes one per 2000 images.

    Returns:
        The bounds of the shards, and the page size of all of them in bytes.
    """
    count = len(table)
    shards = min(shards or -(-count // IMAGES_PER_SHARD), count)
    bounds = tuple(count * k // shards for k in range(shards + 1))
    return bounds, _page_bytes(sizes, np.diff(table.offsets), bounds)


def measure_files(table: SampleTable, log: DefectLog) -> tuple[SampleTable, npt.NDArray[np.int64]]:
    """Find which images are there, and how large: finds a wrong folder before any work is done.

    Returns:
        The table without missing images, and the file sizes in bytes.
    """
    if table.images:
        return table, np.array([len(data) for data in table.images], np.int64)
    remote = is_remote(table.root)
    if remote and split_path(table.root) is None:
        learn_sizes(table.root, table.file_names)
    sizes, keep = [], []
    first_use: dict[str, int] = {}
    for index, name in enumerate(table.file_names):
        number = int(table.image_ids[index])
        if name in first_use:
            detail = f"image {first_use[name]} names it too"
            if log.add("duplicate_file", name, detail, image_id=number) != "keep":
                continue
        first_use.setdefault(name, number)
        path = f"{table.root}/{name}"
        try:
            if remote:
                raise NotADirectoryError
            status = os.stat(path)  # noqa: PTH116 - a million of them
        except NotADirectoryError:
            size = size_of(path)  # in an archive, or far away
            if size is None:
                log.add("missing_image", name, os.strerror(errno.ENOENT), image_id=number)
            else:
                keep.append(index)
                sizes.append(size)
            continue
        except OSError as error:
            log.add("missing_image", name, str(error.strerror or error), image_id=number)
            continue
        if not stat.S_ISREG(status.st_mode):
            log.add("missing_image", name, "it is a folder or a device", image_id=number)
            continue
        keep.append(index)
        sizes.append(status.st_size)
    return table.take(keep), np.array(sizes, np.int64)


def _page_bytes(
    sizes: npt.NDArray[np.int64], num_boxes: npt.NDArray[np.int64], bounds: tuple[int, ...]
) -> int:
    """The smallest power of two that the largest row fits and that keeps shard headers short."""
    rows = max(np.diff(np.array(bounds)))
    total = max(int(sizes[a:b].sum()) for a, b in itertools.pairwise(bounds))
    largest = int(sizes.max()) + 64 * int(num_boxes.max(initial=0))
    # Each page ends in a gap and each shard has one page for its numbers: neither should be much of
    # it.
    needed = max(largest, 80 * int(rows), total // 2000, min(total // 16, _USUAL_PAGE_BYTES))
    # A picture that fits no page at all is reported as `too_large` when its turn comes.
    return page_bytes_for(min(needed, MAX_PAGE_BYTES - HEADROOM_BYTES))
