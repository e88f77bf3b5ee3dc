"""Where the names of boxes stand on a picture: next to the objects, never on them.

Boxes themselves are drawn in `draw.py`, letters in `lettering.py`.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt

from data_tools.images.lettering import put_text, shortened, text_size

Image = npt.NDArray[np.uint8]
Colour = tuple[int, int, int]

AROUND = 245
"""Grey next to a picture that is narrower than its cell."""

_GROUND = (255, 255, 255)
_INK = (30, 30, 30)
_MOST_LINES = 8
"""Lines of names under a picture; more would leave no space for the picture itself."""

_Rectangles = npt.NDArray[np.int64]  # (K, 4) x1, y1, x2, y2


class Captions:
    """Places captions on one picture, one after the other.

    Args:
        canvas: (H, W, 3) uint8 BGR; written on.
        objects_yxyx_px: (M, 4) what captions must not hide.
    """

    def __init__(self, canvas: Image, objects_yxyx_px: npt.NDArray[np.float64]) -> None:
        self.canvas = canvas
        self.size_px = letter_size(canvas.shape[:2])
        low, high = np.floor(objects_yxyx_px[:, :2]), np.ceil(objects_yxyx_px[:, 2:])
        objects = np.concatenate([low[:, ::-1], high[:, ::-1]], 1).astype(np.int64)
        self._objects = Covered(objects, canvas.shape[:2])
        self._taken = np.zeros((0, 4), np.int64)

    def next_to(self, text: str, box_yxyx_px: npt.NDArray[np.float64], colour: Colour) -> bool:
        """Write a caption next to its box where it hides no object and no other caption.

        Args:
            text: The caption, cut to the picture's width.
            box_yxyx_px: (4,) float64 corners in pixels.
            colour: BGR, of the ground.

        Returns:
            Whether there was such a position; nothing is written otherwise.
        """
        text = self._short(text)
        boxes = self._boxes_around(text, box_yxyx_px)[:_OUTSIDE]
        free = np.flatnonzero(self._cost(boxes) == 0)
        if not len(free):
            return False
        x1, y1, x2, y2 = self._take(boxes[free[0]])
        cv2.rectangle(self.canvas, (x1, y1), (x2 - 1, y2 - 1), colour, -1)
        put_text(self.canvas, text, x1 + 2, y1, self.size_px, ink_on(colour))
        return True

    def see_through(self, text: str, box_yxyx_px: npt.NDArray[np.float64], colour: Colour) -> None:
        """Write a caption without a ground where it covers least: what lies under it can still be
        seen.

        Args:
            text: The caption, cut to the picture's width.
            box_yxyx_px: (4,) float64 corners in pixels.
            colour: BGR, of the letters.
        """
        text = self._short(text)
        boxes = self._boxes_around(text, box_yxyx_px)
        x1, y1, _, _ = self._take(boxes[int(np.argmin(self._cost(boxes)))])
        put_text(self.canvas, text, x1 + 2, y1, self.size_px, colour, seam_bgr=ink_on(colour))

    def _short(self, text: str) -> str:
        return shortened(text, self.size_px, self.canvas.shape[1] - 4)

    def _take(self, box: npt.NDArray[np.int64]) -> tuple[int, int, int, int]:
        self._taken = np.concatenate([self._taken, box[None]])
        x1, y1, x2, y2 = box.tolist()
        return x1, y1, x2, y2

    def _boxes_around(self, text: str, box_yxyx_px: npt.NDArray[np.float64]) -> _Rectangles:
        """Return (K, 4) boxes for a caption, the best looking first: `_OUTSIDE` around the box,
        then inside of it.
        """
        width, height = text_size(text, self.size_px)
        width += 4
        y1, x1, y2, x2 = (round(v) for v in box_yxyx_px)
        middle_x, middle_y = (x1 + x2 - width) // 2, (y1 + y2 - height) // 2
        corners = [
            *((x, y) for y in (y1 - height - 2, y2 + 2) for x in (x1, x2 - width, middle_x)),
            *((x, y) for x in (x2 + 2, x1 - width - 2) for y in (y1, y2 - height, middle_y)),
            *((x, y) for y in (y1 - height - 2, y2 + 2) for x in (x2 + 2, x1 - width - 2)),
            *((x, y) for y in (y1 + 1, y2 - height - 1) for x in (x1 + 1, x2 - width - 1)),
        ]
        boxes = np.array([(x, y, x + width, y + height) for x, y in corners])
        # A caption that would leave the picture is moved in, sideways or up and down, whichever is
        # needed.
        rows, columns = self.canvas.shape[:2]
        shift = np.minimum(0, [columns, rows] - boxes[:, 2:])
        shift = np.maximum(shift, -boxes[:, :2])
        return boxes + np.tile(shift, 2)

    def _cost(self, boxes: _Rectangles) -> npt.NDArray[np.int64]:
        """(K,) pixels that each box hides, those of other captions counted fourfold, those
        outside too.
        """
        rows, columns = self.canvas.shape[:2]
        inside = np.array([[0, 0, columns, rows]])
        size = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
        low, high = boxes[:, :2].min(axis=0), boxes[:, 2:].max(axis=0)
        near = (self._taken[:, 2:] > low).all(axis=1) & (self._taken[:, :2] < high).all(axis=1)
        hidden = self._objects.under(boxes) + 4 * _overlap(boxes, self._taken[near])
        return hidden + 4 * (size - _overlap(boxes, inside))


_OUTSIDE = 16


class Covered:
    """Counts pixels of boxes that some rectangles cover; of many it takes no longer than of a few.

    Args:
        rectangles: (M, 4) x1, y1, x2, y2.
        shape: (H, W) of the picture; boxes asked about may leave it by `_MARGIN` pixels.
    """

    def __init__(self, rectangles: _Rectangles, shape: tuple[int, ...]) -> None:
        self._rectangles = rectangles
        self._size = np.array([shape[1], shape[0]]) + 2 * _MARGIN
        self._sums: npt.NDArray[np.int64] | None = None
        if len(rectangles) > _MANY and self._size.prod() <= _MOST_PIXELS:
            # Corners that begin and end a rectangle, summed up twice along both axes: first to how
            # many cover a pixel, then to the sum of these above and left of it.
            sums = np.zeros(self._size[::-1] + 2, np.int64)
            x1, y1, x2, y2 = self._inside(rectangles).T + 1
            for y, x, sign in ((y1, x1, 1), (y1, x2, -1), (y2, x1, -1), (y2, x2, 1)):
                np.add.at(sums, (y, x), sign)
            for axis in (0, 1, 0, 1):
                np.cumsum(sums, axis=axis, out=sums)
            self._sums = sums

    def under(self, boxes: _Rectangles) -> npt.NDArray[np.int64]:
        """(K,) pixels of each of (K, 4) boxes that lie in the rectangles, summed over these."""
        if self._sums is None:
            return _overlap(boxes, self._rectangles)
        x1, y1, x2, y2 = self._inside(boxes).T
        sums = self._sums
        return sums[y2, x2] - sums[y1, x2] - sums[y2, x1] + sums[y1, x1]

    def _inside(self, boxes: _Rectangles) -> _Rectangles:
        """Boxes cut to the picture and its margin, counted from the margin's corner."""
        return np.clip(boxes + _MARGIN, 0, np.tile(self._size, 2))


_MANY = 100
"""Objects on a picture above which their sums are worth making."""

_MARGIN = 128
"""More than a caption is high."""

_MOST_PIXELS = 1 << 22
"""Of a picture whose sums are made; they take eight bytes each."""


def _overlap(boxes: _Rectangles, others: _Rectangles) -> npt.NDArray[np.int64]:
    """(K,) pixels of each of (K, 4) boxes that lie in the (M, 4) others, summed over these."""
    low = np.maximum(boxes[:, None, :2], others[None, :, :2])  # (K, M, 2)
    high = np.minimum(boxes[:, None, 2:], others[None, :, 2:])
    return np.maximum(high - low, 0).prod(axis=2).sum(axis=1)


def letter_size(shape: tuple[int, ...]) -> int:
    """Return the size in pixels of the letters on a picture of a shape (H, W)."""
    return int(np.clip(round(min(shape[:2]) / 45), 11, 80))


def ink_on(colour: Colour) -> Colour:
    """Return black or white, whichever can be read on a BGR colour."""
    luma = 0.114 * colour[0] + 0.587 * colour[1] + 0.299 * colour[2]
    return (0, 0, 0) if luma > 130 else (255, 255, 255)


def with_list(canvas: Image, lines: Sequence[tuple[str, Colour]], width: int) -> Image:
    """Return the picture with a list of names, so wide, under it, each name behind a field of its
    colour.
    """
    if not lines:
        return canvas
    size = letter_size(canvas.shape)
    height = text_size("x", size)[1] + 2
    widest = max(text_size(text, size)[0] for text, _ in lines) + height + 10
    width = max(width, canvas.shape[1])
    columns = max(1, width // widest)
    most = columns * _MOST_LINES
    if len(lines) > most:
        lines = [*lines[: most - 1], (f"and {len(lines) - most + 1} more", _GROUND)]
    rows = -(-len(lines) // columns)
    strip = np.full((rows * height + 4, width, 3), _GROUND, np.uint8)
    for k, (text, colour) in enumerate(lines):
        left, top = 2 + (k // rows) * (width // columns), 2 + (k % rows) * height
        cv2.rectangle(strip, (left, top + 2), (left + height - 5, top + height - 3), colour, -1)
        text = shortened(text, size, width // columns - height - 2)
        put_text(strip, text, left + height, top + 1, size, _INK)
    side = width - canvas.shape[1]
    edges = ((0, 0), (side // 2, side - side // 2), (0, 0))
    return np.concatenate([np.pad(canvas, edges, constant_values=AROUND), strip])
