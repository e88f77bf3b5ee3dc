"""What turns boxes into targets, and how the targets of a batch lie in memory.

The encoders are the training's: `training/boxes/codec.py` and `training/boxes/object_list.py`.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
import numpy.typing as npt

from data_tools.core.reusable_memory import Layout


class Encoder(Protocol):
    """Boxes to targets: a fixed number of rows for each image."""

    @property
    def num_anchors(self) -> int:
        """A, the number of rows of an image: anchors, or the objects that are listed."""

    def encode_batch(
        self,
        boxes_yxyx_rel: npt.NDArray[np.float32],
        labels: npt.NDArray[np.int32],
        iscrowd: npt.NDArray[np.bool_],
        images: npt.NDArray[np.intp],
        loc_targets: npt.NDArray[np.float32],
        anchor_labels: npt.NDArray[np.int32],
    ) -> None:
        """Write targets (B, A, 4) and labels (B, A) for boxes (N, 4) of the images (N,)."""


def target_layout(count: int, encoder: Encoder) -> Layout:
    """Return the layout of the targets of a number of images."""
    anchors = encoder.num_anchors
    return {
        "loc_targets": ((count, anchors, 4), "float32"),
        "labels": ((count, anchors), "int32"),
    }
