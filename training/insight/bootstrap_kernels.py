"""The compiled loop of the bootstrap: AP of a set in which every image stands a given number of
times.

Importing it imports Numba, and the first call compiles (kept on disk). Who calls it is
`compare_runs.py`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from data_tools.core.compiled import compiled

Ints = NDArray[np.int64]


@compiled()
def weighted_precision(
    first: Ints, image: NDArray[np.int32], special: Ints, first_special: Ints,
    hits: NDArray[np.uint16], ignored: NDArray[np.uint16], first_box: Ints,
    box_image: NDArray[np.int32], weights: NDArray[np.int32],
    recalls: NDArray[np.float64], num_thresholds: int,
) -> Any:  # fmt: skip
    """Average precision of each class and threshold, for one draw of images.

    An image that was drawn w times counts as w copies; the copies of a detection follow each other.

    Args:
        first: (C + 1,) where the detections of each class begin; within a class best first.
        image: (D,) position of each detection's image.
        special: (S,) detections that are not just wrong at every threshold, rising.
        first_special: (C + 1,) where the special ones of each class begin.
        hits: (S,) flags over the thresholds, bit t for threshold t: it found a box that counts.
        ignored: (S,) flags: it does not count.
        first_box: (C + 1,) where the boxes of each class begin.
        box_image: (G,) position of the image of each box that counts.
        weights: (I,) times that each image was drawn.
        recalls: (R,) rising.
        num_thresholds: T.

    Returns:
        (T, C) AP; -1 for a class without a box in the draw.
    """
    num_classes = len(first) - 1
    result = np.full((num_thresholds, num_classes), -1.0)
    longest = 1
    for c in range(num_classes):
        longest = max(longest, first_special[c + 1] - first_special[c])
    precision = np.empty((num_thresholds, longest), np.float64)
    reached = np.empty((num_thresholds, longest), np.int64)
    for c in range(num_classes):
        total = 0
        for g in range(first_box[c], first_box[c + 1]):
            total += weights[box_image[g]]
        if total == 0:
            continue
        count = np.zeros(num_thresholds, np.int64)
        true = np.zeros(num_thresholds, np.int64)
        left_out = np.zeros(num_thresholds, np.int64)
        seen, done = 0, first[c]  # all detections so far, whatever they are
        for s in range(first_special[c], first_special[c + 1]):
            weight = weights[image[special[s]]]
            if weight == 0:
                continue
            for d in range(done, special[s] + 1):
                seen += weights[image[d]]
            done = special[s] + 1
            t, hit_bits = 0, hits[s]
            while hit_bits:
                if hit_bits & 1:
                    true[t] += weight
                    # Of copies that all are right the last one has the highest precision and
                    # recall.
                    precision[t, count[t]] = true[t] / (seen - left_out[t] + np.spacing(1.0))
                    reached[t, count[t]] = true[t]
                    count[t] += 1
                hit_bits >>= 1
                t += 1
            if ignored[s]:
                for t in range(num_thresholds):
                    left_out[t] += weight * (ignored[s] >> t & 1)
        for t in range(num_thresholds):
            for h in range(count[t] - 2, -1, -1):
                precision[t, h] = max(precision[t, h], precision[t, h + 1])
            summed, h = 0.0, 0
            for recall in recalls:
                while h < count[t] and reached[t, h] / total < recall:
                    h += 1
                if h == count[t]:
                    break
                summed += precision[t, h]
            result[t, c] = summed / len(recalls)
    return result
