"""What the bytes of a JPEG or PNG file say without decoding the picture: size, colours,
orientation, damage.

The converter looks at every image this way: it takes microseconds where decoding takes
milliseconds, and it finds cut and overwritten files that decoders let pass.
`convert/prepare_image.py` decides what follows.
"""

from __future__ import annotations

import struct
import zlib

from data_tools.images.facts import FileFacts, exif_orientation
from data_tools.images.formats import stored_orientation
from data_tools.images.jpeg_structure import inspect_jpeg

_PNG_START = b"\x89PNG\r\n\x1a\n"


def inspect(data: bytes) -> FileFacts:
    """Look at an image file's bytes without decoding the picture."""
    if data[:2] == b"\xff\xd8":
        return inspect_jpeg(data)
    if data[:8] == _PNG_START:
        return _png(data)
    return FileFacts("other", orientation=stored_orientation(data))


def _png(data: bytes) -> FileFacts:
    at, height, width, bits, orientation = 8, 0, 0, 8, 1
    problem, pixels = "the file is cut short", False
    while at + 12 <= len(data):
        (length,) = struct.unpack_from(">I", data, at)
        kind, end = data[at + 4 : at + 8], at + 8 + length
        if end + 4 > len(data):
            break
        (stored,) = struct.unpack_from(">I", data, end)
        if zlib.crc32(memoryview(data)[at + 4 : end]) != stored:
            problem = f"the part at byte {at} does not agree with its checksum"
            break
        if kind == b"IHDR" and length == 13:
            width, height, bits = struct.unpack_from(">IIB", data, at + 8)
        elif kind == b"eXIf":
            orientation = exif_orientation(data[at + 8 : end])
        elif kind == b"IDAT":
            pixels = True
        elif kind == b"IEND":
            problem = "" if pixels and height and width else "no picture data"
            break
        at = end + 4
    return FileFacts("png", height, width, 0, bits, orientation, problem)
