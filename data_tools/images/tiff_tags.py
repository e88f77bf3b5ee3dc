"""What a TIFF file's first directory says of its compression, before any decoder sees it.

OpenCV makes some pictures that it cannot decompress black, without an error.
"""

from __future__ import annotations

import struct

_COMPRESSION = 259
_DECODED = frozenset([1, 2, 3, 4, 5, 7, 8, 32771, 32773, 32946, 34676, 34677])
"""None, CCITT (three), LZW, JPEG, deflate, words, PackBits, deflate's old number, and SGI's
logarithms of light (two)."""

_NAMES = {
    6: "JPEG in the form of 1992",
    33003: "JPEG 2000",
    33005: "JPEG 2000",
    34712: "JPEG 2000",
    34887: "LERC",
    34925: "LZMA",
    50000: "Zstandard",
    50001: "WebP",
    50002: "JPEG XL",
    52546: "JPEG XL",
}


def unreadable_tiff(data: bytes) -> str:
    """Say why a TIFF file's pixels are not decoded: its compression; empty where they are."""
    compression = _compression(data)
    if compression is None or compression in _DECODED:
        return ""
    name = _NAMES.get(compression, f"a way that is not known (number {compression})")
    return f"a TIFF compressed as {name} is not decoded. Convert it to JPEG or PNG"


def _compression(data: bytes) -> int | None:
    """The value of the tag; None where it is missing, or the directory is broken."""
    order = {b"II": "<", b"MM": ">"}.get(data[:2])
    if order is None:
        return None
    try:
        (version,) = struct.unpack_from(order + "H", data, 2)
        large = version == 43  # BigTIFF: longer numbers
        (start,) = struct.unpack_from(order + ("Q" if large else "I"), data, 8 if large else 4)
        (count,) = struct.unpack_from(order + ("Q" if large else "H"), data, start)
        start += 8 if large else 2
        size, value = (20, 12) if large else (12, 8)
        for k in range(min(count, 512)):
            tag, kind = struct.unpack_from(order + "HH", data, start + size * k)
            if tag == _COMPRESSION:
                form = "H" if kind == 3 else "I"
                (number,) = struct.unpack_from(order + form, data, start + size * k + value)
                return int(number)
    except (struct.error, OverflowError):
        pass
    return None
