"""Boxes and names on pictures, and contact sheets: OpenCV only, no plots.

Curves and histograms are drawn where they belong, with matplotlib.
"""

from __future__ import annotations

import colorsys
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from data_tools.core.errors import UserError

Image = npt.NDArray[np.uint8]

_FONT = cv2.FONT_HERSHEY_SIMPLEX
_GROUND = 245
_INK = (40, 40, 40)
_Rectangle = tuple[int, int, int, int]  # x, y, width, height


def colour_of(label: int) -> tuple[int, int, int]:
    """Return the BGR colour of a label: fixed, and far apart for neighbouring labels."""
    hue = (label * 0.61803398875) % 1.0  # golden ratio steps spread hues evenly
    red, green, blue = colorsys.hsv_to_rgb(hue, 0.85, 0.95 if label % 2 else 0.75)
    return int(blue * 255), int(green * 255), int(red * 255)


def draw_boxes(
    image: Image,
    boxes_yxyx_px: npt.ArrayLike,
    labels: Sequence[int] | npt.NDArray[np.integer],
    names: Sequence[str] | None = None,
    scores: Sequence[float] | npt.NDArray[np.floating] | None = None,
    *,
    dashed: Sequence[bool] | npt.NDArray[np.bool_] | None = None,
) -> Image:
    """Return a copy of an image with boxes and captions drawn on it.

    Args:
        image: (H, W, 3) uint8 BGR.
        boxes_yxyx_px: (N, 4) corners in pixels of this image.
        labels: (N,) labels, which choose the colours.
        names: (N,) caption of each box; None writes no captions.
        scores: (N,) scores in 0..1, written behind the names.
        dashed: (N,) True draws a thin, light outline (crowd regions).

    Returns:
        (H, W, 3) uint8 BGR.
    """
    canvas = np.ascontiguousarray(image).copy()
    height, width = canvas.shape[:2]
    thickness = max(1, round(min(height, width) / 250))
    boxes = np.asarray(boxes_yxyx_px, np.float64).reshape(-1, 4)
    for k, (y1, x1, y2, x2) in enumerate(boxes):
        colour = colour_of(int(labels[k]))
        light = dashed is not None and bool(dashed[k])
        start, end = (round(x1), round(y1)), (round(x2) - 1, round(y2) - 1)
        cv2.rectangle(canvas, start, end, colour, 1 if light else thickness)
        if light:
            veil = canvas[max(0, start[1]) : end[1], max(0, start[0]) : end[0]]
            veil[:] = (0.75 * veil + 0.25 * np.array(colour)).astype(np.uint8)
    if names is not None:
        taken: list[_Rectangle] = []
        for k in reversed(range(len(boxes))):  # the last box lies on top: its caption chooses first
            caption = names[k] if scores is None else f"{names[k]} {float(scores[k]):.2f}"
            _caption(canvas, caption, boxes[k], colour_of(int(labels[k])), taken)
    return canvas


def _ascii(text: str) -> str:
    # OpenCV's fonts have no other letters and would draw question marks byte by byte.
    return text.encode("ascii", "replace").decode()


def _caption(
    canvas: Image,
    text: str,
    box_yxyx_px: npt.NDArray[np.float64],
    colour: tuple[int, int, int],
    taken: list[_Rectangle],
) -> None:
    """Write a caption at its box where no other one stands, and add its place to `taken`."""
    height, width = canvas.shape[:2]
    scale = max(0.35, min(height, width) / 900)
    text = _ascii(text)
    (text_w, text_h), base = cv2.getTextSize(text, _FONT, scale, 1)
    tall, wide = text_h + base + 1, text_w + 2
    y1, x1, y2, x2 = (round(v) for v in box_yxyx_px)
    # Above the box, inside below its upper side, under it, inside above its lower side; then to the right.
    tops, lefts = (y1 - tall, y1, y2, y2 - tall), (x1, x2 - wide)
    places = [
        (max(0, min(left, width - wide)), top)
        for left in lefts
        for top in tops
        if 0 <= top <= height - tall
    ]
    places = places or [(max(0, min(x1, width - wide)), max(0, min(y1, height - tall)))]
    free = (p for p in places if not any(_meet((*p, wide, tall), other) for other in taken))
    x, top = next(free, places[0])
    taken.append((x, top, wide, tall))
    cv2.rectangle(canvas, (x, top), (x + wide, top + tall), colour, -1)
    luma = 0.114 * colour[0] + 0.587 * colour[1] + 0.299 * colour[2]
    ink = (0, 0, 0) if luma > 130 else (255, 255, 255)
    cv2.putText(canvas, text, (x + 1, top + text_h), _FONT, scale, ink, 1, cv2.LINE_AA)


def _meet(a: _Rectangle, b: _Rectangle) -> bool:
    return a[0] < b[0] + b[2] and b[0] < a[0] + a[2] and a[1] < b[1] + b[3] and b[1] < a[1] + a[3]


def fit(image: Image, height: int, width: int) -> Image:
    """Scale an image into (height, width) without changing its aspect, centred on a light ground."""
    factor = min(height / image.shape[0], width / image.shape[1])
    size = max(1, round(image.shape[1] * factor)), max(1, round(image.shape[0] * factor))
    method = cv2.INTER_AREA if factor < 1 else cv2.INTER_LINEAR
    tile = np.full((height, width, 3), _GROUND, np.uint8)
    top, left = (height - size[1]) // 2, (width - size[0]) // 2
    tile[top : top + size[1], left : left + size[0]] = cv2.resize(image, size, interpolation=method)
    return tile


def contact_sheet(
    tiles: Sequence[Image],
    captions: Sequence[str] | None = None,
    *,
    columns: int = 4,
    tile_height: int = 300,
    tile_width: int = 300,
    title: str = "",
) -> Image:
    """Put pictures side by side on one sheet.

    Args:
        tiles: Pictures (H, W, 3) uint8 BGR of any size.
        captions: A line under each picture.
        columns: Pictures in a row.
        tile_height: Height of a cell in pixels, without its caption.
        tile_width: Width of a cell in pixels.
        title: A line above all.

    Returns:
        (H, W, 3) uint8 BGR.
    """
    columns = max(1, min(columns, len(tiles)))
    gap, line = 8, 22 if captions is not None else 0
    rows = -(-len(tiles) // columns)
    head = 40 if title else 0
    sheet = np.full(
        (head + rows * (tile_height + line + gap) + gap, columns * (tile_width + gap) + gap, 3),
        255,
        np.uint8,
    )
    if title:
        cv2.putText(sheet, _ascii(title), (gap, 27), _FONT, 0.6, _INK, 1, cv2.LINE_AA)
    for k, tile in enumerate(tiles):
        top = head + gap + (k // columns) * (tile_height + line + gap)
        left = gap + (k % columns) * (tile_width + gap)
        sheet[top : top + tile_height, left : left + tile_width] = fit(
            tile, tile_height, tile_width
        )
        if captions is not None:
            text, scale = _ascii(captions[k]), 0.45
            while cv2.getTextSize(text, _FONT, scale, 1)[0][0] > tile_width and scale > 0.25:
                scale -= 0.05
            place = (left, top + tile_height + 15)
            cv2.putText(sheet, text, place, _FONT, scale, _INK, 1, cv2.LINE_AA)
    return sheet


def save_png(path: str | Path, image: Image) -> None:
    """Write a picture as PNG, with the folder it needs.

    Raises:
        UserError: If the file cannot be written.
    """
    path = Path(path)
    ok, encoded = cv2.imencode(".png", image)
    assert ok
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encoded.tobytes())
    except OSError as error:
        raise UserError(
            f"{path}: the picture cannot be written ({error.strerror or error}). Choose another place, "
            "or make room."
        ) from error
