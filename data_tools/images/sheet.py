"""Contact sheets: pictures side by side, as large as a screen shows at once.

Boxes on the pictures are drawn in `draw.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from data_tools.images.captions import AROUND
from data_tools.images.lettering import put_text, shortened, text_size

Image = npt.NDArray[np.uint8]

SCREEN = (1000, 1880)
"""Height and width of a sheet in pixels: a screen of 1080 x 1920 shows it whole, with a viewer's
frame around."""

_SMALLEST_TILE = 200
_GAP = 8
_CAPTION = 13
_TITLE = 17
_INK = (40, 40, 40)


@dataclass(frozen=True)
class Layout:
    """How the pictures of a sheet are arranged.

    Args:
        columns: Pictures in a row.
        tile_height: Height of a cell in pixels, without its caption.
        tile_width: Width of a cell in pixels.
    """

    columns: int
    tile_height: int
    tile_width: int


def layout(count: int, aspect: float, group: int = 1) -> Layout:
    """Return the layout with the largest cells with which that number of pictures fits on a screen.

    Cells are never so small that nothing can be seen on them: very many pictures make a sheet
    higher than a screen.

    Args:
        count: Pictures.
        aspect: Width of a usual one over its height.
        group: Pictures that belong together in a row.
    """
    aspect = min(max(aspect, 0.6), 1.8)
    height, width = SCREEN[0] - _head(), SCREEN[1] - _GAP
    best = Layout(group, 0, 0)
    for columns in range(group, max(count, 1) + group, group):
        rows = -(-max(count, 1) // columns)
        tile_width = width // columns - _GAP
        tile_height = height // rows - _GAP - _line()
        tile_width = min(tile_width, round(tile_height * aspect))
        tile = Layout(columns, round(tile_width / aspect), tile_width)
        if tile.tile_width > best.tile_width:
            best = tile
    if best.tile_width >= _SMALLEST_TILE:
        return best
    columns = max(group, width // (_SMALLEST_TILE + _GAP) // group * group)
    return Layout(columns, round(_SMALLEST_TILE / aspect), _SMALLEST_TILE)


def usual_aspect(images: Sequence[Image]) -> float:
    """Return the median of width over height."""
    return float(np.median([image.shape[1] / image.shape[0] for image in images] or [1.0]))


def scaled_to_cell(image: Image, cell: Layout, draw: Callable[[Image, float], Image]) -> Image:
    """Scale an image into a cell and draw on it at that size, so that letters and lines are as they
    should be.

    Args:
        image: (H, W, 3) uint8 BGR.
        cell: The layout.
        draw: From the scaled image and the scale to the drawn one, which may be higher (a list of
            names).
    """
    height = cell.tile_height
    for _ in range(3):
        scale = min(height / image.shape[0], cell.tile_width / image.shape[1])
        drawn = draw(_resized(image, scale), scale)
        if drawn.shape[0] <= cell.tile_height:
            break
        height = max(cell.tile_height // 2, height - (drawn.shape[0] - cell.tile_height))
    return drawn


def _resized(image: Image, scale: float) -> Image:
    size = max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale))
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(image, size, interpolation=method), np.uint8)


def fit(image: Image, height: int, width: int) -> Image:
    """Scale an image into (height, width) without changing its aspect, centred on a light
    ground.
    """
    scale = min(height / image.shape[0], width / image.shape[1])
    if image.shape[0] > height or image.shape[1] > width or scale > 1.05:
        image = _resized(image, scale)
    tile = np.full((height, width, 3), AROUND, np.uint8)
    top, left = (height - image.shape[0]) // 2, (width - image.shape[1]) // 2
    tile[top : top + image.shape[0], left : left + image.shape[1]] = image
    return tile


def contact_sheet(
    tiles: Sequence[Image],
    captions: Sequence[str] | None = None,
    *,
    cells: Layout | None = None,
    title: str = "",
    legend: Sequence[tuple[str, tuple[int, int, int]]] = (),
) -> Image:
    """Put pictures side by side on one sheet.

    Args:
        tiles: Pictures (H, W, 3) uint8 BGR of any size.
        captions: A line under each picture; one that is too long loses its middle.
        cells: Their arrangement; None fills a screen.
        title: A line above all.
        legend: What colours mean: word and BGR colour, behind the title.

    Returns:
        (H, W, 3) uint8 BGR.
    """
    cells = cells or layout(len(tiles), usual_aspect(tiles))
    columns = max(1, min(cells.columns, len(tiles)))
    line = _line() if captions is not None else 0
    rows = -(-len(tiles) // columns)
    head = _head() if title or legend else 0
    down, across = cells.tile_height + line + _GAP, cells.tile_width + _GAP
    sheet = np.full((head + rows * down + _GAP, columns * across + _GAP, 3), 255, np.uint8)
    if head:
        _write_head(sheet, title, legend)
    for k, tile in enumerate(tiles):
        top = head + _GAP + (k // columns) * down
        left = _GAP + (k % columns) * across
        sheet[top : top + cells.tile_height, left : left + cells.tile_width] = fit(
            tile, cells.tile_height, cells.tile_width
        )
        if captions is not None:
            text = shortened(captions[k], _CAPTION, cells.tile_width)
            put_text(sheet, text, left, top + cells.tile_height + 1, _CAPTION, _INK)
    return sheet


def _write_head(
    sheet: Image, title: str, legend: Sequence[tuple[str, tuple[int, int, int]]]
) -> None:
    words = [(text_size(word, _CAPTION)[0], word, colour) for word, colour in legend]
    width_left = sheet.shape[1] - 2 * _GAP - sum(width + 44 for width, _, _ in words)
    title = shortened(title, _TITLE, width_left) if width_left > 0 else ""
    put_text(sheet, title, _GAP, 6, _TITLE, _INK)
    x = _GAP + text_size(title, _TITLE)[0] + 24
    for width, word, colour in words:
        cv2.rectangle(sheet, (x, 9), (x + 16, 21), colour, -1)
        cv2.rectangle(sheet, (x, 9), (x + 16, 21), _INK, 1)
        put_text(sheet, word, x + 22, 8, _CAPTION, _INK)
        x += width + 44


def _head() -> int:
    return text_size("x", _TITLE)[1] + 10


def _line() -> int:
    return text_size("x", _CAPTION)[1] + 2
