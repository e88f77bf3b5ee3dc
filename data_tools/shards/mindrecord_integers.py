"""How MindRecord packs integer arrays, both ways. (Its single numbers are MessagePack: msgspec's
matter.)

The files around them are written in `mindrecord_writer.py` and read in `mindrecord_reader.py`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt


def pack_integers(values: npt.NDArray[np.signedinteger]) -> bytes:
    """Pack an integer array as MindRecord does: count, two bits of width a number, numbers cut
    short.

    Args:
        values: (N,) int32 or int64.

    >>> pack_integers(np.array([1, 300, -1], np.int32)).hex()
    '0000000310012c01ff'
    """
    flat = values.reshape(-1).tolist()
    count = len(flat)
    try:
        body = bytes(flat)
    except ValueError:  # a number outside 0..255
        return _pack_wide(flat)
    if body.isascii():  # labels and flags: one byte each
        return count.to_bytes(4, "big") + bytes((count + 3) // 4) + body
    return _pack_wide(flat)


def _pack_wide(flat: list[int]) -> bytes:
    widths = bytearray((len(flat) + 3) // 4)
    body = bytearray()
    for k, value in enumerate(flat):
        if -128 <= value <= 127:
            body += value.to_bytes(1, "little", signed=True)
            continue
        if -32768 <= value <= 32767:
            code = 1
        elif -2147483648 <= value <= 2147483647:
            code = 2
        else:
            code = 3
        widths[k >> 2] |= code << (6 - 2 * (k & 3))
        body += value.to_bytes(1 << code, "little", signed=True)
    return len(flat).to_bytes(4, "big") + bytes(widths) + bytes(body)


def unpack_integers(data: bytes | memoryview, dtype: np.dtype[Any]) -> npt.NDArray[Any]:
    """Unpack what `pack_integers` made: count (4 bytes), 2 bits of width a number, the numbers.

    Args:
        data: All bytes of the packed array.
        dtype: int32 or int64, of the result.

    Returns:
        (N,) of `dtype`.

    Raises:
        ValueError: If the bytes are not those of N packed integers.

    >>> data = memoryview(bytes.fromhex("0000000310012c01ff"))
    >>> unpack_integers(data, np.dtype(np.int32)).tolist()
    [1, 300, -1]
    """
    count = int.from_bytes(data[:4], "big")
    bitmap_size = -(-count // 4)
    bitmap, body = data[4 : 4 + bitmap_size], 4 + bitmap_size
    problem = f"{count} packed integers do not fill their {len(data)} bytes"
    if not any(bitmap):
        if body + count != len(data):
            raise ValueError(problem)
        return np.frombuffer(data, np.int8, count, body).astype(dtype)
    bits = np.unpackbits(np.frombuffer(bitmap, np.uint8)).reshape(-1, 2)[:count]  # (N, 2)
    widths = 1 << (2 * bits[:, 0] + bits[:, 1]).astype(np.int64)  # (N,) bytes: 1, 2, 4 or 8
    starts = body + np.cumsum(widths) - widths  # (N,)
    if len(widths) != count or starts[-1] + widths[-1] != len(data):
        raise ValueError(problem)
    raw = np.frombuffer(data, np.uint8)
    values = np.empty(count, dtype)
    for width in np.unique(widths).tolist():
        chosen = widths == width
        parts = raw[starts[chosen][:, None] + np.arange(width)]  # (numbers of this width, width)
        values[chosen] = np.ascontiguousarray(parts).view(f"<i{width}")[:, 0]
    return values
