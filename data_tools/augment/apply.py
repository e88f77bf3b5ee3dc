"""One training image from encoded bytes to the network's input, with its boxes: decide, decode,
render.

The decisions are in `windows.py` and `colour.py`, the pixels in `render.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from data_tools.augment.boxes_in_view import ImageBoxes, Window, seen_through
from data_tools.augment.colour import ColourChange, choose_colour
from data_tools.augment.render import Scratch, reduction_for, render
from data_tools.augment.settings import AugmentSettings
from data_tools.augment.windows import choose_window
from data_tools.images.decode import Pixels, decode_bgr
from data_tools.images.jpeg_upper_rows import decode_upper_rows


class UndecodableImage(ValueError):
    """The bytes are no image, or not one of the size that the row says."""


@dataclass(frozen=True)
class Augmentation:
    """How one image is shown this time.

    Args:
        window: The part of the image plane.
        flip: Mirrored left to right.
        change: The colours.
    """

    window: Window
    flip: bool
    change: ColourChange


def no_lap(stage: str) -> None:
    """Time nothing."""


def choose_view(
    height: int, width: int, truth: ImageBoxes, settings: AugmentSettings, rng: np.random.Generator
) -> Augmentation:
    """Draw how an image is shown, from its size and its boxes in pixels: no pixels needed."""
    window = choose_window(height, width, truth, settings, rng)
    flip = bool(rng.random() < settings.flip_probability)
    return Augmentation(window, flip, choose_colour(settings, rng))


def boxes_in_views(
    truths: Sequence[ImageBoxes], views: Sequence[Augmentation]
) -> tuple[ImageBoxes, npt.NDArray[np.intp]]:
    """Return the boxes of some images as the network sees them, and the image of each; see
    `seen_through`.
    """
    return seen_through(truths, [view.window for view in views], [view.flip for view in views])


def render_augmented(
    encoded: Pixels,
    height: int,
    width: int,
    view: Augmentation,
    fill_rgb: Sequence[float],
    out_chw: Pixels,
    scaled_decode: bool = False,
    lap: Callable[[str], None] = no_lap,
    scratch: Scratch | None = None,
) -> None:
    """Decode an image and write what the network sees of it.

    Args:
        encoded: (L,) uint8, the encoded image.
        height: The image's rows.
        width: The image's columns.
        view: How it is shown.
        fill_rgb: (3,) colour of what lies beyond the image.
        out_chw: (3, H, W) uint8 RGB, C-contiguous; written to.
        scaled_decode: Decode at a fraction of the size where the window still fills the input.
        lap: Called with the name of each stage when it ends: decode, render.
        scratch: Reused memory for this size; None takes fresh.

    Raises:
        UndecodableImage: If the bytes are no image, or not one of that size.
    """
    size = (out_chw.shape[1], out_chw.shape[2])
    scratch = scratch or Scratch(size)
    reduction = reduction_for(view.window, size) if scaled_decode else 1
    buffer = scratch.buffer_for(height, width)
    image = None
    if reduction == 1:
        image = decode_upper_rows(encoded, min(height, view.window.bottom), height, buffer)
    if image is None:
        image = decode_bgr(encoded, reduction, buffer)
        if image is None:
            raise UndecodableImage(f"its {encoded.size} bytes do not decode")
        _check_size(image, height, width, reduction)
    elif image.shape[1] != width:
        raise _wrong_size(height, image.shape[1], height, width)
    lap("decode")
    render(
        image,
        view.window,
        view.change,
        view.flip,
        fill_rgb,
        out_chw,
        (height, width),
        reduction,
        scratch,
    )
    lap("render")


def _check_size(image: Pixels, height: int, width: int, reduction: int) -> None:
    # A format without scaled decoding is resized by OpenCV, which may round the other way.
    slack = int(reduction > 1)
    expected = (-(-height // reduction), -(-width // reduction))
    if any(abs(got - want) > slack for got, want in zip(image.shape, expected, strict=False)):
        raise _wrong_size(image.shape[0], image.shape[1], height, width)


def _wrong_size(rows: int, columns: int, height: int, width: int) -> UndecodableImage:
    return UndecodableImage(f"it decodes to {columns}x{rows} pixels, its row says {width}x{height}")
