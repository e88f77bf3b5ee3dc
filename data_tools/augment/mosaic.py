"""Four images on one canvas: which part of each is seen, at what scale, and where its boxes come to
lie.

What is drawn for a mosaic is in `mix.py`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from data_tools.augment.apply import Augmentation
from data_tools.augment.boxes_in_view import ImageBoxes, Window, seen_through
from data_tools.augment.colour import choose_colour
from data_tools.augment.mix import Mosaic
from data_tools.augment.settings import AugmentSettings
from data_tools.augment.sources import Show, Source, joined, placed
from data_tools.images.decode import Pixels


def compose_mosaic(
    sources: Sequence[Source],
    mosaic: Mosaic,
    settings: AugmentSettings,
    show: Show,
    out_chw: Pixels,
) -> ImageBoxes:
    """Write four images onto the canvas and return their boxes, relative to it.

    Args:
        sources: The image itself and three others, row by row.
        mosaic: What is drawn.
        settings: Mirror and colours of each.
        show: Draws a source.
        out_chw: (3, H, W) uint8 RGB; all of it is written.
    """
    size = (out_chw.shape[1], out_chw.shape[2])
    parts = []
    for number, (source, scale, position) in enumerate(
        zip(sources, mosaic.scales, mosaic.positions, strict=True)
    ):
        box = part_of_mosaic(number, mosaic.centre_yx, size)
        window = part_window(source.height, source.width, box, size, scale, position)
        flip = bool(source.rng.random() < settings.flip_probability)
        view = Augmentation(window, flip, choose_colour(settings, source.rng))
        y1, x1, y2, x2 = box
        part = np.empty((3, y2 - y1, x2 - x1), np.uint8)
        show(number, view, part)
        out_chw[:, y1:y2, x1:x2] = part
        parts.append(placed(seen_through([source.truth], [window], [flip])[0], box, size))
    return joined(parts)


def part_of_mosaic(
    number: int, centre_yx: tuple[float, float], size: tuple[int, int]
) -> tuple[int, int, int, int]:
    """Return the rows and columns of part 0..3 (row by row): y1, x1, y2, x2, each at least a
    pixel.
    """
    y, x = (
        min(max(1, round(share * side)), side - 1)
        for share, side in zip(centre_yx, size, strict=True)
    )
    low, right = divmod(number, 2)
    return (y if low else 0, x if right else 0, size[0] if low else y, size[1] if right else x)


def part_window(
    height: int,
    width: int,
    box: tuple[int, int, int, int],
    size: tuple[int, int],
    scale: float,
    position: tuple[float, float],
) -> Window:
    """Return the part of an image that fills a box of the canvas at a scale.

    Args:
        height: The image's rows.
        width: The image's columns.
        box: Rows and columns of the canvas to fill.
        size: The canvas' rows and columns.
        scale: 1 where the whole image would fill the whole canvas.
        position: 0..1 from the image's upper left to its lower right. An image that is smaller than
            the box lies there in the box, and the window reaches beyond it.
    """
    sides = []
    for axis, side in enumerate((height, width)):
        share = (box[2 + axis] - box[axis]) / (size[axis] * scale)
        length = max(1, round(side * share))
        sides.append((round(position[axis] * (side - length)), length))
    (top, rows), (left, columns) = sides
    return Window(top, left, top + rows, left + columns)
