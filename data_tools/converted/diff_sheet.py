"""The contact sheet of `convert.py diff=`: images whose boxes changed, each change in a colour of its own.

What changed is found in `diff.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import cv2
import numpy as np

from data_tools.converted.box_changes import Boxes, Change
from data_tools.images.decode import decode_bgr
from data_tools.images.draw import Image, contact_sheet, draw_boxes
from data_tools.shards.reader import RowReader

_COLOUR_OF = {"added": 2, "removed": 1, "moved": 4, "class": 5, "flags": 3}
"""Change -> the label whose colour is taken: as far apart as labels' colours are."""
_SIDE_PX = 300


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
        images: Split, row, boxes before and after in the row's frame, the changes, and the image's name.

    Returns:
        (H, W, 3) uint8 BGR.

    Raises:
        DataError: If a picture does not decode.
    """
    tiles, captions = [], []
    for side, row, before, after, changes, name in images:
        image = decode_bgr(side.reader[row].image)
        if image is None:
            raise side.reader.damaged(row, "its picture does not decode")
        scale = max(1.0, _SIDE_PX / max(image.shape[:2]))
        image = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_LINEAR)
        corners, labels, names, dashed = [], [], [], []
        for change in changes:
            for boxes, place in ((before, change.before), (after, change.after)):
                if place is None:
                    continue
                old = boxes is before
                corners.append(boxes.corners_yxyx_px[place] * scale)
                labels.append(_COLOUR_OF[change.kind])
                paired = change.after is not None and change.before is not None
                names.append("" if old and paired and change.kind != "class" else
                             f"{change.kind} {boxes.names[place]}")  # fmt: skip
                dashed.append(old)
        drawn = draw_boxes(
            np.asarray(image, np.uint8), np.array(corners), labels, names, dashed=dashed
        )
        tiles.append(drawn)
        captions.append(f"{name}: {len(changes)} boxes")
    return contact_sheet(tiles, captions, title="boxes that changed: dashed before, solid after")
