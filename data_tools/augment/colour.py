"""Brightness, contrast, saturation and hue as one affine map of colours, with the channel order in
it.

Geometry is in `windows.py`; the map is applied in `render.py`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from data_tools.augment.settings import AugmentSettings

LUMA_RGB = (0.299, 0.587, 0.114)
"""Weights of R, G and B in a pixel's grey, as in ITU-R BT.601."""


@dataclass(frozen=True)
class ColourChange:
    """What happens to an image's colours; the defaults change nothing.

    Args:
        brightness: Factor on every channel.
        shift: Number added to every channel, of 255.
        contrast: Factor on the distance from the image's mean grey.
        saturation: Factor on the distance from the pixel's own grey.
        hue_degrees: Turn about the grey axis.
    """

    brightness: float = 1.0
    shift: float = 0.0
    contrast: float = 1.0
    saturation: float = 1.0
    hue_degrees: float = 0.0

    @property
    def is_identity(self) -> bool:
        """Whether the colours stay as they are."""
        return self == ColourChange()


def choose_colour(settings: AugmentSettings, rng: np.random.Generator) -> ColourChange:
    """Draw an image's colour change; always takes the same number of random numbers."""
    draws = rng.random((2, 5)).tolist()
    applied = [chance < settings.colour_probability for chance in draws[0]]
    swing = [(2 * value - 1) * on for value, on in zip(draws[1], applied, strict=True)]
    return ColourChange(
        brightness=1 + settings.brightness * swing[0],
        shift=settings.brightness_shift * swing[1],
        contrast=1 + settings.contrast * swing[2],
        saturation=1 + settings.saturation * swing[3],
        hue_degrees=settings.hue_degrees * swing[4],
    )


def colour_matrix(change: ColourChange, mean_grey: float) -> npt.NDArray[np.float32]:
    """Return the map from (B, G, R, 1), as images are decoded, to (R, G, B): (3, 4) float32.

    All the changes are affine, so they are one matrix: a pixel is clipped to 0..255 once at the end
    rather than after each change, and their order makes no difference. (The published tools shuffle
    the order and clip in between, which differs in nearly black and nearly white pixels only.)
    Hue turns the colour about the grey axis in YIQ space, the linear relative of a turn in HSV.

    Args:
        change: What to do.
        mean_grey: Mean of the image's grey (`LUMA_RGB`), 0..255; the centre of the contrast change.
    """
    scale = change.brightness * change.contrast
    constant = change.brightness * (1 - change.contrast) * mean_grey + change.shift
    own, grey = scale * change.saturation, scale * (1 - change.saturation)
    red, green, blue = (grey * weight for weight in LUMA_RGB)
    rows = [
        (blue, green, own + red, constant),
        (blue, own + green, red, constant),
        (own + blue, green, red, constant),
    ]
    matrix = np.array(rows, np.float32)
    if change.hue_degrees:
        matrix[:, :3] = _hue_rotation(change.hue_degrees) @ matrix[:, :3]
    return matrix


def _hue_rotation(degrees: float) -> npt.NDArray[np.float64]:
    yiq_from_rgb = np.array([LUMA_RGB, (0.596, -0.274, -0.322), (0.211, -0.523, 0.312)])
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    turn = np.array([(1, 0, 0), (0, cos, -sin), (0, sin, cos)])
    return np.asarray(np.linalg.inv(yiq_from_rgb) @ turn @ yiq_from_rgb)
