"""One image through an encoder of batches: what `__call__` of every encoder is.

The encoders are `codec.py`, targets for each anchor, and `object_list.py`, a table of objects.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from data_tools.pipeline.encoder import Encoder

FloatArray = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.int32]


def encode_one(
    encoder: Encoder,
    boxes_yxyx_rel: npt.NDArray[np.float32],
    labels: npt.NDArray[np.integer],
    iscrowd: npt.NDArray[np.bool_] | None,
) -> tuple[FloatArray, IntArray]:
    """Encode one image as a batch of one: (N, 4), (N,), (N,) or None -> (A, 4), (A,)."""
    loc_targets = np.empty((1, encoder.num_anchors, 4), np.float32)
    anchor_labels = np.empty((1, encoder.num_anchors), np.int32)
    encoder.encode_batch(
        np.asarray(boxes_yxyx_rel, np.float32).reshape(-1, 4),
        np.asarray(labels, np.int32),
        np.zeros(len(labels), np.bool_) if iscrowd is None else iscrowd,
        np.zeros(len(labels), np.intp),
        loc_targets,
        anchor_labels,
    )
    return loc_targets[0], anchor_labels[0]
