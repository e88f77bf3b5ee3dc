"""The contact sheet of `convert.py diff=`: images whose boxes changed, and those that one set alone
has, each change in a colour of its own.

What changed is found in `diff.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np

from data_tools.converted.box_changes import Boxes, Change
from data_tools.images.decode import decode_bgr
from data_tools.images.draw import Image, colour_of, draw_boxes
from data_tools.images.sheet import contact_sheet, layout, scaled_to_cell, usual_aspect
from data_tools.shards.reader import RowReader

_COLOUR_OF = {"added": 2, "removed": 1, "moved": 4, "class": 5, "flags": 3}
"""Change -> the label whose colour is taken: as far apart as labels' colours are."""


class Shown(Protocol):
    """The split that a picture is read from."""

    @property
    def reader(self) -> RowReader:
        """Reads its rows."""


def draw_changes(
    images: Sequence[tuple[Shown, int, Boxes, Boxes, list[Change], str]],
) -> Image:
    """Draw images with the boxes that changed; dashed is how it was, solid how it is.

    Args:
        images: Split, row, boxes before and after in the row's frame, the changes, and the image's
            name.

    Returns:
        (H, W, 3) uint8 BGR.

    Raises:
        DataError: If a picture does not decode.
    """
    pictures, captions = [], []
    for side, row, _, _, changes, name in images:
        image = decode_bgr(side.reader[row].image)
        if image is None:
            raise side.reader.damaged(row, "its picture does not decode")
        pictures.append(image)
        captions.append(f"{name}: {len(changes)} boxes")
    cells = layout(len(pictures), usual_aspect(pictures))
    tiles = [
        scaled_to_cell(picture, cells, _drawing(before, after, changes, cells.tile_width))
        for picture, (_, _, before, after, changes, _) in zip(pictures, images, strict=True)
    ]
    title = "boxes that changed: dashed before, solid after"
    legend = [(kind, colour_of(label)) for kind, label in _COLOUR_OF.items()]
    return contact_sheet(tiles, captions, cells=cells, title=title, legend=legend)


def _drawing(
    before: Boxes, after: Boxes, changes: Sequence[Change], width: int
) -> Callable[[Image, float], Image]:
    corners, labels, names, dashed = [], [], [], []
    for change in changes:
        for boxes, index in ((before, change.before), (after, change.after)):
            if index is None:
                continue
            old = boxes is before
            corners.append(boxes.corners_yxyx_px[index])
            labels.append(_COLOUR_OF[change.kind])
            paired = change.after is not None and change.before is not None
            unnamed = old and paired and change.kind != "class"
            names.append("" if unnamed else f"{change.kind} {boxes.names[index]}")
            dashed.append(old)

    def draw(image: Image, scale: float) -> Image:
        boxes = np.array(corners).reshape(-1, 4) * scale
        return draw_boxes(image, boxes, labels, names, dashed=dashed, list_width=width)

    return draw
