"""Decoding only the upper rows of a JPEG, down to where the crop ends: the same pixels, less work.

A JPEG must be decoded from its start, so what lies next to and above a crop cannot be left out, but
what lies below can: with a smaller height in its header, the decoder stops there. Whole images are
`decode.py`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import simplejpeg

Pixels = npt.NDArray[np.uint8]

_CONTEXT_ROWS = 4
"""Rows decoded beyond those asked for: chroma is interpolated from the rows around (4 with
4:1:0)."""

_LEAST_SAVED = 32
"""Rows; below that the search costs what it saves."""

_SEQUENTIAL = (
    0xC0,
    0xC1,
)  # start of frame, baseline and extended; other kinds are left to the decoder
_OTHER_FRAMES = (0xC2, 0xC3, 0xC5, 0xC6, 0xC7, 0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF)
_START_OF_SCAN = 0xDA


def decode_upper_rows(
    encoded: Pixels, rows: int, height: int, buffer: npt.NDArray[np.uint8] | None = None
) -> Pixels | None:
    """Decode at least the first `rows` rows of a sequential JPEG, bit for bit those of the whole
    image.

    Args:
        encoded: (L,) uint8, the file's bytes; changed while this runs if they are writable.
        rows: Rows that must be right.
        height: Rows that the whole image should have.
        buffer: As for `decode.decode_bgr`.

    Returns:
        (rows or more, W, 3) uint8 BGR; None where it is not worth it or not possible: decode it
        whole.
    """
    # A file that was cut short ends without the end marker: the whole decoder finds and says so.
    if height - rows < _LEAST_SAVED or encoded[-2:].tobytes() != b"\xff\xd9":
        return None
    offset = _height_offset(encoded)
    if offset is None or (int(encoded[offset]) << 8 | int(encoded[offset + 1])) != height:
        return None
    block = 8 * _vertical_sampling(encoded, offset)
    kept = -(-(rows + _CONTEXT_ROWS) // block) * block  # to the end of a row of blocks
    if height - kept < _LEAST_SAVED:
        return None
    data = encoded if encoded.flags.writeable else encoded.copy()
    data[offset], data[offset + 1] = kept >> 8, kept & 255
    try:
        # Not strict: the rows left over are a warning to the decoder.
        pixels: Pixels = simplejpeg.decode_jpeg(data, "BGR", buffer=buffer, strict=False)
    except ValueError:
        return None
    finally:
        data[offset], data[offset + 1] = height >> 8, height & 255
    return pixels


def _height_offset(encoded: Pixels) -> int | None:
    """Where the height's two bytes are, if this is a sequential JPEG."""
    if encoded[:3].tobytes() != b"\xff\xd8\xff":
        return None
    head: Any = encoded
    head = memoryview(
        head
    )  # its items are plain numbers, which are faster to get at than the array's
    offset, end = 2, len(head) - 9
    while offset < end and head[offset] == 0xFF:
        marker = head[offset + 1]
        if marker in _SEQUENTIAL:
            return offset + 5
        if marker in _OTHER_FRAMES or marker == _START_OF_SCAN:
            return None
        # A second 0xFF is padding.
        offset += 1 if marker == 0xFF else 2 + (head[offset + 2] << 8 | head[offset + 3])
    return None


def _vertical_sampling(encoded: Pixels, offset: int) -> int:
    """Largest vertical sampling factor, 1..4: rows of blocks are 8 times that high."""
    components = int(
        encoded[offset + 4]
    )  # height, width, number of components, then 3 bytes for each
    return max(
        int(factors) & 15 for factors in encoded[offset + 6 : offset + 5 + 3 * components : 3]
    )
