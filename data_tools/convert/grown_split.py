"""One split of a set that is extended: its new images with their numbers, and what is said of the
old ones.

Whether the old ones are unchanged is found in `kept_rows.py`; the set is put together in
`extend.py`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from data_tools.convert.finish_split import Base
from data_tools.convert.kept_rows import Match, compare_rows, match_images
from data_tools.convert.make_plan import cut, measure_files
from data_tools.convert.plan import SplitPlan
from data_tools.convert.settings import ConvertSettings
from data_tools.convert.shard_task import ShardTask
from data_tools.convert.skipped_images import SkippedImages, boxes_not_counted, defects_of
from data_tools.core.json_dataclass import read_json
from data_tools.shards.manifest import REPORT, ConvertedSplit
from data_tools.shards.writer import MAX_PAGE_BYTES
from data_tools.sources.classes import ClassMap
from data_tools.sources.coco import read_annotations
from data_tools.sources.defects import Defect, DefectLog, unit_of
from data_tools.sources.table import SampleTable


@dataclass(frozen=True)
class Grown:
    """One split of the set that is being made: its new images, and what it stands on.

    Args:
        plan: The plan of the new images, and of the report on all.
        table: The new images.
        base: What stays of the split that is extended; None if there was none.
        all_skipped_before: Every new image is one that the split reports as left out.
    """

    plan: SplitPlan
    table: SampleTable
    base: Base | None
    all_skipped_before: bool = False


def grow(
    split: SplitPlan,
    table: SampleTable,
    classes: ClassMap,
    parent: ConvertedSplit | None,
    settings: ConvertSettings,
    shared_out: Collection[str] = (),
) -> Grown | None:
    """Find what is new in one split.

    Args:
        split: The plan of converting the whole source.
        table: The images of the source.
        classes: The classes of the extended set.
        parent: The split that is extended; None if the set has none of that name.
        settings: Settings of the command.
        shared_out: Splits whose new images are all ones that the set's reports list as left out.

    Returns:
        The plan of what is new, or None if nothing is.

    Raises:
        DataError: If an image that both have differs.
    """
    if parent is None:
        return Grown(split, table, None)
    truth = read_annotations(parent.annotations_path).table
    match = match_images(table, truth)
    report = read_json(parent.folder / REPORT)
    reported = defects_of(report)
    lost = SkippedImages(reported, settings.dataset, split.name).find(table)
    skipped = [k for k in match.new if k in lost or split.name in shared_out]
    new = skipped if settings.retry else match.new
    if not new:
        return None
    defects, changes = compare_rows(_comparing(split, table, classes, settings), parent, match)
    fresh = _numbered(split.name, table.take(new), truth, table, match)
    content = msgspec.json.decode(parent.annotations_path.read_bytes())
    base = Base(
        shards=parent.manifest.shards,
        images=content["images"],
        annotations=content["annotations"],
        totals=parent.manifest.totals,
        defects=tuple(defects),
        changes=changes,
        hashes=parent.manifest.hashes,
    )
    if len(match.old) < len(truth) or len(new) < len(match.new):
        mended = {k: lost.get(k, []) for k in new}
        split = _with_report(split, report, reported, truth, match, set(fresh.file_names), mended)
        base = replace(base, defects=(), changes=dict(report["images_changed"]))
        if settings.retry:  # what is new and was not skipped is no matter of the set
            boxes = np.diff(table.offsets)
            split = replace(split, found=_counts_retried(report["found"], boxes, mended))
        rest = len(truth) - len(match.old)
        if match.old and rest:
            print(f"{split.name}: {rest} images of the set are not in the source; they stay")
    bounds, page_bytes = cut(fresh, measure_files(fresh, DefectLog({}))[1], settings.shards)
    lineage = {"fingerprint": parent.fingerprint, "images": parent.num_images}
    split = replace(
        split,
        bounds=bounds,
        page_bytes=page_bytes,
        source={**split.source, "parent": lineage},
        first_shard=_first_free(parent),
    )
    return Grown(split, fresh, base, all_skipped_before=len(skipped) == len(new))


def _counts_retried(
    counts: Mapping[str, int], boxes: npt.NDArray[np.int64], mended: Mapping[int, list[Defect]]
) -> dict[str, int]:
    """Counts of what was found in a set to which skipped images were added.

    Args:
        counts: Those of its report.
        boxes: (I,) number of boxes of each image of the source.
        mended: Index of each image that is added -> what the report says of it.
    """
    gone = {defect for defects in mended.values() for defect in defects}
    images = sum(d.action == "skip" and unit_of(d) == "image" for d in gone)
    more = sum(boxes_not_counted(int(boxes[k]), defects) for k, defects in mended.items())
    return {"images": counts["images"] + len(mended) - images, "boxes": counts["boxes"] + more}


def _comparing(
    split: SplitPlan, table: SampleTable, classes: ClassMap, settings: ConvertSettings
) -> ShardTask:
    """What decides a row, for rows that are made and not written."""
    nowhere = table.root
    return ShardTask(
        plan_digest="",
        name="",
        table=table,
        classes=classes,
        image=settings.image,
        policy=settings.content()["policy"],
        keep_empty=settings.dataset.keep_empty,
        page_bytes=MAX_PAGE_BYTES,
        folder=nowhere,
        state=nowhere,
        scratch=nowhere,
    )


def _numbered(
    name: str, fresh: SampleTable, truth: SampleTable, table: SampleTable, match: Match
) -> SampleTable:
    """Give new images and annotations ids that are free: their own, or those after the set's."""
    same = all(table.image_ids[k] == truth.image_ids[row] for k, row in match.old.items())
    if not same or np.isin(fresh.image_ids, truth.image_ids).any():
        first = int(truth.image_ids.max(initial=0)) + 1
        print(f"{name}: ids of new images are taken in the set; they get {first} and the next")
        fresh = replace(fresh, image_ids=first + np.arange(len(fresh), dtype=np.int64))
    if np.isin(fresh.annotation_ids, truth.annotation_ids).any():
        first = int(truth.annotation_ids.max(initial=0)) + 1
        count = len(fresh.annotation_ids)
        fresh = replace(fresh, annotation_ids=first + np.arange(count, dtype=np.int64))
    return fresh


def _with_report(
    split: SplitPlan,
    report: dict[str, Any],
    reported: Sequence[Defect],
    truth: SampleTable,
    match: Match,
    fresh: set[str],
    mended: Mapping[int, list[Defect]],
) -> SplitPlan:
    """Add what the set's report says to a plan whose source does not hold all of the set.

    Args:
        split: The plan of the source.
        report: The set's report.
        reported: Its defects.
        truth: The set's images.
        match: Which of them the source has.
        fresh: File names of the images that are added.
        mended: Index of each of them in the source -> what the report says of it.
    """
    boxes = np.diff(truth.offsets)
    both = {"images": len(match.old), "boxes": int(boxes[sorted(match.old.values())].sum())}
    gone = {defect for defects in mended.values() for defect in defects}
    # Numbers that a layout has none of are ranks, and others in another source.
    source_kind = split.source["kind"]

    def key(defect: Defect) -> tuple[Any, ...]:
        ids = (defect.image_id, defect.annotation_id) if source_kind == "coco" else ()
        counts = defect.kind in ("cut_away", "no_box")
        return defect.kind, defect.file, "" if counts else defect.detail, *ids

    known = [d for d in reported if d not in gone and d.file not in fresh]
    listed = {key(d) for d in known}
    retried = sum(d.action == "skip" and unit_of(d) == "image" for d in gone)
    counts = {key: report["found"][key] + split.found[key] - both[key] for key in both}
    counts["images"] -= retried
    left = report["left_out"]
    return replace(
        split,
        found=counts,
        other_classes=split.other_classes + left["boxes_of_other_classes"],
        empty_left_out=split.empty_left_out + left["images_without_boxes"],
        defects=(*known, *(d for d in split.defects if key(d) not in listed)),
    )


def _first_free(parent: ConvertedSplit) -> int:
    """The number of the first shard whose name, and every later one, the split does not use."""
    numbers = [shard.file.rpartition("-")[2].partition(".")[0] for shard in parent.manifest.shards]
    return max((int(n) for n in numbers if n.isdigit()), default=-1) + 1
