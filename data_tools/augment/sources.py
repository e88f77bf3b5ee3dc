"""The images that go into one training image, and boxes of a part of it as boxes of the whole.

What is done with them is decided in `mix.py` and done in `compose.py`, `mosaic.py`, `paste.py` and
`affine.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from data_tools.augment.apply import Augmentation
from data_tools.augment.boxes_in_view import ImageBoxes
from data_tools.images.decode import Pixels


@dataclass(frozen=True)
class Source:
    """An image that goes in.

    Args:
        encoded: (L,) uint8, the encoded image.
        height: Its rows.
        width: Its columns.
        truth: Its boxes, in pixels.
        rng: Its own random numbers here: window, mirror and colours.
    """

    encoded: Pixels
    height: int
    width: int
    truth: ImageBoxes
    rng: np.random.Generator


Show = Callable[[int, Augmentation, Pixels], None]
"""Write source k as a view shows it into (3, h, w) uint8 RGB, C-contiguous."""


def fill_of(fill_rgb: Sequence[float]) -> npt.NDArray[np.uint8]:
    """Return a colour as it is painted: (3, 1, 1) uint8."""
    return np.round(np.asarray(fill_rgb, np.float64)).astype(np.uint8).reshape(3, 1, 1)


def joined(truths: Sequence[ImageBoxes]) -> ImageBoxes:
    """Return the boxes of several truths, one after the other."""
    return ImageBoxes(
        np.concatenate([truth.boxes_yxyx for truth in truths]),
        np.concatenate([truth.labels for truth in truths]),
        np.concatenate([truth.iscrowd for truth in truths]),
    )


def placed(truth: ImageBoxes, box: Sequence[int], size: tuple[int, int]) -> ImageBoxes:
    """Return boxes that are relative to a part of the canvas relative to all of it."""
    start = np.array([box[0], box[1]] * 2, np.float32)
    sides = np.array([box[2] - box[0], box[3] - box[1]] * 2, np.float32)
    boxes = (truth.boxes_yxyx * sides + start) / np.array(size * 2, np.float32)
    return of_area(ImageBoxes(np.clip(boxes, 0, 1), truth.labels, truth.iscrowd))


def of_area(truth: ImageBoxes) -> ImageBoxes:
    """Return the boxes that have an area."""
    return truth.keep((truth.boxes_yxyx[:, 2:] > truth.boxes_yxyx[:, :2]).all(axis=1))
