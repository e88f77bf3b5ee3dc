"""What the bytes of a JPEG or PNG file say without decoding the picture: size, colours, orientation, damage.

The converter looks at every image this way: it takes microseconds where decoding takes milliseconds, and it
finds cut and overwritten files that decoders let pass. `images.py` decides what follows.
"""

from __future__ import annotations

import re
import struct
import zlib
from dataclasses import dataclass

_SCAN_END = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
"""In a scan's coded data 0xff is followed by 0x00, by a restart marker, or by the next real marker."""

_FRAMES = {0xC0: "baseline", 0xC1: "extended", 0xC2: "progressive"}
_OTHER_FRAMES = (0xC3, 0xC5, 0xC6, 0xC7, 0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF)
_PNG_START = b"\x89PNG\r\n\x1a\n"


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
    """

    format: str
    height: int = 0
    width: int = 0
    channels: int = 0
    bits: int = 8
    orientation: int = 1
    problem: str = ""


def inspect(data: bytes) -> FileFacts:
    """Look at an image file's bytes without decoding the picture."""
    if data[:2] == b"\xff\xd8":
        return _Jpeg(data).facts()
    if data[:8] == _PNG_START:
        return _png(data)
    return FileFacts("other")


class _Jpeg:
    """One walk over the segments of a JPEG file."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._size = (0, 0)
        self._channels, self._bits, self._orientation = 0, 8, 1
        self._components: set[int] = set()
        self._progressive = False
        self._quantizers: set[int] = set()
        self._needed_quantizers: set[int] = set()
        self._tables: set[int] = set()
        self._scans = 0

    def facts(self) -> FileFacts:
        """Walk and report."""
        try:
            problem = self._walk()
        except (IndexError, struct.error):
            problem = "the file ends within a segment"
        height, width = self._size
        if not problem and not (height and width):
            problem = "no picture size"
        return FileFacts(
            "jpeg", height, width, self._channels, self._bits, self._orientation, problem
        )

    def _walk(self) -> str:
        data, at = self._data, 2
        while True:
            if data[at] != 0xFF:
                return f"no marker at byte {at}"
            while data[at] == 0xFF:
                at += 1
            marker = data[at]
            at += 1
            if marker == 0xD9:
                return "" if self._scans else "no picture data"
            if marker == 0x01 or 0xD0 <= marker <= 0xD8:
                return f"marker 0x{marker:02x} out of place at byte {at - 1}"
            (length,) = struct.unpack_from(">H", data, at)
            if length < 2 or at + length > len(data):
                return f"the segment at byte {at - 2} is longer than the file"
            problem = self._segment(marker, data[at + 2 : at + length])
            if problem:
                return f"{problem} (byte {at - 2})"
            at += length
            if marker == 0xDA:
                self._scans += 1
                end = _SCAN_END.search(data, at)
                if end is None:
                    return "the picture data has no end (file cut short)"
                at = end.start()

    def _segment(self, marker: int, body: bytes) -> str:
        if marker in _FRAMES:
            return self._frame(marker, body)
        if marker in _OTHER_FRAMES:
            self._frame(marker, body)
            return f"a rare kind of JPEG (frame 0x{marker:02x})"
        if marker == 0xC4:
            return self._huffman(body)
        if marker == 0xDB:
            return self._quantization(body)
        if marker == 0xDA:
            return self._scan(body)
        if marker == 0xE1 and body[:6] == b"Exif\0\0":
            self._orientation = exif_orientation(body[6:])
        return ""

    def _frame(self, marker: int, body: bytes) -> str:
        if self._size != (0, 0):
            return "two frames"
        bits, height, width, count = struct.unpack_from(">BHHB", body)
        if len(body) != 6 + 3 * count or count not in (1, 3, 4):
            return f"a frame of {count} components in {len(body)} bytes"
        self._bits, self._size, self._channels = bits, (height, width), count
        self._progressive = marker == 0xC2
        for k in range(count):
            number, sampling, quantizer = body[6 + 3 * k : 9 + 3 * k]
            if not (1 <= sampling >> 4 <= 4 and 1 <= sampling & 15 <= 4 and quantizer < 4):
                return "bad sampling factors"
            self._components.add(number)
            self._needed_quantizers.add(quantizer)
        if len(self._components) != count:
            return "two components of one number"
        return "" if bits == 8 else f"{bits} bits a channel"

    def _huffman(self, body: bytes) -> str:
        at = 0
        while at < len(body):
            number, counts = body[at], body[at + 1 : at + 17]
            total = sum(counts)
            if number & 0xF > 3 or number >> 4 > 1 or len(counts) < 16 or total > 256:
                return "a bad Huffman table"
            space = 1
            for count in counts:
                space = space * 2 - count
                if space < 0:
                    return "a Huffman table with too many codes"
            symbols = body[at + 17 : at + 17 + total]
            if len(symbols) < total:
                return "a Huffman table that is cut short"
            if number >> 4 == 0 and symbols and max(symbols) > 15:
                return "a Huffman table with bad symbols"
            self._tables.add(number)
            at += 17 + total
        return ""

    def _quantization(self, body: bytes) -> str:
        at = 0
        while at < len(body):
            wide, number = body[at] >> 4, body[at] & 0xF
            if wide > 1 or number > 3:
                return "a bad quantization table"
            self._quantizers.add(number)
            at += 65 + 64 * wide
        return "" if at == len(body) else "a quantization table that is cut short"

    def _scan(self, body: bytes) -> str:
        count = body[0]
        if not self._components:
            return "picture data before the frame"
        if len(body) != 4 + 2 * count or not 1 <= count <= len(self._components):
            return "a bad scan header"
        if not self._needed_quantizers <= self._quantizers:
            return "a quantization table is missing"
        first, last, approximation = body[1 + 2 * count :]
        seen: set[int] = set()
        for k in range(count):
            number, tables = body[1 + 2 * k], body[2 + 2 * k]
            if number not in self._components or number in seen:
                return "a scan of an unknown component"
            seen.add(number)
            needed = set()
            if first == 0 and approximation >> 4 == 0:
                needed.add(tables >> 4)
            if last > 0:
                needed.add(0x10 | tables & 15)
            if not needed <= self._tables:
                return "a Huffman table is missing"
        if self._progressive:
            good = first <= last <= 63 and (first > 0 or last == 0) and (first == 0 or count == 1)
            low, high = approximation & 15, approximation >> 4
            return "" if good and low <= 13 and high in (0, low + 1) else "bad scan parameters"
        return "" if (first, last, approximation) == (0, 63, 0) else "bad scan parameters"


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
