"""Which images of a source a finished split has already, and whether they are still what it holds.

The split is extended in `extend.py`; here nothing is written.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from data_tools.convert.shard_task import ShardTask, make_row
from data_tools.core.errors import DataError
from data_tools.core.progress import Progress
from data_tools.core.sample import Sample
from data_tools.shards.manifest import ConvertedSplit
from data_tools.shards.reader import Row, RowReader
from data_tools.sources.coco import read_annotations
from data_tools.sources.defects import Defect, DefectLog
from data_tools.sources.table import SampleTable

_SHOWN = 5
_AREA_DIGITS = 6
"""Decimals of the areas in `annotations.json`."""


@dataclass(frozen=True)
class Match:
    """Which image of the source is which of the split, by index in their tables.

    Args:
        old: Index in the source -> index in the split.
        new: Indices in the source of the images that the split has not, ascending.
    """

    old: dict[int, int]
    new: list[int]


def match_images(table: SampleTable, truth: SampleTable) -> Match:
    """Find the images of a source in a finished split, by file name; the id decides between equal
    names.
    """
    rows_of: dict[str, list[int]] = {}
    for row, name in enumerate(truth.file_names):
        rows_of.setdefault(name, []).append(row)
    ids = truth.image_ids.tolist()
    old: dict[int, int] = {}
    new: list[int] = []
    for index, (name, number) in enumerate(
        zip(table.file_names, table.image_ids.tolist(), strict=True)
    ):
        left = rows_of.get(name, [])
        if not left:
            new.append(index)
            continue
        row = next((k for k in left if ids[k] == number), left[0])
        left.remove(row)
        old[index] = row
    return Match(old, new)


def compare_rows(
    task: ShardTask, split: ConvertedSplit, match: Match
) -> tuple[list[Defect], dict[str, int]]:
    """Make the rows of images that a split has, and compare them with what it holds.

    Only so is it certain that a set that grew is the one that converting all at once makes.

    Args:
        task: What decides the rows; its table is the whole source's.
        split: The finished split.
        match: Which image is which.

    Returns:
        The defects of these images, and counts of what was done to them, as converting reports
        them.

    Raises:
        DataError: If an image or its boxes are no longer what the split holds.
    """
    log, changes = DefectLog(task.policy), Counter[str]()
    truth = read_annotations(split.annotations_path).table
    reader = RowReader(split)
    differing: list[str] = []
    with Progress(f"comparing {split.folder.name}", len(match.old)) as bar:
        for index, kept in match.old.items():
            seen = _Seen()
            row = make_row(task, task.table[index], None, log, changes, seen)
            what = _difference(row, seen, reader[kept], truth[kept])
            if what:
                differing.append(f"  {truth.file_names[kept]}: {what}")
            bar.update()
    if differing:
        more = len(differing) - _SHOWN
        lines = "\n".join(differing[:_SHOWN] + ([f"  and {more} more"] if more > 0 else []))
        raise DataError(
            f"{split.folder}: {len(differing)} of the {len(match.old)} images that both the set "
            f"and the source have differ:\n{lines}\nA set is extended with images, what it holds "
            "stays. Where the source was changed, convert all of it anew into another `out`; where "
            "other pictures bear the same names, give them other names or put them into a folder "
            "of their own below `images`."
        )
    return log.defects, dict(changes)


class _Seen:
    """Keeps the last sample that a row was made of."""

    def __init__(self) -> None:
        self.sample: Sample | None = None

    def add(self, sample: Sample, labels: npt.NDArray[np.int32]) -> None:
        self.sample = sample


def _difference(row: Mapping[str, Any] | None, seen: _Seen, held: Row, truth: Sample) -> str:
    """Say in what a row as it would be made now differs from the one that is held."""
    if row is None or seen.sample is None:
        return "it would be left out now"
    if np.frombuffer(row["image"], np.uint8).tobytes() != held.image.tobytes():
        return "the picture is another one"
    count = int(row["num_boxes"])
    if count != len(held.labels):
        return f"{count} boxes, the set has {len(held.labels)}"
    columns = {
        "boxes": held.boxes_yxyx_px,
        "labels": held.labels,
        "iscrowd": held.iscrowd,
        "difficult": held.difficult,
    }
    for name, there in columns.items():
        if not np.array_equal(row[name][:count], there):
            return f"other {'flags (' + name + ')' if name[0] in 'id' else name}"
    # annotations.json has the boxes in the order of their ids, which need not be that of the row:
    # an id of no use (0, null) became one after all others.
    order = np.argsort(seen.sample.annotation_ids, kind="stable")
    areas = np.round(seen.sample.areas_px[order], _AREA_DIGITS)
    return "" if np.array_equal(areas, truth.areas_px) else "other areas"
