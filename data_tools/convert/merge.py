"""`convert.py merge=DIR`: joins the parts that several machines made to what one would have made.

The parts themselves are in `parts.py`. Shards are made in `shard_task.py`, whatever the part; what
is published is written in `finish_split.py`.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from data_tools.convert.finish_split import assemble_split
from data_tools.convert.parts import find_parts, part_folder, read_part_plan
from data_tools.convert.plan import Plan, SplitPlan
from data_tools.convert.report import print_summary
from data_tools.convert.settings import ConvertSettings
from data_tools.convert.shard_result import read_result
from data_tools.convert.workspace import (
    locked_workspace,
    plan_differences,
    sync_all,
)
from data_tools.core.errors import DataError
from data_tools.core.files import (
    is_plain_name,
    link_or_copy,
    sha256_of_file,
    sync_path,
)
from data_tools.shards.manifest import read_manifest

_MERGING = ".merge"


def run_merge(settings: ConvertSettings) -> int:
    """Join the parts in a folder to one set; the parts are removed once the set is there.

    Args:
        settings: Settings of the command; `merge` is the folder.

    Returns:
        0.

    Raises:
        DataError: If a part is missing, damaged, or was made from another plan.
    """
    out = Path(settings.merge)
    parts = find_parts(out)
    if not parts:
        if out.is_dir() and any(out.glob("*/manifest.json")):
            print(f"{out}: already one set; nothing to do.")
            return 0
        raise DataError(
            f"{out}: no parts in it: expected {part_folder(out, 1, 2).name} and so "
            f"on. Make them with out={out} parts=N part=1..N."
        )
    plan = _common_plan(out, parts)
    with locked_workspace(out) as workspace:
        merging = out / _MERGING
        shutil.rmtree(merging, ignore_errors=True)
        reports = []
        for split in plan.splits:
            folder = merging / split.name
            folder.mkdir(parents=True)
            states = _gather(parts, split, plan.digest, folder)
            reports.append(assemble_split(plan, split, states, folder, settings.max_skipped))
            sync_all(folder)
        for split in plan.splits:
            _put(merging / split.name, out / split.name)
        sync_path(out)
        for folder in (*parts, merging):
            shutil.rmtree(folder)
        workspace.discard()
    print_summary(out, reports)
    return 0


def _common_plan(out: Path, parts: list[Path]) -> Plan:
    plan = read_part_plan(parts[0])
    for part in parts[1:]:
        other = read_part_plan(part)
        if other.digest != plan.digest:
            lines = "\n".join(f"  {line}" for line in plan_differences(plan, other))
            raise DataError(
                f"{out}: {part.name} was made with other settings or from another source than "
                f"{parts[0].name}:\n{lines}\nMake it again."
            )
    return plan


def _gather(parts: list[Path], split: SplitPlan, digest: str, folder: Path) -> list[Path]:
    """Link a split's shards into `folder`, each checked by its hash; returns their result files."""
    states = []
    for index in range(split.num_shards):
        part = parts[index % len(parts)]
        state = part / "state" / split.name / f"{index:05d}.json"
        try:
            result = read_result(state)
        except DataError as error:
            raise DataError(f"{error} Make {part.name} again.") from error
        shard = result.shard
        if result.plan != digest:
            raise DataError(f"{state}: belongs to another plan. Make {part.name} again.")
        states.append(state)
        if shard is None:
            continue
        if not is_plain_name(shard.file):
            raise DataError(f"{state}: shard name {shard.file!r} leaves the folder.")
        for name, expected in shard.digests.items():
            path = part / split.name / name
            if not path.is_file() or sha256_of_file(path) != expected:
                raise DataError(
                    f"{path}: missing, or not what the part's converter wrote. Copy {part.name} "
                    "again."
                )
            link_or_copy(path, folder / path.name)
    return states


def _put(source: Path, target: Path) -> None:
    """Rename a finished split into place; one that a killed merge left there is the same."""
    if target.exists():
        if read_manifest(target).fingerprint != read_manifest(source).fingerprint:
            raise DataError(f"{target}: holds another set. Remove it, then merge again.")
        shutil.rmtree(target)
    source.rename(target)
