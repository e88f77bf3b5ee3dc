"""The ground truth of one image on its way through an augmentation, and what a window does to it.

Windows are chosen in `windows.py`; pixels follow in `render.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class ImageBoxes:
    """Boxes of one image with their labels and flags.

    Args:
        boxes_yxyx: (N, 4) float32; pixels before a window was applied, relative to it afterwards.
        labels: (N,) int32, 1..C.
        iscrowd: (N,) bool.
    """

    boxes_yxyx: npt.NDArray[np.float32]
    labels: npt.NDArray[np.int32]
    iscrowd: npt.NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.boxes_yxyx)

    def keep(self, mask: npt.NDArray[np.bool_]) -> ImageBoxes:
        """Return the boxes for which `mask` (N,) is true."""
        if mask.all():
            return self
        return ImageBoxes(self.boxes_yxyx[mask], self.labels[mask], self.iscrowd[mask])


@dataclass(frozen=True)
class Window:
    """The part of the image plane that the network sees, in the image's pixels; may reach beyond
    it.

    Args:
        top: First row.
        left: First column.
        bottom: Row after the last.
        right: Column after the last.
    """

    top: int
    left: int
    bottom: int
    right: int

    @property
    def height(self) -> int:
        """Rows."""
        return self.bottom - self.top

    @property
    def width(self) -> int:
        """Columns."""
        return self.right - self.left

    def inside(self, height: int, width: int) -> bool:
        """Whether the window lies within an image of that size."""
        return self.top >= 0 and self.left >= 0 and self.bottom <= height and self.right <= width

    def as_array(self) -> npt.NDArray[np.float32]:
        """(4,) float32 yxyx."""
        return np.array([self.top, self.left, self.bottom, self.right], np.float32)


def centres_inside(boxes_yxyx_px: npt.NDArray[np.float32], window: Window) -> npt.NDArray[np.bool_]:
    """Whether each box's centre lies strictly within the window: (N, 4) -> (N,) bool."""
    y = boxes_yxyx_px[:, 0] + boxes_yxyx_px[:, 2]
    x = boxes_yxyx_px[:, 1] + boxes_yxyx_px[:, 3]
    inside: npt.NDArray[np.bool_] = y > 2 * window.top
    inside &= y < 2 * window.bottom
    inside &= x > 2 * window.left
    inside &= x < 2 * window.right
    return inside


def seen_through(
    truths: Sequence[ImageBoxes], windows: Sequence[Window], flips: Sequence[bool]
) -> tuple[ImageBoxes, npt.NDArray[np.intp]]:
    """Return what is left of the boxes of some images, each in its window, relative to it.

    An object stays when its centre is in the window, a crowd region when any of it is; what stays
    is clipped to the window. Boxes without area are dropped.

    Args:
        truths: For each of B images its boxes, in pixels of the image.
        windows: For each its window, in pixels of the image.
        flips: For each whether it is mirrored left to right.

    Returns:
        All boxes that stay, in the order of the images, with 0 <= y1 < y2 <= 1 and 0 <= x1 < x2 <=
        1 relative to their window, and for each its image's index in 0..B-1 (N,).
    """
    counts = [len(truth) for truth in truths]
    frames = np.array([(w.top, w.left, w.height, w.width) for w in windows], np.float32)  # (B, 4)
    images = np.repeat(np.arange(len(truths)), counts)  # (N,)
    frame = frames[images]  # (N, 4)
    size = np.concatenate([frame[:, 2:]] * 2, axis=1)  # (N, 4): height, width, height, width
    boxes = np.concatenate([truth.boxes_yxyx for truth in truths])  # (N, 4)
    boxes -= np.concatenate([frame[:, :2]] * 2, axis=1)
    centres = boxes[:, :2] + boxes[:, 2:]  # (N, 2), twice the centres
    stays = ((centres > 0) & (centres < 2 * size[:, :2])).all(axis=1)  # (N,) bool
    iscrowd = np.concatenate([truth.iscrowd for truth in truths])
    np.maximum(boxes, 0, out=boxes)
    np.minimum(boxes, size, out=boxes)
    boxes /= size
    stays |= iscrowd
    stays &= (boxes[:, 2:] > boxes[:, :2]).all(axis=1)
    turned = np.repeat(np.array(flips, bool), counts)  # (N,) bool
    boxes[turned] = mirrored(boxes[turned])
    labels = np.concatenate([truth.labels for truth in truths])
    return ImageBoxes(boxes, labels, iscrowd).keep(stays), images[stays]


def mirrored(boxes_yxyx_rel: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Mirror relative boxes (N, 4) left to right."""
    boxes = boxes_yxyx_rel.copy()
    boxes[:, 1] = 1 - boxes_yxyx_rel[:, 3]
    boxes[:, 3] = 1 - boxes_yxyx_rel[:, 1]
    return boxes
