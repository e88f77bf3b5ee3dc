"""Converts a raw data set: plan, shards made in parallel, and a set that appears whole or not at
all.

Which of the modes of `convert.py` runs is chosen in `command.py`; a shard is made in
`shard_task.py`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from data_tools.convert.finish_split import assemble_splits
from data_tools.convert.make_plan import make_plan
from data_tools.convert.parts import finish_part, part_folder, read_part
from data_tools.convert.plan import Plan, SplitPlan, differences
from data_tools.convert.raw_data import read_raw
from data_tools.convert.report import print_summary
from data_tools.convert.settings import ConvertSettings
from data_tools.convert.shard_task import ShardTask
from data_tools.convert.task_pool import ShardWorkers
from data_tools.convert.workspace import Workspace, is_set, locked_workspace, out_folder
from data_tools.core.errors import DataError
from data_tools.core.settings_fields import require
from data_tools.shards.manifest import MANIFEST, read_manifest
from data_tools.sources.defects import raise_errors
from data_tools.sources.raw_split import RawDataset
from data_tools.sources.table import SampleTable


def run_convert(settings: ConvertSettings) -> int:
    """Convert a raw data set; go on where a killed run stopped; do nothing if it is done.

    Args:
        settings: Settings of the command.

    Returns:
        0.

    Raises:
        DataError: If the source is unusable, the disk is, or `out` holds something else.
    """
    require(bool(settings.out), "out", settings.out, "the folder of the converted set")
    out = out_folder(settings.out)
    if settings.parts > 1:
        out = part_folder(out, settings.part, settings.parts)
    refuse_foreign(out, settings.overwrite)
    with ShardWorkers(settings.workers) as workers:
        if settings.overwrite or not out.exists():  # there is work, so they start while we read
            workers.start()
        raw = read_raw(settings)
        plan, tables = make_plan(settings, raw)
        for split in plan.splits:
            raise_errors(split.defects)
        with locked_workspace(out) as workspace:
            if _is_done(out, plan, settings):
                print(f"{out}: already there, with the same settings and source; nothing to do.")
                workspace.discard()
                return 0
            with workspace.adopted(plan, settings.overwrite):
                reports = _fill(workspace, plan, tables, raw, settings, workers)
            workspace.publish(settings.overwrite)
            workspace.discard()
    print_summary(out, reports)
    return 0


def _fill(
    workspace: Workspace,
    plan: Plan,
    tables: dict[str, SampleTable],
    raw: RawDataset,
    settings: ConvertSettings,
    workers: ShardWorkers,
) -> list[dict[str, Any]]:
    """Make all shards and what belongs next to them; returns the reports of the splits."""
    convert_shards(workspace, plan, tables, raw, settings, workers)
    if settings.parts > 1:
        finish_part(workspace, plan, settings)
        return []
    return assemble_splits(workspace, plan, settings.max_skipped)


def refuse_foreign(out: Path, overwrite: bool) -> None:
    """Refuse an `out` that holds anything but a converted set: nothing of the user's is ever
    removed.

    Raises:
        DataError: If it does, or is a file.
    """
    if not out.exists():
        return
    if not out.is_dir():
        raise DataError(f"out={out}: expected a folder, but it is a file. Choose another.")
    children = [
        child.name for child in out.iterdir() if child.name not in (".partial", "lost+found")
    ]
    if children and not is_set(out) and not (out / "plan.json").is_file():
        raise DataError(
            f"out={out}: the folder holds other things ({', '.join(sorted(children)[:5])}). Choose "
            "a folder that is empty or not there yet."
        )


def _is_done(out: Path, plan: Plan, settings: ConvertSettings) -> bool:
    """Whether `out` is what the plan would make.

    Raises:
        DataError: If `out` is a set made with other settings or from another source.
    """
    if not out.is_dir() or not any(child.name != ".partial" for child in out.iterdir()):
        return False
    if settings.overwrite:
        return False
    if settings.parts > 1:
        made_with: dict[str, Any] = read_part(out)
    else:
        folders = sorted(p.parent for p in out.glob(f"*/{MANIFEST}"))
        manifests = [read_manifest(folder) for folder in folders]
        made = manifests[0].settings if manifests else {}
        made_with = {**made, "source": {m.split: m.source for m in manifests}}
    wanted = {**plan.settings, "source": {s.name: s.source for s in plan.splits}}
    lines = differences(made_with, wanted)
    if lines:
        listed = "\n".join(f"  {line}" for line in lines)
        raise DataError(
            f"out={out}: there is a set already, made with other settings or from another source:\n"
            f"{listed}\nChoose another `out`, or replace it with overwrite=true."
        )
    return True


def convert_shards(
    workspace: Workspace,
    plan: Plan,
    tables: dict[str, SampleTable],
    raw: RawDataset,
    settings: ConvertSettings,
    workers: ShardWorkers,
) -> None:
    """Make the shards of this part that are not finished yet, in parallel."""
    tasks, done, total = [], 0, 0
    for split in plan.splits:
        for index in range(split.num_shards):
            if index % settings.parts != settings.part - 1:
                continue
            rows = split.bounds[index + 1] - split.bounds[index]
            total += rows
            if workspace.is_finished(split.name, index):
                done += rows
            else:
                tasks.append((split, index))
    digest = plan.digest

    def task(split: SplitPlan, index: int) -> ShardTask:
        return ShardTask(
            plan_digest=digest,
            name=split.shard_name(index),
            table=tables[split.name].take(range(split.bounds[index], split.bounds[index + 1])),
            classes=raw.classes,
            image=settings.image,
            policy=plan.settings["policy"],
            keep_empty=settings.dataset.keep_empty,
            page_bytes=split.page_bytes,
            folder=workspace.split_folder(split.name),
            state=workspace.state_file(split.name, index),
            scratch=workspace.scratch,
        )

    before = sum(len(split.defects) for split in plan.splits)
    workers.run((task(*entry) for entry in tasks), len(tasks), total, done, before)
