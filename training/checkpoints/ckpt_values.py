"""The numbers of a `.ckpt`, read without MindSpore, whose import takes seconds.

The message and its description are MindSpore's own; what such a file must be is checked in
`ckpt_names.py` before. What is in it besides weights is `weight_files.py`'s business.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from data_tools.core.json_dataclass import shown

_DTYPES = {
    "Int8": "<i1", "UInt8": "<u1", "Int16": "<i2", "UInt16": "<u2", "Int32": "<i4",
    "UInt32": "<u4", "Int64": "<i8", "UInt64": "<u8", "Float16": "<f2", "Float32": "<f4",
    "Float64": "<f8", "Bool": "?", "BFloat16": "<u2",
}  # fmt: skip
"""MindSpore's names of dtypes; bfloat16 is widened to float32 after reading."""

_CHECKSUM = b"crc_num"
_CHECKSUM_BYTES = 17


def read_message(path: Path) -> Any:
    """Parse a `.ckpt`.

    Returns:
        MindSpore's message `Checkpoint`: values, each with a tag and a tensor.

    Raises:
        ValueError: If it cannot be parsed, or a name in it is no text.
    """
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

    content = _message_module().Checkpoint()
    data = path.read_bytes()
    if data[-_CHECKSUM_BYTES:].startswith(_CHECKSUM):
        data = data[:-_CHECKSUM_BYTES]
    try:
        content.ParseFromString(data)
    except DecodeError as error:
        raise ValueError("its entries cannot be parsed") from error
    return content


def read_values(path: Path) -> dict[str, npt.NDArray[np.generic]]:
    """Read all numbers of a `.ckpt`; texts, which a trainer may add, are left out.

    Returns:
        Name to array, in the order of the file; bfloat16 as float32.

    Raises:
        ValueError: If it cannot be parsed, or an entry is not what its shape and type say.
    """
    pieces: dict[str, list[bytes]] = {}
    kinds: dict[str, tuple[str, tuple[int, ...]]] = {}
    for value in read_message(path).value:
        name, tensor = value.tag, value.tensor
        if not value.HasField("tensor") or tensor.tensor_type == "str":
            continue
        if tensor.tensor_type not in _DTYPES:
            raise ValueError(f"{shown(name)} is of the unknown kind {shown(tensor.tensor_type)}")
        kind = (tensor.tensor_type, tuple(tensor.dims))
        if kinds.setdefault(name, kind) != kind:
            raise ValueError(f"the pieces of {shown(name)} differ")
        # MindSpore writes a large tensor in pieces; `ckpt_names.py` refuses any other name twice.
        pieces.setdefault(name, []).append(tensor.tensor_content)
    return {name: _array(name, *kinds[name], b"".join(parts)) for name, parts in pieces.items()}


def _array(name: str, kind: str, shape: tuple[int, ...], content: bytes) -> npt.NDArray[np.generic]:
    dtype = np.dtype(_DTYPES[kind])
    shape = () if shape == (0,) and content else shape  # how MindSpore writes a number alone
    try:
        values = np.frombuffer(content, dtype).reshape(shape)
    except ValueError:
        raise ValueError(
            f"{shown(name)} of shape {shape} and kind {kind} has {len(content)} bytes"
        ) from None
    if kind == "BFloat16":
        return (values.astype(np.uint32) << 16).view(np.float32)
    return values.copy()  # what lies in the file's bytes cannot be written to


def _message_module() -> Any:
    """MindSpore's description of the message, from its file: to import it by name would import
    all of MindSpore.
    """
    package = importlib.util.find_spec("mindspore")
    for folder in (package.submodule_search_locations or []) if package else []:
        file = Path(folder) / "train" / "checkpoint_pb2.py"
        spec = importlib.util.spec_from_file_location("mindspore_checkpoint_pb2", file)
        if file.is_file() and spec is not None and spec.loader is not None:
            module = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(module)
            return module
    from mindspore.train import checkpoint_pb2  # another version's folders

    return checkpoint_pb2
