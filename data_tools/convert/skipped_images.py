"""Which images of a source a finished split reports as left out: those that a retry is about.

A report names the file that a defect was found in, which is often that of the annotations
(`Annotations/a.xml`, `labels.csv:4`, `export.json: task 4`); here the image is found to each.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from typing import Any

from data_tools.core.archives import with_slash
from data_tools.core.errors import DataError
from data_tools.core.json_dataclass import read_json
from data_tools.core.object_storage import root_path
from data_tools.shards.manifest import REPORT, ConvertedSplit
from data_tools.sources.coco import read_annotations
from data_tools.sources.csv_boxes import FILE_COLUMNS, csv_rows, csv_text
from data_tools.sources.defect_kinds import KINDS
from data_tools.sources.defects import Defect, unit_of
from data_tools.sources.fractions import Owners, cut_keys
from data_tools.sources.group_columns import PREFIX
from data_tools.sources.label_studio import read_tasks, written_name
from data_tools.sources.named_boxes import name_forms
from data_tools.sources.picture_names import PictureNames
from data_tools.sources.settings import DatasetSettings, SplitSettings
from data_tools.sources.table import SampleTable
from data_tools.sources.txt import split_line

_NAMED = re.compile(
    r"(?:(?:all \d+ boxes|every box) of (.+) w(?:ere|as) left out|.* all claim (.+))", re.DOTALL
)
"""How a detail names the picture that was left out."""

_OF_THE_PICTURE = (
    "missing_image",
    "undecodable_image",
    "damaged_image",
    "size_mismatch",
    "too_large",
    "duplicate_file",
    "duplicate_image",
    "similar_image",
    "copies_disagree",
    "leak",
)
"""Kinds that leave out an image whose boxes were read, and counted."""


def reported_defects(split: ConvertedSplit) -> list[Defect]:
    """Return what a finished split's report lists."""
    return defects_of(read_json(split.folder / REPORT))


def defects_of(report: Mapping[str, Any]) -> list[Defect]:
    """Return what a report lists."""
    return [
        Defect(**{"image_id": None, "annotation_id": None, **entry, "file": file})
        for file, entries in report["files"].items()
        for entry in entries
    ]


def boxes_not_counted(boxes: int, defects: Iterable[Defect]) -> int:
    """Return how many boxes of an image a report does not count that says these defects of it.

    Args:
        boxes: Number of boxes that the image has now.
        defects: What the report says of it.
    """
    skips = [defect for defect in defects if defect.action == "skip"]
    if any(defect.kind in _OF_THE_PICTURE for defect in skips):
        return 0
    return max(boxes - sum(unit_of(defect) == "box" for defect in skips), 0)


def still_out(parents: Iterable[ConvertedSplit], dataset: DatasetSettings) -> list[Defect]:
    """Return for what images were left out of the splits of a set, by their reports, and are not
    there.
    """
    parents = list(parents)
    tables = [read_annotations(split.annotations_path).table for split in parents]
    out = []
    for split in parents:
        skipped = [d for d in reported_defects(split) if _is_skip(d) and unit_of(d) == "image"]
        matches = [SkippedImages(skipped, dataset, split.manifest.split).find(t) for t in tables]
        there = {d for images in matches for defects in images.values() for d in defects}
        out += [defect for defect in skipped if defect not in there]
    return out


def same_cut(parents: Mapping[str, ConvertedSplit], dataset: DatasetSettings) -> Owners:
    """Return how a retry shares out a source that `fraction` cuts.

    Images of the set stay where they are. One that was left out goes to the split whose report
    says so, or with `dataset.group` to that which has its group; other images belong to none.

    Args:
        parents: The splits of the set.
        dataset: The settings that the set was made with, and the root of the source as it is now.
    """
    home = {
        name: split
        for split, parent in parents.items()
        for name in read_annotations(parent.annotations_path).table.file_names
    }
    skipped = {s: SkippedImages(reported_defects(p), dataset, s) for s, p in parents.items()}

    def owners(table: SampleTable, members: Sequence[str]) -> list[str]:
        owner_of = [home.get(name, "") for name in table.file_names]
        retried: dict[int, str] = {}
        for split in (name for name in members if name in skipped):
            retried |= {k: split for k in skipped[split].find(table) if not owner_of[k]}
        if retried and dataset.group:
            retried |= _with_groups(table.file_names, dataset, members[0], home, list(retried))
        return [retried.get(k, owner) for k, owner in enumerate(owner_of)]

    return owners


def _with_groups(
    names: Sequence[str],
    dataset: DatasetSettings,
    split: str,
    home: Mapping[str, str],
    retried: Sequence[int],
) -> dict[int, str]:
    """The splits of images, by their index, whose group a set has: where most of it is."""
    everything = list(names)
    if not dataset.group.startswith(PREFIX):
        everything += list(home)  # the source may hold the mended images alone
    keys = cut_keys(dataset, dataset.splits[split].annotations, everything)
    homes: dict[str, Counter[str]] = {}
    for key, name in zip(keys, everything, strict=True):
        if name in home:
            homes.setdefault(key, Counter())[home[name]] += 1
    return {k: homes[keys[k]].most_common(1)[0][0] for k in retried if keys[k] in homes}


def _is_skip(defect: Defect) -> bool:
    return defect.action == "skip" and unit_of(defect) in ("image", "box")


class SkippedImages:
    """Finds the images that a split reports as left out.

    Args:
        reported: What the report lists.
        dataset: The source's settings.
        name: Name of the split.
    """

    def __init__(self, reported: Iterable[Defect], dataset: DatasetSettings, name: str) -> None:
        self._skips = [defect for defect in reported if _is_skip(defect)]
        self._kind, self._keep_empty = dataset.kind, dataset.keep_empty
        self._root = root_path(dataset.root)
        split = dataset.splits.get(name, SplitSettings())
        # As reports write it: `a.zip:b/c.json` is `a.zip/b/c.json`.
        self._annotations, self._images = with_slash(split.annotations), with_slash(split.images)

    def find(self, table: SampleTable) -> dict[int, list[Defect]]:
        """Find the images in a table.

        Args:
            table: Images of the source as it is now.

        Returns:
            Index in the table -> the defects that are about it.
        """
        row_of = {name: k for k, name in enumerate(table.file_names)}
        rows_of_id = {int(number): k for k, number in enumerate(table.image_ids)}
        pictures = PictureNames(table.file_names)
        images: dict[int, list[Defect]] = {}
        for defect in self._skips:
            rows = {row_of[name] for name in self._pictures(defect, pictures)}
            # Elsewhere ids are ranks of names, and shift when an image comes back; so do COCO's
            # where they are texts, which the detail then names.
            of_an_id = self._kind == "coco" and defect.file == self._annotations
            if of_an_id and "(image " not in defect.detail and not rows:
                rows = {rows_of_id[k] for k in (defect.image_id,) if k in rows_of_id}
            for k in rows:
                images.setdefault(k, []).append(defect)
        # Who lost some boxes is no image that was left out, unless what is empty is.
        whole = {
            k: defects
            for k, defects in images.items()
            if any(KINDS[d.kind].unit == "image" or d.kind == "unknown_image" for d in defects)
        }
        return whole if self._keep_empty else images

    def _pictures(self, defect: Defect, pictures: PictureNames) -> list[str]:
        """The pictures that a defect is about, as far as what it says fits any."""
        named = _NAMED.match(defect.detail)
        if named:
            return _meant(named[1] or named[2], pictures)
        file = defect.file
        if file == self._annotations:
            return []
        if self._annotations and file.startswith(f"{self._annotations}:"):
            return self._entry(file.removeprefix(f"{self._annotations}:"), pictures)
        for folder in (self._annotations, self._images):
            if not file.startswith(f"{folder}/"):
                continue
            inner = re.sub(r":\d+$", "", file.removeprefix(f"{folder}/"))
            if inner in pictures.files:
                return [inner]
            meant = pictures.with_stem(inner.rpartition(".")[0] or inner)
            if meant:
                return meant
        return _meant(file, pictures)

    def _entry(self, entry: str, pictures: PictureNames) -> list[str]:
        """The pictures of an entry of a file of many: ` NAME`, ` frame 3`, ` task 4`, `5`."""
        numbered = re.fullmatch(r"(?: (frame|task) )?(\d+)", entry)
        if numbered is None:
            return _meant(entry.removeprefix(" "), pictures)
        if numbered[1] == "frame":
            frame = re.compile(rf"(?:.*\D)?0*{int(numbered[2])}\.[^.]*", re.DOTALL)
            return [name for name in pictures.files if frame.fullmatch(name)]
        return _meant(self._entries.get(int(numbered[2]), ""), pictures)

    @cached_property
    def _entries(self) -> dict[int, str]:
        """Number of a task or a line in the annotations as they are now -> the picture's name."""
        path = self._root / self._annotations
        try:
            if self._kind == "label_studio":
                return {k: written_name(task) for k, task in enumerate(read_tasks(path)[1], 1)}
            text = csv_text(path)
            if self._kind == "txt":
                lines = enumerate(text.splitlines(), 1)
                return {k: split_line(line)[0] for k, line in lines if line.strip()}
            rows = list(csv_rows(text, path))
            columns = [cell.strip().lower() for cell in rows[0][1]] if rows else []
            names = (name for name in FILE_COLUMNS if name in columns)
            column = columns.index(next(names, columns[0])) if columns else 0
            return {k: cells[column] for k, cells in rows if column < len(cells)}
        except DataError:
            return {}


def _meant(written: str, pictures: PictureNames) -> list[str]:
    """The one picture that a name of an annotation file means."""
    for form in name_forms(written):
        matches = pictures.find(form) if form.strip() else []
        if matches:
            return matches if len(matches) == 1 else []
    return []
