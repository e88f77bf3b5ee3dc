"""What an image is mixed with: mosaic, copy-paste, random affine, mixup, erasing - decided, not
drawn.

Pixels and boxes follow in `compose.py`. A choice is a pure function of its generator; it always
takes the same number of random numbers, so that one setting does not move what another draws.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from data_tools.augment.settings import AugmentSettings

MOSAIC_PARTNERS = 3
PASTE_TRIALS = 10
"""Positions tried for a pasted object before it is left out."""

_CENTRE = (0.3, 0.7)  # where the corner that the four parts of a mosaic share may lie
_ERASE_ASPECT = 3.3  # most height/width of what is erased, as in the paper


@dataclass(frozen=True)
class Mosaic:
    """Four images on one canvas (Bochkovskiy et al., YOLOv4, 2020).

    Args:
        centre_yx: Where the four parts meet, as a share of the canvas.
        scales: (4,) size of each image, 1 for one that would fill the canvas.
        positions: (4, 2) which part of it is seen, 0..1 from its upper left to its lower right.
    """

    centre_yx: tuple[float, float]
    scales: tuple[float, ...]
    positions: tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Paste:
    """Objects of another image, cut out by their boxes and set down (Dwibedi et al., Cut, Paste and
    Learn, 2017; Ghiasi et al., Simple Copy-Paste, 2021, which have outlines; here are boxes).

    Args:
        order: (most,) numbers in 0..1 that say which boxes.
        scales: (most,) size of each, 1 for that in its own image.
        positions: (most, PASTE_TRIALS, 2) where it may lie, 0..1 from the canvas' upper left to its
            lower right.
    """

    order: npt.NDArray[np.float64]
    scales: npt.NDArray[np.float64]
    positions: npt.NDArray[np.float64]


@dataclass(frozen=True)
class Mix:
    """What happens to one training image besides its window, mirror and colours; the defaults do
    nothing.

    Args:
        mosaic: Its position among three others, or None.
        paste: Objects pasted onto it, or None.
        affine: (2, 3) float64: columns 0 and 1 turn, scale and shear about the canvas' centre in
            pixels [x, y], column 2 is a shift as a share of its width and height. None leaves all
            where it is.
        mixup: Share of it, in 1/256, where another image shines through; None where none does.
        erase_yxyx: Rectangle that is painted over, relative to the canvas, or None.
    """

    mosaic: Mosaic | None = None
    paste: Paste | None = None
    affine: npt.NDArray[np.float64] | None = None
    mixup: int | None = None
    erase_yxyx: tuple[float, float, float, float] | None = None

    @property
    def partners(self) -> int:
        """How many other images it takes: those of the mosaic, then the pasted one, then the one of
        mixup.
        """
        mosaic = MOSAIC_PARTNERS * (self.mosaic is not None)
        return mosaic + (self.paste is not None) + (self.mixup is not None)


def choose_mix(settings: AugmentSettings, rng: np.random.Generator) -> Mix:
    """Draw what happens to an image.

    Args:
        settings: The probabilities and sizes.
        rng: Random numbers of the image that nothing else draws from.
    """
    chances = rng.random(5)
    mosaic, paste = _mosaic(settings, rng.random(14)), _paste(settings, rng)
    affine = _affine(settings, rng.random(5))
    # The middle one of three uniform numbers has the distribution Beta(2, 2).
    mixup = round(256 * float(np.sort(rng.random(3))[1]))
    erased = _erased(settings, rng.random(4))
    return Mix(
        mosaic if chances[0] < settings.mosaic_probability else None,
        paste if chances[1] < settings.copy_paste_probability else None,
        affine if chances[2] < settings.affine_probability else None,
        mixup if chances[3] < settings.mixup_probability else None,
        erased if chances[4] < settings.erase_probability else None,
    )


def _between(low: float, high: float, share: float) -> float:
    return low + (high - low) * float(share)


def _mosaic(settings: AugmentSettings, draws: npt.NDArray[np.float64]) -> Mosaic:
    low, high = settings.mosaic_scale
    return Mosaic(
        (_between(*_CENTRE, draws[0]), _between(*_CENTRE, draws[1])),
        tuple(_between(low, high, share) for share in draws[2:6]),
        tuple((float(y), float(x)) for y, x in draws[6:14].reshape(4, 2)),
    )


def _paste(settings: AugmentSettings, rng: np.random.Generator) -> Paste:
    most = settings.copy_paste_most
    low, high = settings.copy_paste_scale
    order, sizes = rng.random((2, most))
    return Paste(order, low + (high - low) * sizes, rng.random((most, PASTE_TRIALS, 2)))


def _affine(settings: AugmentSettings, draws: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    low, high = settings.affine_scale
    turn, shear = (
        math.radians(_between(-most, most, share))
        for most, share in zip(
            (settings.affine_degrees, settings.affine_shear_degrees), draws, strict=False
        )
    )
    scale = _between(low, high, draws[2])
    shift = [_between(-settings.affine_shift, settings.affine_shift, share) for share in draws[3:]]
    turned = np.array([[math.cos(turn), -math.sin(turn)], [math.sin(turn), math.cos(turn)]])
    sheared = np.array([[1.0, math.tan(shear)], [0.0, 1.0]])
    return np.concatenate([scale * turned @ sheared, np.array(shift)[:, None]], axis=1)


def _erased(
    settings: AugmentSettings, draws: npt.NDArray[np.float64]
) -> tuple[float, float, float, float]:
    low, high = settings.erase_area
    share = _between(low, high, draws[0])
    aspect = math.exp(_between(-math.log(_ERASE_ASPECT), math.log(_ERASE_ASPECT), draws[1]))
    height, width = min(1.0, math.sqrt(share * aspect)), min(1.0, math.sqrt(share / aspect))
    top, left = float(draws[2]) * (1 - height), float(draws[3]) * (1 - width)
    return top, left, top + height, left + width
