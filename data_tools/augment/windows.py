"""Which part of an image the network sees: whole, cropped as published or as in the paper, zoomed
out.

Only sizes and boxes are needed here, so a window is known before the image is decoded.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from math import floor
from typing import Any

import numpy as np
import numpy.typing as npt

from data_tools.augment.boxes_in_view import ImageBoxes, Window, centres_inside
from data_tools.augment.settings import AugmentSettings
from data_tools.core.compiled import compile_now

Floats = npt.NDArray[np.float32]


def choose_window(
    height: int, width: int, truth: ImageBoxes, settings: AugmentSettings, rng: np.random.Generator
) -> Window:
    """Choose the window for one image.

    Args:
        height: The image's rows.
        width: The image's columns.
        truth: Its boxes in pixels; crowd regions have no say in the choice.
        settings: Crop and expansion.
        rng: The image's own random numbers.

    Returns:
        A window of at least one pixel.
    """
    canvas = Window(0, 0, height, width)
    if settings.expand_probability > 0 and rng.random() < settings.expand_probability:
        canvas = expanded(height, width, settings.expand_max, rng)
    if settings.crop == "none" or not settings.crop_min_overlaps:
        return canvas
    boxes = truth.boxes_yxyx
    if truth.iscrowd.any():
        boxes = boxes[~truth.iscrowd]
    if settings.crop == "published":
        return published_crop(canvas, boxes, settings, rng)
    return paper_crop(canvas, boxes, settings, rng)


def expanded(height: int, width: int, largest: float, rng: np.random.Generator) -> Window:
    """Place the image at random on a canvas of 1 to `largest` times its sides (SSD paper: zoom
    out).
    """
    ratio = 1 + rng.random() * (largest - 1)
    rows, columns = int(height * ratio), int(width * ratio)
    top, left = rng.random(2)
    top, left = -int(top * (rows - height)), -int(left * (columns - width))
    return Window(top, left, top + rows, left + columns)


def published_crop(
    canvas: Window, boxes_yxyx_px: Floats, settings: AugmentSettings, rng: np.random.Generator
) -> Window:
    """Crop as the published tools do, defect included.

    They mean to refuse a crop when a box overlaps less than the floor, but refuse it only when,
    besides, another overlaps more than the floor plus 0.2: with a single box any overlap passes, so
    the floor is not enforced. It is kept because the published figures were reached with it;
    `paper_crop` enforces it. As published, an image without boxes is left whole.

    Args:
        canvas: What is cropped.
        boxes_yxyx_px: (N, 4) float32, without crowd regions.
        settings: `crop_*`.
        rng: The image's own random numbers.

    Returns:
        A crop in which at least one box has its centre, or the canvas.
    """
    choice = int(rng.integers(1 + len(settings.crop_min_overlaps)))
    draws = rng.random((settings.crop_trials, 4))  # all of them, so that later draws do not move
    if choice == 0 or not len(boxes_yxyx_px):
        return canvas
    least = settings.crop_min_overlaps[choice - 1]
    crop = _first_crop()(
        (canvas.top, canvas.left, canvas.bottom, canvas.right),
        boxes_yxyx_px,
        draws,
        (float(settings.crop_scale[0]), float(settings.crop_scale[1])),
        (float(settings.crop_aspect[0]), float(settings.crop_aspect[1])),
        float(least),
        float(least + settings.crop_slack),
    )
    return Window(*crop)


@cache
def _first_crop() -> Any:
    """`window_kernel.first_crop`, compiled or loaded: importing Numba takes a third of a second."""
    from data_tools.augment.window_kernel import first_crop

    boxes, draws = np.array([[0, 0, 2, 2]], np.float32), np.full((1, 4), 0.5)
    compile_now(
        lambda: first_crop((0, 0, 2, 2), boxes, draws, (0.5, 1.0), (0.5, 2.0), 0.5, 0.7),
        (first_crop,),
    )
    return first_crop


def paper_crop(
    canvas: Window, boxes_yxyx_px: Floats, settings: AugmentSettings, rng: np.random.Generator
) -> Window:
    """Crop as the SSD paper and its original code do: the floor holds.

    With equal chances the whole canvas is taken, or a crop with any overlap, or one whose best
    overlap (IoU) with a box that it keeps, that is whose centre it contains, is at least the floor
    drawn. After `crop_trials` crops in vain, or without boxes, the canvas is taken.

    Args:
        canvas: What is cropped.
        boxes_yxyx_px: (N, 4) float32, without crowd regions.
        settings: `crop_*`.
        rng: The image's own random numbers.

    Returns:
        A crop that honours its floor, or the canvas.
    """
    choices = [None, 0.0, *settings.crop_min_overlaps]
    least = choices[int(rng.integers(len(choices)))]
    draws = rng.random((settings.crop_trials, 4))
    if least is None or not len(boxes_yxyx_px):
        return canvas
    for crop in _proposals(canvas, draws, settings):
        kept = centres_inside(boxes_yxyx_px, crop)
        if kept.any() and iou_with(boxes_yxyx_px[kept], crop).max() >= least:
            return crop
    return canvas


def iou_with(boxes_yxyx_px: Floats, window: Window) -> Floats:
    """IoU of each box of positive area with a window: (N, 4) -> (N,); `boxes.iou` for one
    rectangle.
    """
    rect = window.as_array()
    sides = np.minimum(boxes_yxyx_px[:, 2:], rect[2:]) - np.maximum(boxes_yxyx_px[:, :2], rect[:2])
    np.maximum(sides, 0, out=sides)
    shared = sides[:, 0] * sides[:, 1]
    own = boxes_yxyx_px[:, 2:] - boxes_yxyx_px[:, :2]
    overlaps: Floats = shared / (own[:, 0] * own[:, 1] + window.height * window.width - shared)
    return overlaps


def _proposals(
    canvas: Window, draws: npt.NDArray[np.float64], settings: AugmentSettings
) -> Iterator[Window]:
    smallest, largest = settings.crop_scale
    flattest, tallest = settings.crop_aspect
    for draw in draws:
        across, down, x, y = draw.tolist()
        width = (smallest + across * (largest - smallest)) * canvas.width
        height = (smallest + down * (largest - smallest)) * canvas.height
        if not flattest <= height / width <= tallest:
            continue
        left = canvas.left + x * (canvas.width - width)
        top = canvas.top + y * (canvas.height - height)
        crop = Window(floor(top), floor(left), floor(top + height), floor(left + width))
        if crop.height >= 1 and crop.width >= 1:
            yield crop
