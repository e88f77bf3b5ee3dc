"""Words on pictures, in any alphabet that a font of this machine has.

OpenCV's own letters are Latin only. What a caption says and where it stands is decided in
`captions.py` and `sheet.py`.
"""

from __future__ import annotations

import functools
import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import PIL.Image
import PIL.ImageDraw
import PIL.ImageFont

Image = npt.NDArray[np.uint8]

_NOWHERE = "\U0010fffe"  # no font has this character: it is drawn as the sign of a missing one
_MANY_ALPHABETS = ("cjk", "sourcehan", "wqy", "droidsansfallback", "unifont", "arialuni", "msyh",
                   "simhei", "pingfang", "hiragino", "malgun", "nanum",
                   "ipag", "notosans")  # fmt: skip
"""Parts of the names of fonts that have letters which matplotlib's lacks; they are tried in this
order."""
_LONGEST = 300  # characters of a line that are looked at


@functools.lru_cache(4096)
def text_size(text: str, size_px: int) -> tuple[int, int]:
    """Return width and height in pixels of the line that `put_text` writes; the height is the
    font's.
    """
    font = _font_for(text, size_px)
    ascent, descent = font.getmetrics()
    return int(np.ceil(font.getlength(_drawable(text, font)))), ascent + descent


def put_text(
    canvas: Image,
    text: str,
    x: int,
    top: int,
    size_px: int,
    ink_bgr: tuple[int, int, int],
    seam_bgr: tuple[int, int, int] | None = None,
) -> None:
    """Write a line onto a canvas, in place; what lies outside of it is cut off.

    Args:
        canvas: (H, W, 3) uint8 BGR.
        text: One line. A character that no font has becomes a question mark.
        x: Left edge.
        top: Upper edge.
        size_px: Height of the letters' em.
        ink_bgr: Their colour.
        seam_bgr: Colour of a seam of one pixel around them, for text without a ground.
    """
    cover = _cover(text, size_px)  # (h, w)
    if seam_bgr is not None:
        _blend(canvas, cv2.dilate(cover, np.ones((3, 3), np.uint8)), x - 1, top - 1, seam_bgr)
    _blend(canvas, cover, x - 1, top - 1, ink_bgr)


def _blend(canvas: Image, cover: Image, x: int, top: int, ink_bgr: tuple[int, int, int]) -> None:
    height, width = cover.shape
    left, right = max(x, 0), min(x + width, canvas.shape[1])
    upper, lower = max(top, 0), min(top + height, canvas.shape[0])
    if left >= right or upper >= lower:
        return
    share = cover[upper - top : lower - top, left - x : right - x, None] / np.float32(255)
    part = canvas[upper:lower, left:right]
    part[:] = np.rint(part * (1 - share) + np.array(ink_bgr, np.float32) * share).astype(np.uint8)


@functools.lru_cache(512)
def _cover(text: str, size_px: int) -> Image:
    """(h + 2, w + 2) How much ink each pixel gets, with a margin of a pixel."""
    font = _font_for(text, size_px)
    width, height = text_size(text, size_px)
    mask = PIL.Image.new("L", (width + 2, height + 2))
    PIL.ImageDraw.Draw(mask).text((1, 1), _drawable(text, font), fill=255, font=font)
    return np.asarray(mask, np.uint8)


def shortened(text: str, size_px: int, width: int) -> str:
    """Cut out the middle of a line that is wider than `width` pixels; both ends of a file's name
    tell most.

    >>> shortened("short.jpg", 12, 400)
    'short.jpg'
    """
    if len(text) <= _LONGEST and text_size(text, size_px)[0] <= width:
        return text
    fits, too_long = 0, min(len(text), _LONGEST)
    while too_long - fits > 1:
        kept = (fits + too_long) // 2
        if text_size(_both_ends(text, kept), size_px)[0] <= width:
            fits = kept
        else:
            too_long = kept
    return _both_ends(text, fits)


def _both_ends(text: str, kept: int) -> str:
    end = -(-kept // 2)
    return f"{text[: kept - end]}…{text[len(text) - end :]}"


def can_write(text: str) -> bool:
    """Whether a font of this machine has every letter of a text; notes on stderr once if none has.

    What cannot be printed at all, such as a control character, is no letter.
    """
    letters = [c for c in text if c.isprintable()]
    font = _font_for(text, 16)
    missing = [c for c in letters if not _has(font, c)]
    if missing:
        _note_missing(missing[0])
    return not missing


@functools.cache
def _note_once() -> list[str]:
    return []


def _note_missing(letter: str) -> None:
    if not _note_once():
        _note_once().append(letter)
        print(
            f"note: no font of this machine has {letter!r}: pictures show numbers of classes and "
            "question marks in place of such letters. Install one, for instance: apt-get install "
            "fonts-noto-cjk",
            file=sys.stderr,
        )


def _drawable(text: str, font: Any) -> str:
    can_write(text)
    return "".join(c if c.isprintable() and _has(font, c) else "?" for c in text)


def _has(font: Any, character: str) -> bool:
    return _glyph(font.path, character) != _glyph(font.path, _NOWHERE)


@functools.lru_cache(4096)
def _glyph(path: str, character: str) -> bytes:
    mask = _open(path, 16).getmask(character)
    return repr(mask.size).encode() + bytes(mask)


@functools.lru_cache(64)
def _open(path: str, size_px: int) -> Any:
    return PIL.ImageFont.truetype(path, size_px)


@functools.lru_cache(1024)
def _font_for(text: str, size_px: int) -> Any:
    """Return the first font that has every letter of the text, else the usual one."""
    usual = _open(_usual_font(), size_px)
    missing = [c for c in dict.fromkeys(text) if c.isprintable() and not _has(usual, c)]
    if missing:
        for path in _other_fonts():
            font = _open(path, size_px)
            if all(_has(font, c) for c in missing):
                return font
    return usual


@functools.cache
def _usual_font() -> str:
    # Found without importing matplotlib, which takes longer than a caption should.
    spec = importlib.util.find_spec("matplotlib")
    assert spec is not None and spec.origin is not None
    return str(Path(spec.origin).parent / "mpl-data" / "fonts" / "ttf" / "DejaVuSans.ttf")


@functools.cache
def _other_fonts() -> tuple[str, ...]:
    return tuple(dict.fromkeys(_find_other_fonts()))


def _find_other_fonts() -> Iterator[str]:
    from matplotlib.font_manager import findSystemFonts

    fonts = sorted(findSystemFonts())
    for part in _MANY_ALPHABETS:
        for path in fonts:
            name = Path(path).name.lower().replace("-", "").replace("_", "")
            if part in name and _opens(path):
                yield path


def _opens(path: str) -> bool:
    try:
        _open(path, 16)
    except OSError:
        return False
    return True
