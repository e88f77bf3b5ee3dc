"""Parts of a set made on several machines, and how they are joined to what one machine would have made.

    OUT/part-00001-of-00004/plan.json              the plan, the same in every part
    OUT/part-00001-of-00004/state/<split>/*.json   results of the part's shards
    OUT/part-00001-of-00004/<split>/*.mindrecord   its shards

Shards are made in `shardwork.py`, whatever the part; what is published is written in `assemble.py`.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

from data_tools.assemble import assemble_split
from data_tools.errors import DataError
from data_tools.files import (
    is_plain_name,
    link_or_copy,
    sha256_of_file,
    sync_path,
    write_atomic,
)
from data_tools.manifest import read_manifest
from data_tools.plan import Plan, SplitPlan
from data_tools.settings import ConvertSettings
from data_tools.shard_result import read_result
from data_tools.workspace import (
    PART_PREFIX,
    Workspace,
    locked_workspace,
    plan_differences,
    sync_all,
)

_NAME = re.compile(rf"{PART_PREFIX}(\d+)-of-(\d+)")
_MERGING = ".merge"


def part_folder(out: Path, part: int, parts: int) -> Path:
    """Return the folder of a part, 1..parts, of the set in `out`."""
    return out / f"{PART_PREFIX}{part:05d}-of-{parts:05d}"


def finish_part(workspace: Workspace, plan: Plan, settings: ConvertSettings) -> None:
    """Put the plan and the results of its shards into a part that is about to be published."""
    shutil.copytree(workspace.folder / "state", workspace.set_folder / "state", dirs_exist_ok=True)
    write_atomic(workspace.set_folder / "plan.json", plan.as_json())
    count = sum(1 for _ in workspace.set_folder.glob("*/*.mindrecord"))
    print(
        f"{workspace.out}: part {settings.part} of {settings.parts}, {count} shards. When all parts are there: "
        f"python convert.py merge={workspace.out.parent}"
    )


def read_part_plan(folder: Path) -> Plan:
    """Read the plan of a part.

    Raises:
        DataError: If the folder is no part.
    """
    path = folder / "plan.json"
    try:
        return Plan.from_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(
            f"{path}: no part of a conversion ({error}). Make the part again."
        ) from error


def read_part(folder: Path) -> dict[str, Any]:
    """Return the settings and sources that a part was made with, for comparison."""
    plan = read_part_plan(folder)
    return {**plan.settings, "source": {split.name: split.source for split in plan.splits}}


def run_merge(settings: ConvertSettings) -> int:
    """Join the parts in a folder to one set; the parts are removed once the set is there.

    Args:
        settings: Settings of the command; `merge` is the folder.

    Returns:
        0.

    Raises:
        DataError: If a part is missing, damaged, or was made from another plan.
    """
    from data_tools.convert import print_summary

    out = Path(settings.merge)
    found = find_parts(out)
    if not found:
        if out.is_dir() and any(out.glob("*/manifest.json")):
            print(f"{out}: already one set; nothing to do.")
            return 0
        raise DataError(
            f"{out}: no parts in it: expected {part_folder(out, 1, 2).name} and so "
            f"on. Make them with out={out} parts=N part=1..N."
        )
    plan = _common_plan(out, found)
    with locked_workspace(out) as workspace:
        merging = out / _MERGING
        shutil.rmtree(merging, ignore_errors=True)
        reports = []
        for split in plan.splits:
            folder = merging / split.name
            folder.mkdir(parents=True)
            states = _gather(found, split, plan.digest, folder)
            reports.append(assemble_split(plan, split, states, folder, settings.max_skipped))
            sync_all(folder)
        for split in plan.splits:
            _put(merging / split.name, out / split.name)
        sync_path(out)
        for folder in (*found, merging):
            shutil.rmtree(folder)
        workspace.discard()
    print_summary(out, reports)
    return 0


def find_parts(out: Path) -> list[Path]:
    """Return the folders of all parts in order.

    Raises:
        DataError: If some are missing, or parts of different cuts are mixed.
    """
    matches = {p: _NAME.fullmatch(p.name) for p in sorted(out.glob(f"{PART_PREFIX}*"))}
    parts = {path: (int(m[1]), int(m[2])) for path, m in matches.items() if m is not None}
    if not parts:
        return []
    totals = sorted({total for _, total in parts.values()})
    if len(totals) > 1:
        raise DataError(f"{out}: parts of different cuts are mixed: of {totals}. Keep one cut.")
    missing = sorted(set(range(1, totals[0] + 1)) - {number for number, _ in parts.values()})
    if missing:
        raise DataError(
            f"{out}: of {totals[0]} parts these are missing: {missing}. Make them with parts={totals[0]} "
            f"part={missing[0]} and so on, or copy them here."
        )
    return list(parts)


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
                    f"{path}: missing, or not what the part's converter wrote. Copy {part.name} again."
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
