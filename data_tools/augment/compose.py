"""One training image out of several: the pixels and boxes of what `mix.py` has chosen.

Each image that goes in is shown through a window like any other (`apply.py`); this module puts them
together.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from data_tools.augment.affine import turn
from data_tools.augment.apply import (
    Augmentation,
    UndecodableImage,
    choose_view,
    no_lap,
    render_augmented,
)
from data_tools.augment.boxes_in_view import ImageBoxes, seen_through
from data_tools.augment.mix import MOSAIC_PARTNERS, Mix
from data_tools.augment.mosaic import compose_mosaic
from data_tools.augment.paste import paste_objects
from data_tools.augment.render import Scratch
from data_tools.augment.settings import AugmentSettings
from data_tools.augment.sources import Show, Source, fill_of, joined
from data_tools.images.decode import Pixels


class UndecodableSource(ValueError):
    """An image that goes in cannot be decoded.

    Args:
        index: Its index among the sources.
        what: What is wrong.
    """

    def __init__(self, index: int, what: str) -> None:
        super().__init__(what)
        self.index = index


def compose(
    sources: Sequence[Source],
    mix: Mix,
    settings: AugmentSettings,
    out_chw: Pixels,
    scaled_decode: bool = False,
    lap: Callable[[str], None] = no_lap,
    scratch: Scratch | None = None,
) -> ImageBoxes:
    """Make one training image; a pure function of its arguments.

    Without mosaic the first image is shown as it would be alone. Objects are pasted, then all is
    turned, then another image shines through (mixup; Zhang et al., Bag of Freebies for Training
    Object Detection, 2019), then a rectangle is painted over (Zhong et al., Random Erasing, 2020;
    boxes stay).

    Args:
        sources: The image itself, then its partners in the order of `Mix.partners`.
        mix: What happens.
        settings: Crop, mirror and colours of each image; the colour of what lies beyond.
        out_chw: (3, H, W) uint8 RGB, C-contiguous; written to.
        scaled_decode: See `render_augmented`.
        lap: See `render_augmented`.
        scratch: Reused memory for this size; None takes fresh.

    Returns:
        The boxes, relative to the input, within 0..1 and of positive area.

    Raises:
        UndecodableSource: If the bytes of an image are none, or not one of its size.
    """
    memory = scratch or Scratch((out_chw.shape[1], out_chw.shape[2]))

    def show(number: int, view: Augmentation, part_chw: Pixels) -> None:
        source, size = sources[number], (part_chw.shape[1], part_chw.shape[2])
        try:
            render_augmented(
                source.encoded, source.height, source.width, view, settings.expand_fill, part_chw,
                scaled_decode, lap, memory.part(size),
            )  # fmt: skip
        except UndecodableImage as error:
            raise UndecodableSource(number, str(error)) from error

    partner = 1
    if mix.mosaic is None:
        truth = _shown_alone(0, sources[0], settings, show, out_chw)
    else:
        truth = compose_mosaic(sources[: 1 + MOSAIC_PARTNERS], mix.mosaic, settings, show, out_chw)
        partner += MOSAIC_PARTNERS
    if mix.paste is not None:
        truth = paste_objects(partner, sources[partner], mix.paste, settings, show, out_chw, truth)
        partner += 1
    if mix.affine is not None:
        truth = turn(mix.affine, settings.expand_fill, out_chw, truth)
    if mix.mixup is not None:
        other = np.empty_like(out_chw)
        more = _shown_alone(partner, sources[partner], settings, show, other)
        blend(out_chw, other, mix.mixup)
        truth = joined([truth, more])
    if mix.erase_yxyx is not None:
        y1, x1, y2, x2 = pixels_of(mix.erase_yxyx, out_chw.shape[1:])
        out_chw[:, y1:y2, x1:x2] = fill_of(settings.expand_fill)
    lap("render")
    return truth


def pixels_of(box_yxyx_rel: Sequence[float], size: Sequence[int]) -> tuple[int, ...]:
    """Return the rows and columns that a relative box covers, rounded: y1, x1, y2, x2."""
    return tuple(
        round(float(value) * side) for value, side in zip(box_yxyx_rel, (*size, *size), strict=True)
    )


def blend(out_chw: Pixels, other_chw: Pixels, share: int) -> None:
    """Let another image shine through: `share`/256 of the first, the rest of the other, rounded; in
    place.

    Args:
        out_chw: (3, H, W) uint8, written to.
        other_chw: (3, H, W) uint8.
        share: 0..256.
    """
    mixed = np.multiply(out_chw, share, dtype=np.uint16)
    mixed += np.multiply(other_chw, 256 - share, dtype=np.uint16)
    mixed += np.uint16(128)
    mixed >>= np.uint16(8)
    out_chw[...] = mixed


def _shown_alone(
    number: int, source: Source, settings: AugmentSettings, show: Show, out_chw: Pixels
) -> ImageBoxes:
    view = choose_view(source.height, source.width, source.truth, settings, source.rng)
    show(number, view, out_chw)
    return seen_through([source.truth], [view.window], [view.flip])[0]
