"""One training image from encoded bytes to the network's input, with its boxes: decide, decode, render.

The decisions are in `windows.py` and `colour.py`, the pixels in `render.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from data_tools.augment.colour import ColourChange, choose_colour
from data_tools.augment.render import Scratch, reduction_for, render
from data_tools.augment.truth import Truth, Window, mirrored, seen_through
from data_tools.augment.windows import choose_window
from data_tools.decode import Pixels, decode_bgr
from data_tools.pipeline_settings import AugmentSettings


class UndecodableImage(ValueError):
    """The bytes are no image, or not one of the size that the row says."""


@dataclass(frozen=True)
class View:
    """How one image is shown this time.

    Args:
        window: The part of the image plane.
        flip: Mirrored left to right.
        change: The colours.
    """

    window: Window
    flip: bool
    change: ColourChange


def _no_lap(stage: str) -> None:
    """Time nothing."""


def choose_view(
    height: int, width: int, truth: Truth, settings: AugmentSettings, rng: np.random.Generator
) -> View:
    """Draw how an image is shown, from its size and its boxes in pixels: no pixels needed."""
    window = choose_window(height, width, truth, settings, rng)
    flip = bool(rng.random() < settings.flip_probability)
    return View(window, flip, choose_colour(settings, rng))


def truth_in_view(truth: Truth, view: View) -> Truth:
    """Return the boxes as the network sees them, relative to its input."""
    seen = seen_through(truth, view.window)
    return mirrored(seen) if view.flip else seen


def augment(
    encoded: Pixels,
    height: int,
    width: int,
    truth: Truth,
    settings: AugmentSettings,
    rng: np.random.Generator,
    out_chw: Pixels,
    scaled_decode: bool = False,
    lap: Callable[[str], None] = _no_lap,
    scratch: Scratch | None = None,
) -> Truth:
    """Make one training sample; a pure function of its arguments.

    Args:
        encoded: (L,) uint8, the encoded image.
        height: The image's rows; 0 if the row does not say.
        width: The image's columns; 0 if the row does not say.
        truth: Its boxes in pixels.
        settings: What may happen to it.
        rng: The image's own random numbers.
        out_chw: (3, H, W) uint8 RGB, C-contiguous; written to.
        scaled_decode: Decode at a fraction of the size where the window still fills the input.
        lap: Called with the name of each stage when it ends: choose, decode, render.
        scratch: Reused memory for this size; None takes fresh.

    Returns:
        The boxes left, relative to the input, within 0..1 and of positive area.

    Raises:
        UndecodableImage: If the bytes are no image, or not one of that size.
    """
    image = None
    if not (height and width):
        image = _decoded(encoded, 0, 0, 1)
        height, width = image.shape[:2]
    view = choose_view(height, width, truth, settings, rng)
    seen = truth_in_view(truth, view)
    lap("choose")
    size = (out_chw.shape[1], out_chw.shape[2])
    reduction = reduction_for(view.window, size) if scaled_decode else 1
    if image is None:
        image = _decoded(encoded, height, width, reduction)
    lap("decode")
    scale = (image.shape[0] / height, image.shape[1] / width)
    render(
        image, view.window, view.change, view.flip, settings.expand_fill, out_chw, scale, scratch
    )
    lap("render")
    return seen


def _decoded(encoded: Pixels, height: int, width: int, reduction: int) -> Pixels:
    image = decode_bgr(encoded, reduction)
    if image is None:
        raise UndecodableImage(f"its {encoded.size} bytes do not decode")
    expected = (-(-height // reduction), -(-width // reduction))
    # A format without scaled decoding is resized by OpenCV, which may round the other way.
    if height and max(abs(image.shape[0] - expected[0]), abs(image.shape[1] - expected[1])) > (
        reduction > 1
    ):
        raise UndecodableImage(
            f"it decodes to {image.shape[1]}x{image.shape[0]} pixels, its row says {width}x{height}"
        )
    return image
