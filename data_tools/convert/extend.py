"""`convert.py extend=SET`: adds images to a finished set; its shards stay as they are, under hard
links.

What is new in a split is found in `grown_split.py`, what is written next to the shards in
`finish_split.py`.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from data_tools.convert.convert import convert_shards, refuse_foreign
from data_tools.convert.extend_settings import like_parent, refuse_other_settings, with_parent
from data_tools.convert.finish_split import assemble_splits
from data_tools.convert.grown_split import Grown, grow
from data_tools.convert.make_plan import make_plan
from data_tools.convert.plan import Plan, differences
from data_tools.convert.raw_data import read_raw
from data_tools.convert.report import print_summary
from data_tools.convert.settings import ConvertSettings
from data_tools.convert.shard_result import read_result
from data_tools.convert.skipped_images import same_cut, still_out
from data_tools.convert.task_pool import ShardWorkers
from data_tools.convert.workspace import Workspace, locked_workspace, out_folder
from data_tools.core.errors import DataError, SettingError
from data_tools.core.files import link_or_copy, neighbours
from data_tools.core.settings_fields import require
from data_tools.shards.manifest import MANIFEST, ConvertedSplit, open_split, read_manifest
from data_tools.sources.coco import read_annotations
from data_tools.sources.defect_kinds import KINDS
from data_tools.sources.defects import Defect, PolicyError, raise_errors
from data_tools.sources.raw_split import RawDataset
from data_tools.sources.table import SampleTable


def run_extend(settings: ConvertSettings) -> int:
    """Add the images of a raw data set that a finished set has not.

    The source may hold the set's own images too, or only new ones. Those that both have must still
    be what the set holds. New images keep their ids where none is taken, else they are numbered
    after the set's. Counts of images or boxes that the settings leave out are exact where the
    source holds all images of the set or none.

    Args:
        settings: Settings of the command: `extend`, `out`, `dataset`, `retry`.

    Returns:
        0.

    Raises:
        DataError: If the set, the source or the disk is unusable, or the set cannot grow into what
            converting all at once makes.
    """
    require(bool(settings.out), "out", settings.out, "the folder of the extended set")
    require(settings.parts == 1, "parts", settings.parts, "1: a set is extended on one machine")
    root, out = Path(settings.extend).expanduser(), out_folder(settings.out)
    parents = open_parents(root)
    if settings.retry:
        settings = like_parent(settings, parents)
    refuse_other_settings(settings, parents)
    refuse_foreign(out, settings.overwrite)
    if out.exists() and out.resolve() == root.resolve() and not settings.overwrite:
        raise SettingError(
            f"out={out}: the set itself. Choose another folder, or put the extended set in its "
            "place with overwrite=true."
        )
    # A retry leaves the cut by `fraction` as it is: a new one would move images of the set.
    owners = None
    cut = {name for name, split in settings.dataset.splits.items() if split.fraction is not None}
    if settings.retry and cut:
        owners = same_cut(parents, settings.dataset)
        print(
            "the cut by `fraction` stays; a skipped image goes to the split whose report lists it"
        )
    raw = read_raw(settings, owners=owners)
    if owners is not None and any(len(split.table) for split in raw.splits):
        raw = replace(raw, splits=tuple(split for split in raw.splits if len(split.table)))
    raw = replace(raw, classes=with_parent(raw.classes, parents, settings.dataset.classes))
    plan, tables = make_plan(settings, raw)
    for split in plan.splits:
        raise_errors(split.defects)
    if owners is None and cut:
        _refuse_moved(tables, parents, settings)
    shared_out = cut if owners is not None else set()
    grown: dict[str, Grown] = {}
    for split in plan.splits:
        parent = parents.get(split.name)
        new = grow(split, tables[split.name], raw.classes, parent, settings, shared_out)
        if new is not None:
            grown[split.name] = new
    if not grown:
        return _nothing_new(plan, parents, settings)
    plan = replace(plan, splits=tuple(split.plan for split in grown.values()))
    with locked_workspace(out) as workspace:
        if _is_done(out, plan, settings):
            print(f"{out}: already there, with the same settings and source; nothing to do.")
            workspace.discard()
            return 0
        with workspace.adopted(plan, settings.overwrite):
            reports = _fill(workspace, plan, grown, raw, parents, settings)
        if not reports:
            workspace.discard()
            return _nothing_new(plan, parents, settings)
        workspace.publish(settings.overwrite)
        workspace.discard()
    for name, part in grown.items():
        kept = part.base.totals["images"] if part.base else 0
        print(f"{out / name}: {len(part.table)} images are new, {kept} stay as they were")
    print_summary(out, reports)
    return 0


def open_parents(root: Path) -> dict[str, ConvertedSplit]:
    """Open every split of the set that is extended.

    Raises:
        DataError: If there is no converted set.
    """
    names = sorted(path.parent.name for path in root.glob(f"*/{MANIFEST}"))
    if not names and not root.exists():
        raise DataError(f"extend={root}: no converted set: no such folder.{neighbours(root)}")
    if not names:
        raise DataError(
            f"extend={root}: no converted set: expected <split>/{MANIFEST} in it. Give the folder "
            "that was `out`."
        )
    return {name: open_split(root, name) for name in names}


def _fill(
    workspace: Workspace,
    plan: Plan,
    grown: dict[str, Grown],
    raw: RawDataset,
    parents: dict[str, ConvertedSplit],
    settings: ConvertSettings,
) -> list[dict[str, Any]]:
    """Link what stays and make what is new; returns the reports of the splits that grew.

    None grew where the only new images are those that the set left out before, and they are as they
    were.
    """
    for name, parent in parents.items():
        folder = workspace.split_folder(name)
        folder.mkdir(parents=True, exist_ok=True)
        files = [file for shard in parent.manifest.shards for file in shard.digests]
        if name not in grown:
            files += [*parent.manifest.files, MANIFEST]
        for file in files:
            (folder / file).unlink(missing_ok=True)  # a killed run may have copied half of it
            link_or_copy(parent.folder / file, folder / file)
    tables = {name: split.table for name, split in grown.items()}
    with ShardWorkers(settings.workers) as workers:
        convert_shards(workspace, plan, tables, raw, settings, workers)
    defects = _without_rows(workspace, plan)
    if defects is not None:
        if not settings.retry and all(split.all_skipped_before for split in grown.values()):
            return []
        raise_errors(defects)
        lines = "\n".join(f"  {defect.line()}" for defect in defects[:5])
        raise PolicyError(f"none of the new images can be used; the set is as it was:\n{lines}")
    bases = {name: split.base for name, split in grown.items()}
    return assemble_splits(workspace, plan, settings.max_skipped, bases)


def _is_done(out: Path, plan: Plan, settings: ConvertSettings) -> bool:
    """Whether `out` is the extended set already.

    Raises:
        DataError: If it is another set.
    """
    if settings.overwrite or not out.is_dir():
        return False
    manifests = [read_manifest(p.parent) for p in sorted(out.glob(f"*/{MANIFEST}"))]
    if not manifests:
        return False
    made_with = {m.split: {"settings": m.settings, "source": m.source} for m in manifests}
    lines = differences(
        {split.name: made_with.get(split.name, {}) for split in plan.splits},
        {split.name: {"settings": plan.settings, "source": split.source} for split in plan.splits},
    )
    if lines:
        listed = "\n".join(f"  {line}" for line in lines)
        raise DataError(
            f"out={out}: there is another set already:\n{listed}\nChoose another `out`, or replace "
            "it with overwrite=true."
        )
    return True


def _nothing_new(plan: Plan, parents: dict[str, ConvertedSplit], settings: ConvertSettings) -> int:
    root = Path(settings.extend).expanduser()
    defects = [
        defect
        for split in plan.splits
        for defect in split.defects
        if defect.action == "skip" and KINDS[defect.kind].unit == "image"
    ]
    if settings.retry and not defects:
        defects = still_out(parents.values(), settings.dataset)
    if settings.retry and defects:
        lines = "\n".join(f"  {defect.line()}" for defect in defects[:5])
        raise DataError(f"{root}: none of its skipped images can be used now:\n{lines}")
    what = (
        "no image was skipped"
        if settings.retry
        else "it has every image of the source that can be used"
    )
    print(f"{root}: {what}; nothing to add, {settings.out} is not written.")
    return 0


def _without_rows(workspace: Workspace, plan: Plan) -> list[Defect] | None:
    """The defects of the new images if none can be used, so that the set would be its parent
    again.
    """
    results = [
        read_result(workspace.state_file(split.name, k))
        for split in plan.splits
        for k in range(split.num_shards)
    ]
    if any(result.shard is not None for result in results):
        return None
    return [defect for result in results for defect in result.defects]


def _refuse_moved(
    tables: dict[str, SampleTable], parents: dict[str, ConvertedSplit], settings: ConvertSettings
) -> None:
    """Refuse a cut by `fraction` that moves images of the set to another split: training would see
    them.

    Raises:
        DataError: Naming some.
    """
    home = {
        name: split
        for split, parent in parents.items()
        for name in read_annotations(parent.annotations_path).table.file_names
    }
    moved = [
        f"{name} from {home[name]} to {split}"
        for split, table in tables.items()
        for name in table.file_names
        if home.get(name, split) != split
    ]
    if moved:
        raise DataError(
            f"extend={settings.extend}: dataset.splits are cut by `fraction`, and with the new "
            f"images the cut moves {len(moved)} images of the set to another split, for instance "
            f"{moved[0]}. Give the new images alone, or name the images of each split in a list "
            "(dataset.splits.NAME.list)."
        )
