"""Pixels of a window at the network's input size, coloured, mirrored and channel by channel, uint8.

What window and what colours is decided before, in `windows.py` and `colour.py`.
"""

from __future__ import annotations

from math import ceil

import cv2
import numpy as np
import numpy.typing as npt

from data_tools.augment.colour import LUMA_RGB, ColourChange, colour_matrix
from data_tools.augment.truth import Window
from data_tools.decode import Pixels


def reduction_for(window: Window, size: tuple[int, int]) -> int:
    """Return the largest decoding reduction, 1, 2, 4 or 8, that leaves the window at least `size` pixels."""
    least = min(window.height / size[0], window.width / size[1])
    return next((r for r in (8, 4, 2) if least >= r), 1)


def render(
    image_bgr: Pixels,
    window: Window,
    change: ColourChange,
    flip: bool,
    fill_rgb: npt.ArrayLike,
    out_chw: Pixels,
    scale: tuple[float, float] = (1.0, 1.0),
) -> None:
    """Write what the network sees of an image.

    The resize is bilinear with half-pixel centres (`cv2.INTER_LINEAR`), as published.

    Args:
        image_bgr: (h, w, 3) uint8, decoded.
        window: The part to show, in pixels of the whole image; may reach beyond it.
        change: The colours.
        flip: Mirror left to right.
        fill_rgb: (3,) colour of what lies beyond the image.
        out_chw: (3, H, W) uint8 RGB, C-contiguous; written to.
        scale: Rows and columns of `image_bgr` for one of the whole image, below 1 if decoded reduced.
    """
    size = (out_chw.shape[1], out_chw.shape[2])
    height, width = round(image_bgr.shape[0] / scale[0]), round(image_bgr.shape[1] / scale[1])
    inside = window.inside(height, width)
    pixels = (_resized if inside else _warped)(image_bgr, window, size, scale)
    shown = pixels
    if not inside:
        rows, columns = _shown(window, (height, width), size)
        shown = pixels[rows, columns]
    if change.is_identity:
        matrix = None
    else:
        matrix = colour_matrix(change, mean_grey(shown) if change.contrast != 1 else 0.0)
    if flip:
        pixels = cv2.flip(pixels, 1)
    if matrix is None:
        pixels = cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB)
    else:
        pixels = cv2.transform(pixels, matrix)
    if not inside:
        mask = np.ones(size, bool)
        mask[rows, columns] = False
        pixels[mask[:, ::-1] if flip else mask] = np.round(np.asarray(fill_rgb, np.float64)).astype(
            np.uint8
        )
    cv2.split(pixels, [out_chw[0], out_chw[1], out_chw[2]])


def mean_grey(pixels_bgr: Pixels) -> float:
    """Mean grey of an image, 0..255."""
    blue, green, red, _ = cv2.mean(pixels_bgr)
    return LUMA_RGB[0] * red + LUMA_RGB[1] * green + LUMA_RGB[2] * blue


def resize(image_bgr: Pixels, size: tuple[int, int]) -> Pixels:
    """Resize (h, w, 3) to (H, W, 3) as published: bilinear, half-pixel centres."""
    return np.asarray(cv2.resize(image_bgr, (size[1], size[0]), interpolation=cv2.INTER_LINEAR))


def _resized(
    image_bgr: Pixels, window: Window, size: tuple[int, int], scale: tuple[float, float]
) -> Pixels:
    if scale != (1.0, 1.0):
        height, width = image_bgr.shape[:2]
        top, left = round(window.top * scale[0]), round(window.left * scale[1])
        bottom = min(height, max(top + 1, round(window.bottom * scale[0])))
        right = min(width, max(left + 1, round(window.right * scale[1])))
        window = Window(top, left, bottom, right)
    return resize(image_bgr[window.top : window.bottom, window.left : window.right], size)


def _warped(
    image_bgr: Pixels, window: Window, size: tuple[int, int], scale: tuple[float, float]
) -> Pixels:
    # Output pixel (y, x) shows image point ((y + 0.5) * step + start - 0.5); the border is replaced later.
    step_y, step_x = window.height * scale[0] / size[0], window.width * scale[1] / size[1]
    back = np.array(
        [
            [step_x, 0, window.left * scale[1] + step_x / 2 - 0.5],
            [0, step_y, window.top * scale[0] + step_y / 2 - 0.5],
        ]
    )
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return np.asarray(
        cv2.warpAffine(
            image_bgr, back, (size[1], size[0]), flags=flags, borderMode=cv2.BORDER_REPLICATE
        )
    )


def _shown(
    window: Window, image_size: tuple[int, int], size: tuple[int, int]
) -> tuple[slice, slice]:
    """Rows and columns of the output whose centres lie within the image."""
    rows, columns = (
        size[0] / window.height,
        size[1] / window.width,
    )  # output pixels for one of the image
    top, left = -window.top * rows, -window.left * columns
    bottom, right = top + image_size[0] * rows, left + image_size[1] * columns
    return (
        slice(max(0, ceil(top - 0.5)), min(size[0], ceil(bottom - 0.5))),
        slice(max(0, ceil(left - 0.5)), min(size[1], ceil(right - 0.5))),
    )
