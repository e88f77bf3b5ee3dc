"""One walk over the segments of a JPEG file: its size, colours and orientation, and whether it is
whole.

The picture is not decoded: headers and tables are checked, and of the coded data only its markers.
"""

from __future__ import annotations

import functools
import re
import struct
from dataclasses import dataclass

import numpy as np

from data_tools.images.facts import FileFacts, exif_orientation

SCAN_END = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
"""In a scan's coded data 0xff is followed by 0x00, by a restart marker, or by the next real
marker."""

MOST_SEGMENTS = 4096
"""libjpeg walks over all notes before it adds one: 800,000 of them, 20 MB, keep it busy for hours.
A picture has some twenty, and a colour profile at most 255."""

MOST_SCANS = 100
"""Each scan is a pass over the whole picture, whatever its own length; encoders write ten or so."""

_PIECE_BYTES = 1 << 16
"""Bytes looked at in one go: they fit a core's own cache, and a short scan costs little."""

_NOT_FILL = re.compile(rb"[^\xff]", re.DOTALL)
_RARE_FRAMES = frozenset((0xC3, 0xC5, 0xC6, 0xC7, 0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF))
_FRAMES = frozenset((0xC0, 0xC1, 0xC2)) | _RARE_FRAMES  # baseline, extended, progressive


def inspect_jpeg(data: bytes) -> FileFacts:
    """Look at the bytes of a JPEG file, which begin with 0xff 0xd8."""
    return _Jpeg(data).facts()


class _Jpeg:
    """One walk over the segments of a JPEG file."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._frame: _Frame | None = None
        self._orientation = 1
        self._quantizers: frozenset[int] = frozenset()
        self._tables: frozenset[int] = frozenset()
        self._scans = 0
        self._refused = ""

    def facts(self) -> FileFacts:
        """Walk and report."""
        try:
            problem = self._walk()
        except IndexError:
            problem = "the file ends within a segment"
        if problem and not self._refused:
            # Decoders pass over what ends this walk, so what follows is counted roughly.
            self._refused = _too_many_markers(self._data)
        frame = self._frame or _Frame("no picture size", 0, 0, 8, (), frozenset(), False)
        if not problem and not (frame.height and frame.width):
            problem = "no picture size"
        return FileFacts(
            "jpeg",
            frame.height,
            frame.width,
            len(frame.components),
            frame.bits,
            self._orientation,
            problem,
            self._refused,
        )

    def _walk(self) -> str:
        data, size, at = self._data, len(self._data), 2
        for _ in range(MOST_SEGMENTS):
            if data[at] != 0xFF:
                return f"no marker at byte {at}"
            filled = _NOT_FILL.search(data, at)
            if filled is None:
                return "the file ends within a segment"
            at = filled.start()
            marker = data[at]
            at += 1
            if marker == 0xD9:
                return "" if self._scans else "no picture data"
            if marker == 0x01 or 0xD0 <= marker <= 0xD8:
                return f"marker 0x{marker:02x} out of place at byte {at - 1}"
            length = data[at] << 8 | data[at + 1]
            if length < 2 or at + length > size:
                return f"the segment at byte {at - 2} is longer than the file"
            if marker < 0xE0 or marker == 0xE1:  # not the application's own notes
                problem = self._segment(marker, data[at + 2 : at + length])
                if problem:
                    return f"{problem} (byte {at - 2})"
            at += length
            if marker == 0xDA:
                self._scans += 1
                at = end_of_scan(data, at)
                if at < 0:
                    return "the picture data has no end (file cut short)"
                if self._scans > MOST_SCANS:
                    self._refused = f"a JPEG of more than {MOST_SCANS} scans"
                    return self._refused
        self._refused = f"a JPEG of more than {MOST_SEGMENTS} segments"
        return self._refused

    def _segment(self, marker: int, body: bytes) -> str:
        if marker in _FRAMES:
            if self._frame is not None:
                return "two frames"
            self._frame = _read_frame(marker, body)
            return self._frame.problem
        problem = ""
        if marker == 0xC4:
            problem, numbers = _huffman_tables(body)
            self._tables |= numbers
        elif marker == 0xDB:
            problem, numbers = _quantization_tables(body)
            self._quantizers |= numbers
        elif marker == 0xDA:
            if self._frame is None:
                return "picture data before the frame"
            problem = _scan_problem(body, self._frame, self._tables, self._quantizers)
        elif marker == 0xE1 and body[:6] == b"Exif\0\0":
            self._orientation = exif_orientation(body[6:])
        return problem


def _too_many_markers(data: bytes) -> str:
    codes = np.frombuffer(data, np.uint8)
    behind = codes[1:][codes[:-1] == 0xFF]  # each may be a marker
    if np.count_nonzero(behind == 0xDA) > MOST_SCANS:
        return f"a JPEG of more than {MOST_SCANS} scans"
    notes = (behind >= 0xC0) & (behind != 0xFF) & ((behind < 0xD0) | (behind > 0xD9))
    return (
        f"a JPEG of more than {MOST_SEGMENTS} segments"
        if np.count_nonzero(notes) > MOST_SEGMENTS
        else ""
    )


def end_of_scan(data: bytes, at: int, piece_bytes: int = _PIECE_BYTES) -> int:
    """Return where the first real marker after `at` begins, -1 if there is none: `SCAN_END`, only
    faster.
    """
    # Nearly every 0xff is followed by 0x00: NumPy passes those several times faster than the
    # expression.
    codes = np.frombuffer(data, np.uint8)
    while at + 1 < len(data):
        piece = codes[at : at + piece_bytes + 1]
        other = np.equal(piece[:-1], 0xFF).view(np.uint8)  # 1 where a marker may begin ...
        np.minimum(other, piece[1:], out=other)  # ... and what follows is not 0
        first = int(other.view(np.bool_).argmax())
        if other[first]:
            end = SCAN_END.search(data, at + first)
            return end.start() if end is not None else -1
        at += len(piece) - 1
    return -1


@dataclass(frozen=True)
class _Frame:
    """The frame header: `components` are their numbers, `quantizers` the tables that they need."""

    problem: str
    height: int
    width: int
    bits: int
    components: tuple[int, ...]
    quantizers: frozenset[int]
    progressive: bool


# Files of one data set share their few tables and headers, so what these functions find is
# remembered.


@functools.lru_cache(maxsize=1024)
def _read_frame(marker: int, body: bytes) -> _Frame:
    if len(body) < 6:
        return _Frame("a frame that is cut short", 0, 0, 8, (), frozenset(), False)
    bits, height, width, count = struct.unpack_from(">BHHB", body)
    numbers, quantizers = body[6::3], body[8::3]
    problem = ""
    if len(body) != 6 + 3 * count or count not in (1, 3, 4):
        problem = f"a frame of {count} components in {len(body)} bytes"
    elif (
        any(not (1 <= s >> 4 <= 4 and 1 <= s & 15 <= 4) for s in body[7::3]) or max(quantizers) > 3
    ):
        problem = "bad sampling factors"
    elif len(set(numbers)) != count:
        problem = "two components of one number"
    elif bits != 8:
        problem = f"{bits} bits a channel"
    elif marker in _RARE_FRAMES:
        problem = f"a rare kind of JPEG (frame 0x{marker:02x})"
    return _Frame(
        problem, height, width, bits, tuple(numbers), frozenset(quantizers), marker == 0xC2
    )


@functools.lru_cache(maxsize=1024)
def _huffman_tables(body: bytes) -> tuple[str, frozenset[int]]:
    """Check the Huffman tables of a segment; returns what is wrong, and the numbers of the
    tables.
    """
    at = 0
    numbers = set()
    while at < len(body):
        number, counts = body[at], body[at + 1 : at + 17]
        total = sum(counts)
        if number & 0xF > 3 or number >> 4 > 1 or len(counts) < 16 or total > 256:
            return "a bad Huffman table", frozenset()
        space = 1
        for count in counts:
            space = space * 2 - count
            if space < 0:
                return "a Huffman table with too many codes", frozenset()
        symbols = body[at + 17 : at + 17 + total]
        if len(symbols) < total:
            return "a Huffman table that is cut short", frozenset()
        if number >> 4 == 0 and symbols and max(symbols) > 15:
            return "a Huffman table with bad symbols", frozenset()
        numbers.add(number)
        at += 17 + total
    return "", frozenset(numbers)


@functools.lru_cache(maxsize=1024)
def _quantization_tables(body: bytes) -> tuple[str, frozenset[int]]:
    """Check the quantization tables of a segment; returns what is wrong, and their numbers."""
    at = 0
    numbers = set()
    while at < len(body):
        wide, number = body[at] >> 4, body[at] & 0xF
        if wide > 1 or number > 3:
            return "a bad quantization table", frozenset()
        numbers.add(number)
        at += 65 + 64 * wide
    problem = "" if at == len(body) else "a quantization table that is cut short"
    return problem, frozenset(numbers)


@functools.lru_cache(maxsize=1024)
def _scan_problem(
    body: bytes, frame: _Frame, tables: frozenset[int], quantizers: frozenset[int]
) -> str:
    count = body[0] if body else 0
    if not 1 <= count <= len(frame.components) or len(body) != 4 + 2 * count:
        return "a bad scan header"
    if not frame.quantizers <= quantizers:
        return "a quantization table is missing"
    first, last, approximation = body[1 + 2 * count :]
    numbers = body[1 : 1 + 2 * count : 2]
    if not set(numbers) <= set(frame.components) or len(set(numbers)) != count:
        return "a scan of an unknown component"
    for table in body[2 : 2 + 2 * count : 2]:
        needed = set()
        if first == 0 and approximation >> 4 == 0:
            needed.add(table >> 4)
        if last > 0:
            needed.add(0x10 | table & 15)
        if not needed <= tables:
            return "a Huffman table is missing"
    if frame.progressive:
        good = first <= last <= 63 and (first > 0 or last == 0) and (first == 0 or count == 1)
        low, high = approximation & 15, approximation >> 4
        return "" if good and low <= 13 and high in (0, low + 1) else "bad scan parameters"
    return "" if (first, last, approximation) == (0, 63, 0) else "bad scan parameters"
