"""What a TIFF file's first directory says of its compression and purpose, before any decoder sees
it.

OpenCV makes some pictures that it cannot decompress black, without an error, and of a camera's raw
file, which is a TIFF as well, it decodes the small preview.
"""

from __future__ import annotations

import struct
from collections.abc import Collection

_PURPOSE = 254
_COMPRESSION = 259
_DNG_VERSION = 50706
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
    """Say why a TIFF file's pixels are not decoded: its compression, or that they are a preview
    only; empty where they are.
    """
    values = _values(data, (_PURPOSE, _COMPRESSION, _DNG_VERSION))
    if data[8:10] == b"CR" or _DNG_VERSION in values or values.get(_PURPOSE, 0) & 1:
        return "a camera's raw file is not decoded. Convert it to JPEG or PNG"
    compression = values.get(_COMPRESSION)
    if compression is None or compression in _DECODED:
        return ""
    name = _NAMES.get(compression, f"a way that is not known (number {compression})")
    return f"a TIFF compressed as {name} is not decoded. Convert it to JPEG or PNG"


def _values(data: bytes, tags: Collection[int]) -> dict[int, int]:
    """First value of each tag that the directory has; what a broken directory says until then."""
    values: dict[int, int] = {}
    order = {b"II": "<", b"MM": ">"}.get(data[:2])
    if order is None:
        return values
    try:
        (version,) = struct.unpack_from(order + "H", data, 2)
        large = version == 43  # BigTIFF: longer numbers
        (start,) = struct.unpack_from(order + ("Q" if large else "I"), data, 8 if large else 4)
        (count,) = struct.unpack_from(order + ("Q" if large else "H"), data, start)
        start += 8 if large else 2
        size, value = (20, 12) if large else (12, 8)
        for k in range(min(count, 512)):
            tag, kind = struct.unpack_from(order + "HH", data, start + size * k)
            if tag in tags and tag not in values:
                form = {1: "B", 3: "H"}.get(kind, "I")
                (values[tag],) = struct.unpack_from(order + form, data, start + size * k + value)
    except (struct.error, OverflowError):
        pass
    return values
