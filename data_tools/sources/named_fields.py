"""The fields of annotation tools' entries: each of the right type, by a conversion that is stated
here, or refused.

Flags and class names are read as in COCO's files, see `coco_fields.py`.
"""

from __future__ import annotations

import json
from typing import Any

import msgspec

from data_tools.sources import coco_fields
from data_tools.sources.file_kinds import UTF16_MARKS


def json_content(data: bytes) -> Any:
    """Read a JSON file as Python's tools write it: NaN, infinity and halves of surrogate pairs are
    left to the checks of the single fields.

    Raises:
        ValueError: If it is no JSON, or nested too deeply.
    """
    if data[:2] in UTF16_MARKS:
        data = data.decode("utf-16").encode(errors="surrogatepass")
    data = data.removeprefix(b"\xef\xbb\xbf")
    try:
        return msgspec.json.decode(data)
    except (ValueError, RecursionError) as error:
        try:
            return json.loads(data.decode())
        except (ValueError, RecursionError):
            raise ValueError(str(error)) from None


def number(value: object) -> float:
    """Read a number, with a decimal comma or point; one that is too large is infinite.

    Raises:
        ValueError: If it is none.
    """
    if not isinstance(value, str):
        return coco_fields.number(value)
    if "_" in value or not value.isascii():
        raise ValueError(f"{value[:40]!r} is no number")
    return float(value.strip().replace(",", "."))


def side(value: object) -> int:
    """Read a declared side in pixels; 0 where there is no sensible one."""
    try:
        pixels = number(value)
    except ValueError:
        return 0
    return int(pixels) if 0 < pixels < 1 << 30 else 0


def whole_number(value: object) -> int:
    """Read a count or an index.

    Raises:
        ValueError: If it is not a whole number from 0.
    """
    count = number(value)
    if not 0 <= count < 1 << 53 or count != int(count):
        raise ValueError(f"{str(value)[:40]!r} is no whole number")
    return int(count)


def points(value: object) -> list[tuple[float, float]]:
    """Read a list of pairs x, y. A text is none, though it has characters as a list has members.

    Raises:
        ValueError: If it is something else.
    """
    if not isinstance(value, list):
        raise ValueError(f"points {str(value)[:40]!r} are no list")
    for pair in value:
        if not isinstance(pair, list) or len(pair) != 2:
            raise ValueError(f"{str(pair)[:40]!r} is no pair of numbers")
    return [(number(x), number(y)) for x, y in value]
