"""What a `.ckpt` of MindSpore's must be before its own reader opens it: whole, and with no name
twice, of which that reader would take the last without a word.

All this takes no MindSpore, whose import takes seconds. The numbers are read in `ckpt_values.py`.
"""

from __future__ import annotations

import math
import mmap
from collections.abc import Iterator
from pathlib import Path

from data_tools.core.errors import CheckpointError
from data_tools.core.json_dataclass import shown
from training.checkpoints.ckpt_values import read_message

_SLICED = 1 << 26
"""Elements above which MindSpore writes a tensor in several pieces of one name: 512 MiB of the
widest."""


_TAG = 0x0A
"""Both the entry of a checkpoint and the name in an entry: field 1, with its length before it."""


def check_ckpt(path: Path) -> None:
    """Refuse what is no whole checkpoint, by the lengths of its entries, or holds a name twice.

    A checkpoint is a message of protobuf: entry after entry, each of which begins with the weight's
    name; 17 bytes of a checksum may follow.

    Raises:
        CheckpointError: If the file is empty, of another kind, ends within an entry, or has two
            weights of one name.
    """
    try:
        size = path.stat().st_size
        if not size:
            raise ValueError("it is empty")
        names = set()
        count = 0
        with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            if data[-17:-10] == b"crc_num":
                size -= 17
            for begin, end in _entries(data, size):
                length, start = _length(data, begin + 1, end)
                names.add(data[start : min(start + length, end)])
                count += 1
            if not count:
                raise ValueError("it has no weights")
    except (ValueError, OSError) as error:
        raise CheckpointError(
            f"{path} is no MindSpore checkpoint, or damaged ({error}). Copy or download it again."
        ) from None
    if len(names) < count:
        _refuse_names_twice(path)


def _entries(data: mmap.mmap, size: int) -> Iterator[tuple[int, int]]:
    """Yield begin and end of each entry.

    Raises:
        ValueError: If there is something else, or less.
    """
    offset = 0
    while offset < size:
        if data[offset] != _TAG:
            raise ValueError(f"byte {offset} begins no weight")
        length, begin = _length(data, offset + 1, size)
        if begin + length > size:
            raise ValueError(
                f"it ends within a weight: {size} bytes, and at least {begin + length} were written"
            )
        if not length or data[begin] != _TAG:
            raise ValueError(f"the weight at byte {offset} has no name")
        yield begin, begin + length
        offset = begin + length


def _length(data: mmap.mmap, offset: int, size: int) -> tuple[int, int]:
    """Read a length, seven bits a byte, lowest first; return it and the offset behind it."""
    length = 0
    for shift in range(0, 63, 7):
        if offset >= size:
            raise ValueError("it ends within a length")
        byte = data[offset]
        offset += 1
        length |= (byte & 127) << shift
        if byte < 128:
            return length, offset
    raise ValueError(f"byte {offset} is no length")


def _refuse_names_twice(path: Path) -> None:
    """Refuse a checkpoint that holds a name twice.

    Args:
        path: The file; one that is none of MindSpore's is left to its reader, which says so.

    Raises:
        CheckpointError: Naming the weight.
    """
    try:
        content = read_message(path)
    except (ValueError, OSError):
        return
    seen: set[str] = set()
    before = ""
    for value in content.value:
        piece = value.tag == before and math.prod(value.tensor.dims) > _SLICED
        if value.tag in seen and not piece:
            raise CheckpointError(
                f"{path} holds the weight {shown(value.tag)} twice: nobody can say which one is "
                "meant. Get the file from where it was made."
            )
        seen.add(value.tag)
        before = value.tag
