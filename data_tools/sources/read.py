"""Raw data sets, each layout in a module of its own; `read_source` opens any of them.

A source yields every split as a `SampleTable` with the defects found on the way. Nothing here
writes.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from data_tools.core.archives import with_slash
from data_tools.core.errors import DataError
from data_tools.core.object_storage import root_path, use_endpoint
from data_tools.core.settings_fields import require
from data_tools.sources.box_checks import refuse_shares
from data_tools.sources.class_checks import note_classes
from data_tools.sources.classes import build_class_map, common_categories
from data_tools.sources.coco import read_coco
from data_tools.sources.csv_boxes import read_csv, read_open_images
from data_tools.sources.cvat import read_cvat
from data_tools.sources.defects import DefectLog
from data_tools.sources.fractions import Owners, cut_fractions, wanted_of
from data_tools.sources.image_files import SourceSplit, read_text, require_file, require_folder
from data_tools.sources.kitti import read_kitti
from data_tools.sources.label_studio import read_label_studio
from data_tools.sources.labelme import read_labelme
from data_tools.sources.picture_names import PictureNames
from data_tools.sources.raw_split import RawDataset, finish, note_no_box
from data_tools.sources.settings import NAMED_KINDS, DatasetSettings, SplitSettings
from data_tools.sources.shapes import CATEGORY_IDS, CLASS_NAMES, shape_samples
from data_tools.sources.table import SampleTable, table_from_samples
from data_tools.sources.txt import read_txt
from data_tools.sources.voc import read_voc
from data_tools.sources.yolo import read_yolo


def read_source(
    dataset: DatasetSettings, policy: dict[str, str], owners: Owners | None = None
) -> RawDataset:
    """Read the annotations of every split of a raw data set.

    Args:
        dataset: Which data set, and what of it.
        policy: Kind of defect -> what is done about it.
        owners: Cuts splits that are a `fraction`, see `cut_fractions`.

    Returns:
        The data set; defects whose policy is `error` are in the lists, not raised.

    Raises:
        DataError: If a file is missing or not of the expected layout.
        SettingError: If a setting cannot be.
    """
    splits = {name: _through_archives(split) for name, split in dataset.splits.items()}
    dataset = replace(dataset, splits=splits)
    names = dataset.only or list(dataset.splits)
    require(bool(names), "dataset.splits", dataset.splits, "at least one split")
    use_endpoint(dataset.endpoint)
    root = root_path(dataset.root)
    if dataset.kind != "shapes":
        require(bool(dataset.root), "dataset.root", dataset.root, "the folder of the raw data set")
        require_folder(root, f"dataset.root={dataset.root}")
    # All splits are read even if some are not wanted, so that the classes are those of the whole
    # set.
    wanted = dict.fromkeys([*names, *dataset.splits] if dataset.kind in NAMED_KINDS else names)
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
        split = dataset.splits[name]
        if split.list and dataset.kind != "voc" and not _reads_lists(dataset, split):
            sources[name] = replace(source, table=_listed(source, root, split, name))
    cut_fractions(dataset, sources, owners)
    if dataset.kind in NAMED_KINDS:
        _number_by_name(sources, dataset.names)
    classes = build_class_map(
        common_categories({name: source.categories for name, source in sources.items()}),
        dataset.classes,
        dataset.merge,
    )
    note_classes(classes, sources, sources[names[0]])
    for source in sources.values():
        refuse_shares(source.table, source.digests)
    finished = [
        finish(
            n,
            sources[n],
            classes,
            _share(dataset, n),
            one_file=dataset.kind == "coco",
            keep_empty=dataset.keep_empty,
        )
        for n in names
    ]
    # A COCO file with an empty list of annotations says itself that there are none.
    noted = finished if dataset.kind == "coco" else note_no_box(finished, policy)
    return RawDataset(tuple(noted), classes)


def _share(dataset: DatasetSettings, name: str) -> float:
    """For how much of what its report says that a reader left out a split answers.

    What a file of several lists lost belongs to none of them; of the splits that are fractions of
    one file the first one's report has it, see `cut_fractions`.
    """
    split = dataset.splits[name]
    if split.list and dataset.kind != "voc" and not _reads_lists(dataset, split):
        return 0.0
    if split.fraction is None:
        return 1.0
    source = (split.annotations, split.images, split.list)
    members = [
        n
        for n, other in dataset.splits.items()
        if other.fraction is not None and (other.annotations, other.images, other.list) == source
    ]
    wanted = wanted_of(dataset, members)
    if name != wanted[0]:
        return 1.0
    return min(1.0, sum(dataset.splits[n].fraction or 0.0 for n in wanted))


def _through_archives(split: SplitSettings) -> SplitSettings:
    """Write `a.zip:b/c.json` as the path `a.zip/b/c.json`."""
    return replace(
        split,
        annotations=with_slash(split.annotations),
        images=with_slash(split.images),
        list=with_slash(split.list),
    )


def _reads_lists(dataset: DatasetSettings, split: SplitSettings) -> bool:
    """Whether the reader itself takes only the images of `list`, rather than all and then those."""
    return dataset.kind == "yolo" and not split.annotations


def _same_file(
    dataset: DatasetSettings, name: str, sources: dict[str, SourceSplit]
) -> SourceSplit | None:
    """What was read for another split from the same file, which `fraction` or `list` cuts apart."""
    split = dataset.splits[name]
    for other, source in sources.items():
        before = dataset.splits[other]
        same = (split.annotations, split.images) == (before.annotations, before.images)
        if dataset.kind in ("coco", *NAMED_KINDS[1:]) and same:
            log = DefectLog(source.log.policy)
            log.defects.extend(source.log.defects)
            log.names = source.log.names
            return replace(source, log=log)
    return None


def _read_split(dataset: DatasetSettings, root: Path, name: str, log: DefectLog) -> SourceSplit:
    split, key = dataset.splits[name], f"dataset.splits.{name}"
    if dataset.kind == "coco":
        return read_coco(root, split.annotations, split.images, log, key)
    # A folder of pictures that several splits share has pictures of all of them.
    owners = {s.annotations for s in dataset.splits.values() if s.images == split.images}
    whole = len(owners) == 1
    if dataset.kind == "voc":
        return read_voc(root, split, dataset.first_pixel, log, key, whole_folder=whole)
    if dataset.kind == "labelme":
        return read_labelme(root, split, log, key, whole_folder=whole)
    if dataset.kind == "cvat":
        return read_cvat(root, split, log, key, whole_folder=whole)
    if dataset.kind == "label_studio":
        return read_label_studio(root, split, log, key, whole_folder=whole)
    if dataset.kind == "open_images":
        return read_open_images(root, split, dataset, log, key, whole_folder=whole)
    if dataset.kind == "csv":
        return read_csv(root, split, dataset, log, key, whole_folder=whole)
    if dataset.kind == "kitti":
        return read_kitti(root, split, log, key, whole_folder=whole)
    if dataset.kind == "txt":
        return read_txt(root, split, dataset, log, key)
    if dataset.kind == "yolo":
        return read_yolo(root, split, dataset, log, key)
    return _draw(dataset, split, name, log)


def _draw(dataset: DatasetSettings, split: SplitSettings, name: str, log: DefectLog) -> SourceSplit:
    require(
        split.count > 0, f"dataset.splits.{name}.count", split.count, "the number of scenes, > 0"
    )
    samples = shape_samples(
        dataset.seed, name, split.count, min_side=dataset.min_side, max_side=dataset.max_side
    )
    categories = dict(zip(CATEGORY_IDS, CLASS_NAMES, strict=True))
    return SourceSplit(table_from_samples(Path(), samples), categories, log)


def _listed(source: SourceSplit, root: Path, split: SplitSettings, name: str) -> SampleTable:
    """Keep the images that a split's list names: by their names or, where no line is one, by their
    ids.
    """
    path, key = root / split.list, f"dataset.splits.{name}.list={split.list}"
    require_file(path, key)
    wanted = list(dict.fromkeys(line.strip() for line in read_text(path).splitlines()))
    wanted = [line for line in wanted if line]
    table = source.table
    pictures = PictureNames(table.file_names)
    files_of = {line: pictures.find(line) for line in wanted}
    if wanted and not any(files_of.values()):
        by_id = {str(number): k for k, number in enumerate(table.image_ids.tolist())}
        if all(line in by_id for line in wanted):
            return table.take(sorted(by_id[line] for line in wanted))
    unused = sorted(line for line, files in files_of.items() if not files)
    if unused:
        raise DataError(
            f"{path} ({key}): {len(unused)} of its {len(wanted)} names are no image of the set, "
            f"for instance {', '.join(unused[:5])}. A line is a file's name, with or without "
            "folder and ending; or every line is an image's id."
        )
    for line, files in files_of.items():
        if len(files) > 1:
            raise DataError(
                f"{path} ({key}): {line!r} fits {' and '.join(files[:3])}. Write folder and ending "
                "as well."
            )
    chosen = {files[0] for files in files_of.values()}
    return table.take([k for k, file in enumerate(table.file_names) if file in chosen])


def _number_by_name(sources: dict[str, SourceSplit], first: list[str]) -> None:
    """Give classes that have no number in the source one that is the same in every split."""
    known = {name for source in sources.values() for name in source.categories.values()}
    numbers = {name: k for k, name in enumerate([*first, *sorted(known - set(first))], 1)}
    for key, source in sources.items():
        renumbered = {old: numbers[name] for old, name in source.categories.items()}
        ids = np.array([renumbered[int(c)] for c in source.table.category_ids], np.int64)
        sources[key] = replace(
            source,
            table=replace(source.table, category_ids=ids),
            categories={number: name for name, number in numbers.items()},
        )
