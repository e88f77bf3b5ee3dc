"""Pixels of a window at the network's input size, coloured, mirrored and channel by channel, uint8.

What window and what colours is decided before, in `windows.py` and `colour.py`.
"""

from __future__ import annotations

from copy import copy
from math import ceil

import cv2
import numpy as np
import numpy.typing as npt

from data_tools.augment.boxes_in_view import Window
from data_tools.augment.colour import ColourChange, colour_matrix
from data_tools.images.decode import Pixels


def reduction_for(window: Window, size: tuple[int, int]) -> int:
    """Return the largest decoding reduction, 1, 2, 4 or 8, that leaves the window at least `size`
    pixels.
    """
    least = min(window.height / size[0], window.width / size[1])
    return next((r for r in (8, 4, 2) if least >= r), 1)


class Scratch:
    """Buffers that one worker reuses from image to image; fresh memory costs as much as the work in
    it.

    Args:
        size: (H, W) of the network's input.
    """

    def __init__(self, size: tuple[int, int]) -> None:
        self.size = size
        self.resized = np.empty((*size, 3), np.uint8)
        self.coloured = np.empty((*size, 3), np.uint8)
        self.planes = np.empty((3, *size), np.uint8)
        self.grey = np.empty(size, np.uint8)
        self._decoded = [np.empty(0, np.uint8)]  # in a list, which parts share

    def buffer_for(self, height: int, width: int) -> npt.NDArray[np.uint8]:
        """A buffer to decode an image of that size into; the same for the next image."""
        needed = 3 * height * width
        if self._decoded[0].size < needed:
            self._decoded[0] = np.empty(needed, np.uint8)
        return self._decoded[0]

    def part(self, size: tuple[int, int]) -> Scratch:
        """Return buffers for another size, at most this one's area, in the same memory."""
        if size == self.size:
            return self
        other = copy(self)
        other.size, count = size, size[0] * size[1]
        other.resized = self.resized.reshape(-1)[: 3 * count].reshape(*size, 3)
        other.coloured = self.coloured.reshape(-1)[: 3 * count].reshape(*size, 3)
        other.planes = self.planes.reshape(-1)[: 3 * count].reshape(3, *size)
        other.grey = self.grey.reshape(-1)[:count].reshape(size)
        return other


def render(
    image_bgr: Pixels,
    window: Window,
    change: ColourChange,
    flip: bool,
    fill_rgb: npt.ArrayLike,
    out_chw: Pixels,
    image_size: tuple[int, int] | None = None,
    reduction: int = 1,
    scratch: Scratch | None = None,
) -> None:
    """Write what the network sees of an image.

    The resize is bilinear with half-pixel centres (`cv2.INTER_LINEAR`), as published.

    Args:
        image_bgr: (h, w, 3) uint8, decoded: at least its rows down to the window's end.
        window: The part to show, in pixels of the whole image; may reach beyond it.
        change: The colours.
        flip: Mirror left to right.
        fill_rgb: (3,) colour of what lies beyond the image.
        out_chw: (3, H, W) uint8 RGB, C-contiguous; written to.
        image_size: Rows and columns of the whole image; None for those of `image_bgr`.
        reduction: 1, 2, 4 or 8, if `image_bgr` is the whole image at that fraction of its size.
        scratch: Reused memory for this size; None takes fresh.
    """
    size = (out_chw.shape[1], out_chw.shape[2])
    scratch = scratch or Scratch(size)
    height, width = image_size or image_bgr.shape[:2]
    scale = (1.0, 1.0)
    if reduction > 1:
        scale = (image_bgr.shape[0] / height, image_bgr.shape[1] / width)
    inside = window.inside(height, width)
    if inside:
        part = _part(image_bgr, window, scale)
        pixels = cv2.resize(part, size[::-1], dst=scratch.resized, interpolation=cv2.INTER_LINEAR)
        shown = pixels
    else:
        pixels = _warped(image_bgr, window, size, scale)
        rows, columns = _shown(window, (height, width), size)
        shown = pixels[rows, columns]
    if change.is_identity:
        pixels = cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB, dst=scratch.coloured)
    else:
        # Nothing is shown of an image that is smaller than a pixel of the output.
        mean = mean_grey(shown, scratch.grey) if change.contrast != 1 and shown.size else 0.0
        pixels = cv2.transform(pixels, colour_matrix(change, mean), dst=scratch.coloured)
    if not inside:
        beyond = np.ones(size, bool)
        beyond[rows, columns] = False
        pixels[beyond] = np.round(np.asarray(fill_rgb, np.float64)).astype(np.uint8)
    planes = scratch.planes if flip else out_chw
    cv2.split(pixels, [planes[0], planes[1], planes[2]])
    if flip:  # the three planes as one tall image
        tall = (3 * size[0], size[1])
        cv2.flip(planes.reshape(tall), 1, dst=out_chw.reshape(tall))


def mean_grey(pixels_bgr: Pixels, scratch: Pixels) -> float:
    """Mean grey of every second row of an image, 0..255; each pixel's grey is rounded, as
    published.

    Args:
        pixels_bgr: (h, w, 3) uint8.
        scratch: (at least h, at least w) uint8, written over.
    """
    some = pixels_bgr[::2]
    grey = scratch[: some.shape[0], : some.shape[1]]
    return float(cv2.mean(cv2.cvtColor(some, cv2.COLOR_BGR2GRAY, dst=grey))[0])


def resize(image_bgr: Pixels, size: tuple[int, int]) -> Pixels:
    """Resize (h, w, 3) to (H, W, 3) as published: bilinear, half-pixel centres."""
    return np.asarray(cv2.resize(image_bgr, (size[1], size[0]), interpolation=cv2.INTER_LINEAR))


def network_input(image_bgr: Pixels, size: tuple[int, int]) -> Pixels:
    """Return what a network of size (H, W) sees of a whole picture (h, w, 3): (3, H, W) uint8 RGB,
    not contiguous.
    """
    return resize(image_bgr, size)[:, :, ::-1].transpose(2, 0, 1)


def _part(image_bgr: Pixels, window: Window, scale: tuple[float, float]) -> Pixels:
    top, left, bottom, right = window.top, window.left, window.bottom, window.right
    if scale != (1.0, 1.0):
        height, width = image_bgr.shape[:2]
        top, left = round(top * scale[0]), round(left * scale[1])
        bottom = min(height, max(top + 1, round(bottom * scale[0])))
        right = min(width, max(left + 1, round(right * scale[1])))
    return image_bgr[top:bottom, left:right]


def _warped(
    image_bgr: Pixels, window: Window, size: tuple[int, int], scale: tuple[float, float]
) -> Pixels:
    # Output pixel (y, x) shows image point ((y + 0.5) * step + start - 0.5); the border is replaced
    # later.
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
