"""How MindRecord packs integer arrays: cut short. (Its single numbers are MessagePack: msgspec's matter.)

The files around them are written in `mindrecord_writer.py` and read in `mindrecord_reader.py`.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


def pack_integers(values: npt.NDArray[np.signedinteger]) -> bytes:
    """Pack an integer array as MindRecord does: count, two bits of width a number, numbers cut short.

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
