"""The result of one converted shard: what is noted next to it until the set is joined, and read
back.

Made in `shard_task.py`, perhaps on another machine; joined in `finish_split.py`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Optional

from data_tools.core.errors import DataError
from data_tools.core.files import write_atomic
from data_tools.core.json_dataclass import build, read_json
from data_tools.shards.manifest import ShardInfo
from data_tools.sources.defects import Defect


@dataclass(frozen=True)
class ShardResult:
    """What became of a shard's images.

    Args:
        plan: Hash of the plan that it belongs to.
        shard: The shard; None if no image of it could be used.
        images: Its entries of the ground truth's list of images, as JSON without the brackets.
        annotations: Its entries of the list of annotations, likewise.
        totals: Counts of images and boxes.
        defects: Defects found in the images.
        changes: Counts of what was done to images.
        hashes: Hashes of the rows, kind -> text, see `shards/stored_hashes.py`.
    """

    plan: str
    shard: Optional[ShardInfo]
    images: str
    annotations: str
    totals: dict[str, int]
    defects: tuple[Defect, ...]
    changes: dict[str, int]
    hashes: dict[str, str] = field(default_factory=dict)


def write_result(path: Path, result: Mapping[str, Any]) -> None:
    """Write a result, whole or not at all, with its own hash: it may travel between machines."""
    write_atomic(path, _dump({**result, "seal": _seal(result)}))


def read_result(path: Path) -> ShardResult:
    """Read a result.

    Raises:
        DataError: If it is missing, damaged, or none.
    """
    try:
        content = read_json(path)
        if not isinstance(content, dict) or content.pop("seal", None) != _seal(content):
            raise ValueError("it is not what the converter wrote")
        return build(ShardResult, content)
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: missing or damaged ({error}).") from error


def _seal(result: Mapping[str, Any]) -> str:
    return hashlib.sha256(_dump(result).encode()).hexdigest()


def _dump(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), sort_keys=True)
