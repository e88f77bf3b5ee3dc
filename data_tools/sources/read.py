"""Raw data sets, each layout in a module of its own; `read_source` opens any of them.

A source yields every split as a `SampleTable` with the defects found on the way. Nothing here writes.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from data_tools.core.errors import DataError
from data_tools.core.settings_fields import require
from data_tools.sources.box_checks import check_table
from data_tools.sources.classes import ClassMap, build_class_map, common_categories
from data_tools.sources.defects import Defect, DefectLog, count_left_out
from data_tools.sources.fractions import cut_fractions
from data_tools.sources.image_files import SourceSplit, require_folder
from data_tools.sources.settings import DatasetSettings, SplitSettings
from data_tools.sources.table import SampleTable


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


def read_source(dataset: DatasetSettings, policy: dict[str, str]) -> RawDataset:
    """Read the annotations of every split of a raw data set.

    Args:
        dataset: Which data set, and what of it.
        policy: Kind of defect -> what is done about it.

    Returns:
        The data set; defects whose policy is `error` are in the lists, not raised.

    Raises:
        DataError: If a file is missing or not of the expected layout.
        SettingError: If a setting cannot be.
    """
    names = dataset.only or list(dataset.splits)
    require(bool(names), "dataset.splits", dataset.splits, "at least one split")
    root = Path(dataset.root).expanduser()
    if dataset.kind != "shapes":
        require(bool(dataset.root), "dataset.root", dataset.root, "the folder of the raw data set")
        require_folder(root, f"dataset.root={dataset.root}")
    # All splits are read even if some are not wanted, so that the classes are those of the whole set.
    wanted = dict.fromkeys([*names, *dataset.splits] if dataset.kind == "voc" else names)
    sources: dict[str, SourceSplit] = {}
    for name in wanted:
        try:
            sources[name] = _same_file(dataset, name, sources) or _read_split(
                dataset, root, name, DefectLog(policy)
            )
        except DataError:
            if name in names:
                raise
    for name, source in sources.items():
        if dataset.splits[name].list and dataset.kind != "voc":
            sources[name] = replace(source, table=_listed(source, root, dataset.splits[name], name))
    cut_fractions(dataset, sources)
    if dataset.kind == "voc":
        _number_by_name(sources, dataset.names)
    classes = build_class_map(
        common_categories({name: source.categories for name, source in sources.items()}),
        dataset.classes,
        dataset.merge,
    )
    return RawDataset(tuple(_finish(n, sources[n], classes, dataset) for n in names), classes)


def _same_file(
    dataset: DatasetSettings, name: str, sources: dict[str, SourceSplit]
) -> SourceSplit | None:
    """What was read for another split from the same file, which `fraction` or `list` cuts apart."""
    split = dataset.splits[name]
    for other, source in sources.items():
        before = dataset.splits[other]
        same = (split.annotations, split.images) == (before.annotations, before.images)
        if dataset.kind == "coco" and same:
            log = DefectLog(source.log.policy)
            log.defects.extend(source.log.defects)
            return replace(source, log=log)
    return None


def _read_split(dataset: DatasetSettings, root: Path, name: str, log: DefectLog) -> SourceSplit:
    split, key = dataset.splits[name], f"dataset.splits.{name}"
    if dataset.kind == "coco":
        from data_tools.sources.coco import read_coco

        return read_coco(root, split.annotations, split.images, log, key)
    if dataset.kind == "voc":
        from data_tools.sources.voc import read_voc

        return read_voc(root, split, dataset.box_origin, log, key)
    if dataset.kind == "txt":
        from data_tools.sources.txt import read_txt

        return read_txt(root, split, dataset, log, key)
    if dataset.kind == "yolo":
        from data_tools.sources.yolo import read_yolo

        return read_yolo(root, split, dataset, log, key)
    return _draw(dataset, split, name, log)


def _draw(dataset: DatasetSettings, split: SplitSettings, name: str, log: DefectLog) -> SourceSplit:
    from data_tools.sources.shapes import CATEGORY_IDS, CLASS_NAMES, shape_samples
    from data_tools.sources.table import table_from_samples

    require(
        split.count > 0, f"dataset.splits.{name}.count", split.count, "the number of scenes, > 0"
    )
    samples = shape_samples(
        dataset.seed, name, split.count, min_side=dataset.min_side, max_side=dataset.max_side
    )
    categories = dict(zip(CATEGORY_IDS, CLASS_NAMES, strict=True))
    return SourceSplit(table_from_samples(Path(), samples), categories, log)


def _listed(source: SourceSplit, root: Path, split: SplitSettings, name: str) -> SampleTable:
    """Keep the images that a split's list names, by id, file name, or name without folder or suffix."""
    from data_tools.sources.image_files import read_text, require_file

    path, key = root / split.list, f"dataset.splits.{name}.list={split.list}"
    require_file(path, key)
    wanted = {line.strip() for line in read_text(path).splitlines() if line.strip()}
    keep, used = [], set()
    for index, file_name in enumerate(source.table.file_names):
        base = file_name.rsplit("/", 1)[-1]
        forms = {file_name, base, base.rsplit(".", 1)[0], str(int(source.table.image_ids[index]))}
        if forms & wanted:
            keep.append(index)
            used |= forms & wanted
    unused = sorted(wanted - used)
    if unused:
        raise DataError(
            f"{path} ({key}): {len(unused)} of its {len(wanted)} names are no image of the set, for "
            f"instance {', '.join(unused[:5])}."
        )
    return source.table.take(keep)


def _number_by_name(sources: dict[str, SourceSplit], first: list[str]) -> None:
    """Give classes that have no number in the source one that is the same in every split."""
    found = {name for source in sources.values() for name in source.categories.values()}
    numbers = {name: k for k, name in enumerate([*first, *sorted(found - set(first))], 1)}
    for key, source in sources.items():
        renumbered = {old: numbers[name] for old, name in source.categories.items()}
        ids = np.array([renumbered[int(c)] for c in source.table.category_ids], np.int64)
        sources[key] = replace(
            source,
            table=replace(source.table, category_ids=ids),
            categories={number: name for name, number in numbers.items()},
        )


def _finish(
    name: str, source: SourceSplit, classes: ClassMap, dataset: DatasetSettings
) -> RawSplit:
    """Check the boxes, drop classes that are not wanted, and images that the settings leave out."""
    table, log = source.table, source.log
    # What a file of several splits lost belongs to none of them: each answers for its share.
    split = dataset.splits[name]
    share = 0.0 if split.list and dataset.kind != "voc" else split.fraction
    images, boxes = (
        round(n * (1.0 if share is None else share)) for n in count_left_out(log.defects)
    )
    found = {"images": len(table) + images, "boxes": len(table.category_ids) + boxes}
    file = next(iter(source.digests)) if dataset.kind == "coco" else ""
    table = check_table(table, source.categories, file, log)
    kept = classes.labels(table.category_ids) > 0
    table = table.keep_boxes(kept)
    count = len(table)
    if not dataset.keep_empty:
        table = table.take(np.flatnonzero(np.diff(table.offsets) > 0))
    return RawSplit(
        name=name,
        table=table,
        defects=tuple(log.defects),
        digests=source.digests,
        found=found,
        other_classes=int((~kept).sum()),
        empty_left_out=count - len(table),
    )
