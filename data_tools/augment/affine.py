"""A finished canvas turned, scaled, sheared and shifted, and the upright boxes around what was
turned.

What is drawn for it is in `mix.py`.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt

from data_tools.augment.boxes_in_view import ImageBoxes
from data_tools.augment.sources import fill_of, of_area
from data_tools.images.decode import Pixels


def turn(
    affine: npt.NDArray[np.float64], fill_rgb: Sequence[float], out_chw: Pixels, truth: ImageBoxes
) -> ImageBoxes:
    """Move the canvas in place, bilinear, and return its boxes.

    Args:
        affine: See `Mix.affine`.
        fill_rgb: (3,) colour of what lies beyond the canvas.
        out_chw: (3, H, W) uint8 RGB, written over.
        truth: Its boxes, relative to it.
    """
    rows, columns = out_chw.shape[1:]
    matrix = affine_in_pixels(affine, (rows, columns))
    index = matrix.copy()  # a pixel's number is half a pixel less than where its centre lies
    index[:, 2] += matrix[:, :2] @ [0.5, 0.5] - 0.5
    for plane, fill in zip(out_chw, fill_of(fill_rgb).ravel().tolist(), strict=True):
        plane[...] = cv2.warpAffine(
            plane, index, (columns, rows), flags=cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_CONSTANT, borderValue=fill,
        )  # fmt: skip
    return turned_boxes(truth, matrix, (rows, columns))


def affine_in_pixels(
    affine: npt.NDArray[np.float64], size: tuple[int, int]
) -> npt.NDArray[np.float64]:
    """Return where a point [x, y, 1] in pixels of the canvas goes: (2, 3), from `Mix.affine`."""
    sides = np.array([size[1], size[0]], np.float64)
    middle = sides / 2
    shift = middle - affine[:, :2] @ middle + affine[:, 2] * sides
    return np.concatenate([affine[:, :2], shift[:, None]], axis=1)


def turned_boxes(
    truth: ImageBoxes, matrix: npt.NDArray[np.float64], size: tuple[int, int]
) -> ImageBoxes:
    """Return the upright boxes around the turned ones, clipped to the canvas.

    As in a window, an object stays when its centre is on the canvas, a crowd region when any of it
    is.

    Args:
        truth: Boxes relative to the canvas.
        matrix: (2, 3) where a point [x, y, 1] in pixels goes.
        size: Rows and columns of the canvas.
    """
    sides = np.array([size[1], size[0]], np.float64)
    y1, x1, y2, x2 = truth.boxes_yxyx.astype(np.float64).T  # (N,) each
    corners = np.stack([[x1, x2, x1, x2], [y1, y1, y2, y2], np.ones((4, len(truth)))])  # (3, 4, N)
    corners[:2] *= sides[:, None, None]
    moved = np.einsum("ij,jkn->ikn", matrix, corners)  # (2, 4, N) x and y
    low, high = moved.min(axis=1).T / sides, moved.max(axis=1).T / sides  # (N, 2) x and y
    centres = (low + high) / 2
    stays = ((centres > 0) & (centres < 1)).all(axis=1) | truth.iscrowd
    boxes = np.concatenate([low[:, ::-1], high[:, ::-1]], axis=1).clip(0, 1).astype(np.float32)
    return of_area(ImageBoxes(boxes, truth.labels, truth.iscrowd).keep(stays))
