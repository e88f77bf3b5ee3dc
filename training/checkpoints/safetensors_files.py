"""The tensors of a safetensors file, whatever else has been imported: bfloat16 as float32.

Its header is checked first, in `safetensors_header.py`.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError, deserialize

from data_tools.core.errors import CheckpointError
from data_tools.core.json_dataclass import first_line, shown
from training.checkpoints.safetensors_header import check_header

_DTYPES = {
    "BOOL": "?", "U8": "u1", "I8": "i1", "U16": "<u2", "I16": "<i2", "F16": "<f2", "BF16": "<u2",
    "U32": "<u4", "I32": "<i4", "F32": "<f4", "U64": "<u8", "I64": "<i8", "F64": "<f8",
}  # fmt: skip
"""Of the library's own door to numpy, whether bfloat16 opens depends on who imported what."""


def read_safetensors(path: Path) -> dict[str, npt.NDArray[np.generic]]:
    """Read all tensors.

    Args:
        path: The file.

    Returns:
        Name to array; bfloat16 as float32.

    Raises:
        CheckpointError: If the file is damaged, or a tensor is of a kind that numpy does not have.
    """
    for name, entry in check_header(path).items():
        if name != "__metadata__" and entry["dtype"] not in _DTYPES:
            raise CheckpointError(
                f"{path}: tensor {shown(name)} is stored as {entry['dtype']}, which is not read "
                "here. Save the weights as float32, float16 or bfloat16."
            )
    try:
        rows = deserialize(path.read_bytes())
    except (SafetensorError, OSError, MemoryError) as error:
        raise CheckpointError(
            f"{path} is no safetensors file, or damaged ({first_line(error)}). Copy or download it "
            "again."
        ) from error
    return {name: _array(row["dtype"], row["shape"], row["data"]) for name, row in rows}


def _array(kind: str, shape: list[int], data: bytes) -> npt.NDArray[np.generic]:
    values = np.frombuffer(data, _DTYPES[kind]).reshape(shape)
    if kind == "BF16":
        return (values.astype(np.uint32) << 16).view(np.float32)
    return values.copy()  # bytes are read only
