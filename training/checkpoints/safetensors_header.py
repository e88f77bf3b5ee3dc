"""The header of a safetensors file, checked before its numbers are read.

The library reads the numbers (`weight_files.py`). It keeps the last of two tensors of one name
without a word, and has no words for what else can be wrong.
"""

from __future__ import annotations

import json
import math
import struct
from collections import Counter
from pathlib import Path
from typing import Any

from data_tools.core.errors import CheckpointError
from data_tools.core.json_dataclass import shown

LARGEST_HEADER = 8_000_000
"""Bytes. The format allows 100 MB, but a detector's thousand tensors take 0.1 MB, and parsing takes
many times that."""

_MOST_TENSORS = 20_000
_MOST_AXES = 16

_BITS = {
    "BOOL": 8, "U8": 8, "I8": 8, "F8_E5M2": 8, "F8_E4M3": 8, "I16": 16, "U16": 16, "F16": 16,
    "BF16": 16,
    "I32": 32, "U32": 32, "F32": 32, "F64": 64, "I64": 64, "U64": 64,
}  # fmt: skip


def check_header(path: Path) -> dict[str, Any]:
    """Read and check the header of a safetensors file.

    Args:
        path: The file.

    Returns:
        The header: tensor name to `dtype`, `shape` and `data_offsets`, and `__metadata__` if there
        is one.

    Raises:
        CheckpointError: If it is larger than the file or the format allows, no JSON, names a tensor
            twice, or its tensors overlap, leave gaps, or do not fill the file.
    """
    size = path.stat().st_size
    with open(path, "rb") as file:
        start = file.read(8)
        length = struct.unpack("<Q", start)[0] if len(start) == 8 else size
        if length > size - 8:
            raise _damaged(path, f"its header should have {length} bytes, the file has {size}")
        if length > LARGEST_HEADER:
            raise _damaged(path, f"its header of {length} bytes is larger than any detector's")
        text = file.read(length)
    try:
        header = json.loads(text, object_pairs_hook=_once)
    except RecursionError:
        raise _damaged(path, "its header is nested without end") from None
    except ValueError as error:
        raise _damaged(path, f"its header cannot be read: {shown(str(error))[1:-1]}") from error
    if not isinstance(header, dict):
        raise _damaged(path, "its header is no object")
    if len(header) > _MOST_TENSORS:
        raise _damaged(path, f"its header names {len(header)} tensors, more than any detector has")
    _check_ranges(path, header, size - 8 - length)
    return header


def _check_ranges(path: Path, header: dict[str, Any], num_bytes: int) -> None:
    ranges = []
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        try:
            begin, end = entry["data_offsets"]
            bits = _BITS[entry["dtype"]]
            shape = entry["shape"]
            if len(shape) > _MOST_AXES or not all(
                type(n) is int and 0 <= n < 2**48 for n in (begin, end, *shape)
            ):
                raise ValueError
        except (KeyError, TypeError, ValueError):
            raise _damaged(path, f"tensor {shown(name)} is not described as it should be") from None
        if (end - begin) * 8 != math.prod(shape) * bits:
            raise _damaged(
                path, f"tensor {shown(name)} of shape {shape} does not fill its {end - begin} bytes"
            )
        ranges.append((begin, end, name))
    at, before = 0, ""
    for begin, end, name in sorted(ranges):
        if begin != at:
            what = "overlap" if begin < at else "leave a gap between them"
            raise _damaged(path, f"tensors {shown(before)} and {shown(name)} {what}")
        at, before = end, name
    if at != num_bytes:
        raise _damaged(path, f"its tensors take {at} bytes, but {num_bytes} follow the header")


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        twice = Counter(name for name, _ in pairs).most_common(1)[0][0]
        raise ValueError(f"the name {twice} stands in it twice")
    return made


def _damaged(path: Path, reason: str) -> CheckpointError:
    return CheckpointError(
        f"{path} is no safetensors file, or damaged: {reason}. Copy or download it again."
    )
