"""Parts of a set made on several machines: their folders, and what is in them.

    OUT/part-00001-of-00004/plan.json              the plan, the same in every part
    OUT/part-00001-of-00004/state/<split>/*.json   results of the part's shards
    OUT/part-00001-of-00004/<split>/*.mindrecord   its shards

Joining them is `merge.py`'s matter.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

from data_tools.convert.plan import Plan
from data_tools.convert.settings import ConvertSettings
from data_tools.convert.workspace import PART_PREFIX, Workspace
from data_tools.core.errors import DataError
from data_tools.core.files import write_atomic

_NAME = re.compile(rf"{PART_PREFIX}(\d+)-of-(\d+)")


def part_folder(out: Path, part: int, parts: int) -> Path:
    """Return the folder of a part, 1..parts, of the set in `out`."""
    return out / f"{PART_PREFIX}{part:05d}-of-{parts:05d}"


def finish_part(workspace: Workspace, plan: Plan, settings: ConvertSettings) -> None:
    """Put the plan and the results of its shards into a part that is about to be published."""
    shutil.copytree(workspace.folder / "state", workspace.set_folder / "state", dirs_exist_ok=True)
    write_atomic(workspace.set_folder / "plan.json", plan.as_json())
    count = sum(1 for _ in workspace.set_folder.glob("*/*.mindrecord"))
    print(
        f"{workspace.out}: part {settings.part} of {settings.parts}, {count} shards. When all "
        f"parts are there: python convert.py merge={workspace.out.parent}"
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
            f"{out}: of {totals[0]} parts these are missing: {missing}. Make them with "
            f"parts={totals[0]} part={missing[0]} and so on, or copy them here."
        )
    return list(parts)
