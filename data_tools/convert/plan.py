"""What a conversion will do, as a pure function of source and settings: which rows go to which
shard.

The plan is the same on every machine and for any number of workers; its hash tells whether work
that was left behind may be gone on with. It is made in `make_plan.py`; writing is the business of
`shard_task.py`.
"""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from data_tools.core.files import is_plain_name
from data_tools.core.json_dataclass import build, parse_json, shown
from data_tools.core.sample import ClassInfo
from data_tools.sources.defect_kinds import KINDS
from data_tools.sources.defects import (
    Defect,
)

FORMAT = "ssd-conversion/1"


@dataclass(frozen=True)
class SplitPlan:
    """What becomes of one split.

    Args:
        name: The split's name.
        bounds: Shard k holds the source images `bounds[k]:bounds[k + 1]`, sorted by id.
        page_bytes: MindRecord page size of all its shards.
        found: Counts of the source: `images`, `boxes`.
        other_classes: Boxes of classes that the settings leave out.
        empty_left_out: Images without boxes that the settings leave out.
        source: What was read: annotation files with their hashes, a hash of the list of images.
        defects: Defects found before any image was opened.
        first_shard: Number of the first shard; above 0 where a finished set is extended.
    """

    name: str
    bounds: tuple[int, ...]
    page_bytes: int
    found: dict[str, int]
    other_classes: int
    empty_left_out: int
    source: dict[str, Any]
    defects: tuple[Defect, ...]
    first_shard: int = 0

    @property
    def num_shards(self) -> int:
        """Number of shards."""
        return len(self.bounds) - 1

    def check(self) -> None:
        """Refuse a plan, read from a file, that no converter makes.

        Raises:
            ValueError: Naming what is wrong.
        """
        if not is_plain_name(self.name):
            raise ValueError(f"split name {shown(self.name)} leaves the folder")
        if not (self.name.isidentifier() and self.name.isascii()):
            raise ValueError(f"the split name {shown(self.name)} is none")
        if len(self.bounds) < 2 or self.bounds[0] or list(self.bounds) != sorted(set(self.bounds)):
            raise ValueError(f"the bounds of split {self.name} do not rise from 0")
        if not {"images", "boxes"} <= set(self.found):
            raise ValueError(f"split {self.name} does not say how much was found")
        for defect in self.defects:
            if defect.kind not in KINDS:
                raise ValueError(f"there is no defect {shown(defect.kind)}")

    def shard_name(self, index: int) -> str:
        """File name of a shard."""
        return f"{self.name}-{self.first_shard + index:05d}.mindrecord"


@dataclass(frozen=True)
class Plan:
    """A conversion, complete but for the images: enough to join its shards without the raw data.

    Args:
        settings: The settings that decide the content.
        classes: The classes in the order of their labels.
        splits: The splits.
    """

    settings: dict[str, Any]
    classes: tuple[ClassInfo, ...]
    splits: tuple[SplitPlan, ...]

    def as_json(self) -> str:
        """The plan as canonical JSON."""
        splits = [
            # A source may have as many defects as boxes, and `asdict` copies every value of each.
            {**vars(split), "defects": [vars(defect) for defect in split.defects]}
            for split in self.splits
        ]
        for split in splits:
            if not split["first_shard"]:  # plans of older versions stay what they are
                del split["first_shard"]
        content = {
            "format": FORMAT,
            "settings": self.settings,
            "classes": [asdict(one) for one in self.classes],
            "splits": splits,
        }
        return json.dumps(content, sort_keys=True, separators=(",", ":"))

    @functools.cached_property
    def digest(self) -> str:
        """sha256 of the plan."""
        return hashlib.sha256(self.as_json().encode()).hexdigest()

    @staticmethod
    def from_json(text: str) -> Plan:
        """Read a plan back.

        Raises:
            ValueError: If it is none.
        """
        content = parse_json(text)
        if not isinstance(content, dict) or content.pop("format", None) != FORMAT:
            raise ValueError(f"no plan of format {FORMAT!r}")
        plan = build(Plan, content)
        for split in plan.splits:
            split.check()
        return plan


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Name what differs between two trees of settings, one line a key, at most ten.

    >>> differences({"a": {"b": 1}, "c": 2}, {"a": {"b": 3}, "c": 2})
    ['a.b: 1 there, 3 now']
    """
    flat_old, flat_new = _flat(old), _flat(new)
    lines = [
        f"{key}: {flat_old.get(key, 'nothing')} there, {flat_new.get(key, 'nothing')} now"
        for key in sorted({*flat_old, *flat_new})
        if flat_old.get(key) != flat_new.get(key)
    ]
    return [*lines[:10], f"and {len(lines) - 10} more"] if len(lines) > 10 else lines


def _flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    leaves: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, Mapping) and value:
            leaves.update(_flat(value, f"{prefix}{key}."))
        else:
            leaves[prefix + str(key)] = value
    return leaves
