"""The extent of a mask painted with Label Studio's brush.

Its `rle` are the bytes of a stream of bits, most significant first, of the RGBA values of all
pixels, row by row: the count of values in 32 bits, the bits of a value less one in 5, and four
widths of lengths less one in 4 bits each; then stretches: a bit that is 1 where one value is
repeated, the number of a width in 2 bits, the length less one in as many bits, and that value or
each. What is painted has an alpha above 0.
Source: the format of the npm package @thi.ng/rle-pack, which Label Studio writes.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

_CHANNELS, _ALPHA = 4, 3


def brush_extent(rle: Any, height: int, width: int) -> list[float]:
    """Return the box around what is painted: [y1, x1, y2, x2] in pixels, around whole pixels.

    Args:
        rle: The region's list of bytes.
        height: Rows of the picture.
        width: Its columns.

    Raises:
        ValueError: If it is no such list, of another size, cut short, or nothing is painted.
    """
    rows: list[int] = []
    columns: list[int] = []
    for first, last in _painted(rle, height * width):
        rows += [first // width, last // width]
        # A stretch that goes on in the next row reaches the right edge, and the left one there.
        columns += [0, width - 1] if rows[-2] < rows[-1] else [first % width, last % width]
        rows, columns = [min(rows), max(rows)], [min(columns), max(columns)]
    if not rows:
        raise ValueError("a mask in which nothing is painted")
    return [float(rows[0]), float(columns[0]), rows[1] + 1.0, columns[1] + 1.0]


def _painted(rle: Any, pixels: int) -> Iterator[tuple[int, int]]:
    """First and last pixel of each stretch that is painted, counted row by row."""
    bits = _Bits(rle)
    count = bits.read(32)
    if count != _CHANNELS * pixels:
        raise ValueError(f"a mask of {count / _CHANNELS:g} pixels for a picture of {pixels}")
    size = bits.read(5) + 1
    widths = [bits.read(4) + 1 for _ in range(4)]
    start = 0
    while start < count:
        repeated = bits.read(1)
        stop = start + 1 + bits.read(widths[bits.read(2)])
        if stop > count:
            raise ValueError("a mask that is longer than it says")
        if repeated:
            # The pixels whose alpha lies in the stretch.
            first, last = start // _CHANNELS, (stop - 1 - _ALPHA) // _CHANNELS
            if bits.read(size) and first <= last:
                yield first, last
        else:
            for position in range(start, stop):
                if bits.read(size) and position % _CHANNELS == _ALPHA:
                    yield (position // _CHANNELS,) * 2
        start = stop


class _Bits:
    """Numbers of any width out of bytes.

    Args:
        data: A list of bytes.

    Raises:
        ValueError: If it is none, or ends within a number that is read.
    """

    def __init__(self, data: Any) -> None:
        usable = isinstance(data, list) and all(type(one) is int and 0 <= one < 256 for one in data)
        if not usable:
            raise ValueError("a mask whose rle is no list of bytes")
        self._text = "".join(map("{:08b}".format, data))
        self._at = 0

    def read(self, width: int) -> int:
        number = self._text[self._at : self._at + width]
        if len(number) < width:
            raise ValueError("a mask that is cut short")
        self._at += width
        return int(number, 2)
