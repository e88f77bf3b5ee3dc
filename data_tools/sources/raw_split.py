"""What is left of a split once its boxes are checked against its classes, and each other.

Splits are read in `read.py`; the checks themselves are in `box_checks.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from data_tools.sources.box_checks import check_table
from data_tools.sources.classes import ClassMap
from data_tools.sources.defect_kinds import KINDS
from data_tools.sources.defects import Defect, DefectLog, count_left_out
from data_tools.sources.image_files import SourceSplit
from data_tools.sources.table import SampleTable

SMALL_SPLIT = 100
"""Splits of fewer images, or boxes, may lose more, or have less, than larger ones."""


@dataclass(frozen=True)
class RawSplit:
    """One split of a raw data set as far as it can be checked without opening the images.

    Args:
        name: The split's name.
        table: The samples that are left, sorted by image id, with the source's category ids.
        defects: What was found so far.
        digests: Annotation files read, relative to the root -> sha256.
        found: Counts before anything was left out: `images`, `boxes`.
        other_classes: Number of boxes of classes that the settings leave out.
        empty_left_out: Number of images without boxes that the settings leave out.
    """

    name: str
    table: SampleTable
    defects: tuple[Defect, ...]
    digests: dict[str, str]
    found: dict[str, int]
    other_classes: int
    empty_left_out: int


@dataclass(frozen=True)
class RawDataset:
    """A raw data set, read and checked, ready to be converted or audited."""

    splits: tuple[RawSplit, ...]
    classes: ClassMap


def _without_lost(
    table: SampleTable, had_boxes: npt.NDArray[np.bool_], file: str, log: DefectLog
) -> SampleTable:
    """Leave out the images that lost all their boxes: they are no negatives.

    Args:
        table: The split after the checks of its boxes.
        had_boxes: (I,) whether an image had a box before.
        file: The annotation file, for reports; empty takes each image's own file name.
        log: The defects so far, and where these go.
    """
    lost_before = {
        d.image_id
        for d in log.defects
        if d.image_id is not None and d.action == "skip" and KINDS[d.kind].unit == "box"
    }
    lost = had_boxes | np.isin(table.image_ids, np.array(sorted(lost_before), np.int64))
    lost &= np.diff(table.offsets) == 0
    for k in np.flatnonzero(lost):
        where = file or table.file_names[k]
        detail = f"every box of {table.file_names[k]} was left out"
        action = log.add("lost_all_boxes", where, detail, image_id=int(table.image_ids[k]))
        lost[k] = action != "keep"
    return table.take(np.flatnonzero(~lost)) if lost.any() else table


def finish(
    name: str,
    source: SourceSplit,
    classes: ClassMap,
    share: float,
    *,
    one_file: bool,
    keep_empty: bool,
) -> RawSplit:
    """Check the boxes, drop classes that are not wanted, and images that the settings leave out.

    Args:
        name: The split's name.
        source: What its reader found.
        classes: The classes that are kept.
        share: For how much of what the reader left out the split answers, 0..1.
        one_file: Its annotations stand in one file, which reports name, rather than each image's.
        keep_empty: Keep images without boxes.
    """
    table, log = source.table, source.log
    images, boxes = (round(n * share) for n in count_left_out(log.defects))
    counts = {"images": len(table) + images, "boxes": len(table.category_ids) + boxes}
    file = next(iter(source.digests)) if one_file else ""
    had_boxes = np.diff(table.offsets) > 0
    table = check_table(table, source.categories, file, log)
    table = _without_lost(table, had_boxes, file, log)
    kept = classes.labels(table.category_ids) > 0
    table = table.keep_boxes(kept)
    count = len(table)
    if not keep_empty:
        table = table.take(np.flatnonzero(np.diff(table.offsets) > 0))
    return RawSplit(
        name=name,
        table=table,
        defects=tuple(log.defects),
        digests=source.digests,
        found=counts,
        other_classes=int((~kept).sum()),
        empty_left_out=count - len(table),
    )


def note_no_box(splits: list[RawSplit], policy: Mapping[str, str]) -> list[RawSplit]:
    """Report splits whose images are all background; a small one of several may be so by chance."""
    anywhere = any(len(split.table.category_ids) for split in splits)
    noted = []
    for split in splits:
        count = len(split.table)
        if count and not len(split.table.category_ids):
            log = DefectLog(policy)
            log.defects.extend(split.defects)
            file = next(iter(split.digests), split.name)
            detail = f"all {count} images of split {split.name!r} would be without objects"
            few = anywhere and count < SMALL_SPLIT
            log.add("no_box", file, detail, action="keep" if few else None)
            split = replace(split, defects=tuple(log.defects))
        noted.append(split)
    return noted
