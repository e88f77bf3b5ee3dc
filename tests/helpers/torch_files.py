"""Files as `torch.save` writes them, made without torch: from names and arrays, or from a pickle
given as it is.
"""

from __future__ import annotations

import io
import pickle
import struct
import zipfile
from typing import Any

import numpy as np

KINDS = {"<f4": "FloatStorage", "<f8": "DoubleStorage", "<f2": "HalfStorage", "<i8": "LongStorage"}


def storage_pickle(arrays: dict[str, np.ndarray], extra: bytes = b"") -> bytes:
    """The pickle of a state dictionary, protocol 2, written opcode by opcode."""
    out = io.BytesIO()
    out.write(b"\x80\x02ccollections\nOrderedDict\n)R(")
    for key, (name, array) in enumerate(arrays.items()):
        out.write(text(name) + b"ctorch._utils\n_rebuild_tensor_v2\n((" + text("storage"))
        out.write(f"ctorch\n{KINDS[array.dtype.str]}\n".encode() + text(str(key)) + text("cpu"))
        out.write(number(array.size) + b"tQ" + number(0))
        strides = [s // array.itemsize for s in array.strides]
        for numbers in (array.shape, strides):
            out.write(b"(" + b"".join(number(n) for n in numbers) + b"t")
        out.write(b"\x89ccollections\nOrderedDict\n)RtR")
    out.write(extra + b"u.")
    return out.getvalue()


def text(value: str) -> bytes:
    raw = value.encode()
    return b"X" + struct.pack("<I", len(raw)) + raw


def number(value: int) -> bytes:
    return b"J" + struct.pack("<i", value)


def zip_file(content: bytes, arrays: dict[str, np.ndarray], **members: bytes) -> bytes:
    """torch's archive around a pickle and the numbers of arrays."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr("archive/data.pkl", content)
        archive.writestr("archive/byteorder", b"little")
        for key, array in enumerate(arrays.values()):
            archive.writestr(f"archive/data/{key}", array.tobytes())
        archive.writestr("archive/version", b"3\n")
        for name, value in members.items():
            archive.writestr(f"archive/{name}", value)
    return out.getvalue()


def torch_file(arrays: dict[str, np.ndarray]) -> bytes:
    """What `torch.save(state_dict, file)` writes."""
    return zip_file(storage_pickle(arrays), arrays)


def legacy_file(arrays: dict[str, np.ndarray]) -> bytes:
    """What torch wrote before 1.6: pickles one after the other, then the numbers."""
    machine = {"protocol_version": 1001, "little_endian": True, "type_sizes": {"short": 2}}
    parts: list[Any] = [0x1950A86A20F9469CFC6C, 1001, machine]
    head = b"".join(pickle.dumps(part, protocol=2) for part in parts)
    content = storage_pickle(arrays).replace(b"tQ" + number(0), b"NtQ" + number(0))
    keys = pickle.dumps([str(k) for k in range(len(arrays))], protocol=2)
    numbers = b"".join(struct.pack("<q", a.size) + a.tobytes() for a in arrays.values())
    return head + content + keys + numbers
