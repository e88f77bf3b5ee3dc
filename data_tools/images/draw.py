"""Boxes and their names on pictures; the colours that tell right from wrong.

Where a name stands is found in `captions.py`, sheets of many pictures are put together in
`sheet.py`, curves and histograms are drawn where they belong, with matplotlib.
"""

from __future__ import annotations

import colorsys
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from data_tools.core.errors import UserError
from data_tools.core.files import replacing
from data_tools.images.captions import Captions, ink_on, with_list
from data_tools.images.lettering import can_write

Image = npt.NDArray[np.uint8]
Colour = tuple[int, int, int]

RIGHT: Colour = (178, 114, 0)
WRONG: Colour = (0, 94, 213)
MISSED: Colour = (66, 228, 240)
LEFT_OUT: Colour = (160, 160, 160)
"""BGR: blue, vermilion, yellow and grey of Okabe and Ito's palette, distinguished with any colour
vision and, as they differ in brightness, in print."""


def colour_of(label: int) -> Colour:
    """Return the BGR colour of a label: fixed, and far apart for neighbouring labels."""
    hue = (label * 0.61803398875) % 1.0  # golden ratio steps spread hues evenly
    red, green, blue = colorsys.hsv_to_rgb(hue, 0.85, 0.95 if label % 2 else 0.75)
    return int(blue * 255), int(green * 255), int(red * 255)


def draw_boxes(
    image: Image,
    boxes_yxyx_px: npt.ArrayLike,
    labels: Sequence[int] | npt.NDArray[np.integer],
    names: Sequence[str] | None = None,
    scores: Sequence[float] | npt.NDArray[np.floating] | None = None,
    *,
    dashed: Sequence[bool] | npt.NDArray[np.bool_] | None = None,
    colours: Sequence[Colour] | None = None,
    keep_clear_yxyx_px: npt.ArrayLike = (),
    list_width: int = 0,
) -> Image:
    """Return a copy of an image with boxes and captions drawn on it.

    A caption stands where it hides no object. Where there is no such position it is written without
    a ground, so that what lies under it can be seen; or, with a `list_width`, the box gets a number
    and its name stands in a list that is put under the picture.

    Args:
        image: (H, W, 3) uint8 BGR.
        boxes_yxyx_px: (N, 4) corners in pixels of this image.
        labels: (N,) labels, which choose the colours where `colours` does not.
        names: (N,) caption of each box, "" for none; None writes no captions. One in letters that
            no font of this machine has is written as the number of the class.
        scores: (N,) scores in 0..1, written behind the names.
        dashed: (N,) True draws a broken outline.
        colours: (N,) BGR colours of the boxes.
        keep_clear_yxyx_px: (M, 4) further objects that no caption may hide.
        list_width: Width in pixels of the list under the picture, for names that find no free spot
            on it; 0 for no list. The picture becomes higher by it, and wider if it was narrower.

    Returns:
        (H, W, 3) uint8 BGR; larger than the image where there is a list.
    """
    canvas = np.ascontiguousarray(image).copy()
    thickness = max(2, round(min(canvas.shape[:2]) / 250))
    boxes = np.asarray(boxes_yxyx_px, np.float64).reshape(-1, 4)
    chosen = colours if colours is not None else [colour_of(int(label)) for label in labels]
    for k, (y1, x1, y2, x2) in enumerate(boxes):
        start, end = (round(x1), round(y1)), (round(x2) - 1, round(y2) - 1)
        broken = dashed is not None and bool(dashed[k])
        # The seam of black or white is seen on any ground.
        _outline(canvas, start, end, ink_on(chosen[k]), thickness + 2, broken)
        _outline(canvas, start, end, chosen[k], thickness, broken)
    if names is None:
        return canvas
    others = np.asarray(keep_clear_yxyx_px, np.float64).reshape(-1, 4)
    captions = Captions(canvas, np.concatenate([boxes, others]))
    homeless: list[tuple[str, Colour]] = []
    for k in reversed(range(len(boxes))):  # the last box lies on top: its caption chooses first
        name = names[k] if can_write(names[k]) else f"class {int(labels[k])}"
        text = name if scores is None else f"{name} {float(scores[k]):.2f}"
        if not names[k] or captions.next_to(text, boxes[k], chosen[k]):
            continue
        if list_width:
            homeless.append((f"{len(homeless) + 1} {text}", chosen[k]))
            text = str(len(homeless))
            if captions.next_to(text, boxes[k], chosen[k]):
                continue
        captions.see_through(text, boxes[k], chosen[k])
    return with_list(canvas, homeless, list_width)


def _outline(
    canvas: Image,
    start: tuple[int, int],
    end: tuple[int, int],
    colour: Colour,
    thickness: int,
    broken: bool,
) -> None:
    if not broken:
        cv2.rectangle(canvas, start, end, colour, thickness)
        return
    dash = max(6, round(min(canvas.shape[:2]) / 60))
    (x1, y1), (x2, y2) = start, end
    for x in range(x1, x2 + 1, 2 * dash):
        for y in (y1, y2):
            cv2.line(canvas, (x, y), (min(x + dash, x2), y), colour, thickness)
    for y in range(y1, y2 + 1, 2 * dash):
        for x in (x1, x2):
            cv2.line(canvas, (x, y), (x, min(y + dash, y2)), colour, thickness)


def save_png(path: str | Path, image: Image) -> None:
    """Write a picture as PNG, with the folder it needs; it is there whole or not at all.

    Args:
        path: The file.
        image: (H, W, 3) uint8 BGR.

    Raises:
        UserError: If the file cannot be written.
    """
    path = Path(path)
    ok, encoded = cv2.imencode(".png", image)
    assert ok
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as temporary:
            temporary.write_bytes(encoded.tobytes())
    except OSError as error:
        raise UserError(
            f"{path}: the picture cannot be written ({error.strerror or error}). Choose another "
            "folder, or free some space."
        ) from error
