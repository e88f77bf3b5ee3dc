"""What an image file says of itself, whatever its format; and the orientation in an EXIF block.

Files are looked at in `inspect.py`.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass


@dataclass(frozen=True)
class FileFacts:
    """What a file says of itself.

    Args:
        format: `jpeg`, `png`, or `other` for anything else.
        height: Pixels as stored, 0 where the file does not say.
        width: Pixels as stored.
        channels: 1, 3 or 4 for JPEG (4: CMYK); 0 where it does not matter.
        bits: Bits of a channel.
        orientation: EXIF orientation, 1..8; 1 is upright.
        problem: What is wrong with the file's structure; empty where nothing is.
        refused: Why no decoder may see the file, whatever else it holds; empty for nearly all.
    """

    format: str
    height: int = 0
    width: int = 0
    channels: int = 0
    bits: int = 8
    orientation: int = 1
    problem: str = ""
    refused: str = ""


def exif_orientation(tiff: bytes) -> int:
    """Return the orientation, 1..8, in an EXIF block; 1 where there is none or it is broken."""
    order = {b"II": "<", b"MM": ">"}.get(tiff[:2])
    if order is None:
        return 1
    try:
        (start,) = struct.unpack_from(order + "I", tiff, 4)
        (count,) = struct.unpack_from(order + "H", tiff, start)
        for k in range(min(count, 512)):
            tag, kind, _, value = struct.unpack_from(order + "HHIH", tiff, start + 2 + 12 * k)
            if tag == 0x0112 and kind == 3:
                return int(value) if 1 <= value <= 8 else 1
    except struct.error:
        pass
    return 1
