"""The names in a `.ckpt` of MindSpore's, before its own reader takes the last of two alike without
a word.

The numbers are read in `weight_files.py`.
"""

from __future__ import annotations

import math
from pathlib import Path

from data_tools.core.errors import CheckpointError
from data_tools.core.json_dataclass import shown

_SLICED = 1 << 26
"""Elements above which MindSpore writes a tensor in several pieces of one name: 512 MiB of the
widest."""


def refuse_names_twice(path: Path) -> None:
    """Refuse a checkpoint that holds a name twice.

    Args:
        path: The file; one that is none of MindSpore's is left to its reader, which says so.

    Raises:
        CheckpointError: Naming the weight.
    """
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
    from mindspore.train.checkpoint_pb2 import Checkpoint

    content = Checkpoint()
    try:
        data = path.read_bytes()
        content.ParseFromString(data[:-17] if data[-17:-10] == b"crc_num" else data)
    except (DecodeError, ValueError, OSError):  # a ValueError: a name that is not UTF-8
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
