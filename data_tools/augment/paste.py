"""Objects of another image, cut out by their boxes and set down where they hide little.

What is drawn for them is in `mix.py`.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from data_tools.augment.apply import Augmentation
from data_tools.augment.boxes_in_view import ImageBoxes, Window, seen_through
from data_tools.augment.colour import choose_colour
from data_tools.augment.mix import Paste
from data_tools.augment.settings import AugmentSettings
from data_tools.augment.sources import Show, Source, joined, placed
from data_tools.images.decode import Pixels

HIDDEN_MOST = 0.3
"""Share of a box that a pasted object may cover; where it would be more, it is set down
elsewhere."""

_PASTED_LEAST = 4  # pixels of a pasted object's sides


def paste_objects(
    number: int,
    source: Source,
    paste: Paste,
    settings: AugmentSettings,
    show: Show,
    out_chw: Pixels,
    truth: ImageBoxes,
) -> ImageBoxes:
    """Paste objects onto a finished canvas and return all its boxes, relative to it.

    Whatever else has its centre in what is cut out comes with its own box.

    Args:
        number: The source's index, for `show`.
        source: Where the objects are from.
        paste: What is drawn.
        settings: Mirror and colours.
        show: Draws a source.
        out_chw: (3, H, W) uint8 RGB, written to.
        truth: The canvas' boxes so far.
    """
    size = (out_chw.shape[1], out_chw.shape[2])
    change, flips = choose_colour(settings, source.rng), source.rng.random(len(paste.order))
    left = list(source.truth.boxes_yxyx[~source.truth.iscrowd])
    for k in range(min(len(paste.order), len(left))):
        y1, x1, y2, x2 = left.pop(int(paste.order[k] * len(left)))
        window = Window(
            max(0, int(np.floor(y1))), max(0, int(np.floor(x1))),
            min(source.height, int(np.ceil(y2))), min(source.width, int(np.ceil(x2))),
        )  # fmt: skip
        rows = round(paste.scales[k] * window.height * size[0] / source.height)
        columns = round(paste.scales[k] * window.width * size[1] / source.width)
        if not (_PASTED_LEAST <= rows < size[0] and _PASTED_LEAST <= columns < size[1]):
            continue
        box = free_box(truth.boxes_yxyx, rows, columns, size, paste.positions[k])
        if box is None:
            continue
        view = Augmentation(window, bool(flips[k] < settings.flip_probability), change)
        part = np.empty((3, rows, columns), np.uint8)
        show(number, view, part)
        out_chw[:, box[0] : box[2], box[1] : box[3]] = part
        seen = seen_through([source.truth], [window], [view.flip])[0]
        truth = joined([truth, placed(seen, box, size)])
    return truth


def free_box(
    boxes_yxyx_rel: npt.NDArray[np.float32],
    rows: int,
    columns: int,
    size: tuple[int, int],
    positions: npt.NDArray[np.float64],
) -> tuple[int, int, int, int] | None:
    """Return the first position where a pasted object hides no box by more than `HIDDEN_MOST`, or
    None.

    Args:
        boxes_yxyx_rel: (N, 4) what must not be hidden.
        rows: Of the object.
        columns: Of the object.
        size: Rows and columns of the canvas.
        positions: (P, 2) where to try, 0..1 from the upper left to the lower right.
    """
    boxes = boxes_yxyx_rel.astype(np.float64) * [*size, *size]
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    for y, x in positions:
        top, left = round(y * (size[0] - rows)), round(x * (size[1] - columns))
        tall = np.minimum(boxes[:, 2], top + rows) - np.maximum(boxes[:, 0], top)
        wide = np.minimum(boxes[:, 3], left + columns) - np.maximum(boxes[:, 1], left)
        if (np.maximum(tall, 0) * np.maximum(wide, 0) <= HIDDEN_MOST * areas).all():
            return top, left, top + rows, left + columns
    return None
