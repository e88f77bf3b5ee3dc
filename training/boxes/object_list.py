"""Targets for an assignment that the graph makes: an image's objects, in a table of fixed size.

Targets per anchor are made in `codec.py`; the assignment is `training/learning/assignment.py`.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import numpy.typing as npt

from training.boxes.encode_one import encode_one

FloatArray = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.int32]


class ObjectList:
    """The pipeline's encoder for `model.assign=tal`. May be shared by threads, and pickled.

    Args:
        max_boxes: Rows for an image, M; of more objects the largest are kept, in their order.
    """

    def __init__(self, max_boxes: int) -> None:
        self.max_boxes = max_boxes

    @property
    def num_anchors(self) -> int:
        """M, the number of rows."""
        return self.max_boxes

    def __call__(
        self,
        boxes_yxyx_rel: npt.NDArray[np.float32],
        labels: npt.NDArray[np.integer],
        iscrowd: npt.NDArray[np.bool_] | None = None,
    ) -> tuple[FloatArray, IntArray]:
        """List the objects of one image: (N, 4), (N,), (N,) -> (M, 4), (M,); see `encode_batch`."""
        return encode_one(self, boxes_yxyx_rel, labels, iscrowd)

    def encode_batch(
        self,
        boxes_yxyx_rel: FloatArray,
        labels: IntArray,
        iscrowd: npt.NDArray[np.bool_],
        images: npt.NDArray[np.intp],
        loc_targets: FloatArray,
        anchor_labels: IntArray,
    ) -> None:
        """List the objects of several images in a batch's arrays.

        Args:
            boxes_yxyx_rel: (N, 4) float32, the boxes of all images, positive area.
            labels: (N,) 1..C.
            iscrowd: (N,) bool.
            images: (N,) the image of each box, 0..B-1, rising.
            loc_targets: (B, M, 4) float32, written to: boxes, zeros below them.
            anchor_labels: (B, M) int32, written to: 1..C, -1 for a crowd region, 0 below them.
        """
        loc_targets.fill(0)
        anchor_labels.fill(0)
        shown = np.where(iscrowd, np.int32(-1), labels.astype(np.int32))  # (N,)
        starts = np.searchsorted(images, np.arange(len(anchor_labels) + 1))  # (B + 1,)
        for image, (start, stop) in enumerate(pairwise(starts.tolist())):
            rows = np.arange(start, stop)  # (boxes of the image,)
            if len(rows) > self.max_boxes:
                # (boxes of the image, 2)
                sides = boxes_yxyx_rel[rows, 2:] - boxes_yxyx_rel[rows, :2]
                # (M,) of them
                largest = np.argsort(-sides.prod(1), kind="stable")[: self.max_boxes]
                rows = rows[np.sort(largest)]
            loc_targets[image, : len(rows)] = boxes_yxyx_rel[rows]
            anchor_labels[image, : len(rows)] = shown[rows]
