"""The loops of `nms_kernels.py` in NumPy: the same results to the last bit, slower, but there at
once.

Importing Numba and reading compiled loops takes most of a second, longer than a picture. Which of
the two is called, `nms.py` decides.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]


def candidates(
    scores: NDArray[np.float32], usable: NDArray[np.bool_], floor: np.float32
) -> tuple[Ints, Ints, NDArray[np.float32]]:
    """List the scores above the floor; arguments and result as of `nms_kernels.candidates`."""
    above = (scores > floor) & (scores < np.inf) & usable[:, None]  # (A, C + 1) bool
    classes, anchors = np.nonzero(above[:, 1:].T)  # (N,) each
    return anchors, classes, scores[anchors, classes + 1]


def best_first(scores: NDArray[np.float32]) -> Ints:
    """Return the positions of the scores (N,), falling; equal ones as they come."""
    return np.argsort(-scores, kind="stable")


def greedy(
    boxes: NDArray[np.float64],
    labels: Ints,
    iou: float,
    offset: float,
    max_per_class: int,
    max_total: int,
) -> Ints:
    """Pick boxes greedily; arguments and result as of `nms_kernels.greedy`."""
    areas = np.prod(boxes[:, 2:] - boxes[:, :2] + offset, axis=1)  # (N,)
    alive = np.ones(len(boxes), bool)
    count = np.zeros(labels.max(initial=0) + 1, np.int64)  # (classes,)
    picked: list[int] = []
    for i, label in enumerate(labels):
        if len(picked) == max_total:
            break
        if not alive[i] or count[label] == max_per_class:
            continue
        picked.append(i)
        count[label] += 1
        rest = i + 1 + np.flatnonzero(alive[i + 1 :] & (labels[i + 1 :] == label))  # (R,)
        # (R, 2)
        sides = np.minimum(boxes[rest, 2:], boxes[i, 2:]) - np.maximum(
            boxes[rest, :2], boxes[i, :2]
        )
        inter = np.prod(np.maximum(sides + offset, 0.0), axis=1)  # (R,)
        with np.errstate(invalid="ignore"):  # two boxes without area do not overlap
            alive[rest[inter / (areas[rest] + areas[i] - inter) > iou]] = False
    return np.array(picked, np.int64)
