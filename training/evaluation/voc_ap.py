"""VOC's average precision: 11-point (2007) and area under the curve (2010 on), at an overlap of
0.5.

COCO's measure is in `coco_ap.py`. Boxes are continuous here (a 1-based inclusive VOC box has lost
its pixel of difference at conversion), so overlaps need no extra pixel to be the devkit's.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from training.evaluation.detection_table import DetectionTable
from training.evaluation.ground_truth import GroundTruth, positions

IOU = 0.5

_Floats = npt.NDArray[np.float64]
_Bools = npt.NDArray[np.bool_]
_Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class VocScores:
    """AP of every category, -1 where it has no box that counts.

    Args:
        ap_2007: (C,) mean of the best precision at recalls 0, 0.1, ... 1.
        ap_2010: (C,) area under the precision made monotone.
    """

    ap_2007: _Floats
    ap_2010: _Floats

    def means(self) -> dict[str, float]:
        """Return the means over categories with boxes as `AP2007` and `AP2010`; -1 without any."""
        values = {"AP2007": self.ap_2007, "AP2010": self.ap_2010}
        return {k: float(v[v >= 0].mean()) if (v >= 0).any() else -1.0 for k, v in values.items()}


def voc_scores(truth: GroundTruth, table: DetectionTable) -> VocScores:
    """Score detections VOC's way: each belongs to the box it overlaps most, the best one takes it.

    Difficult boxes, and crowds, count neither as found nor as missed, nor do detections of them.
    """
    category = positions(truth.category_ids, table.category_id, "category_id of a detection")
    image = positions(truth.image_ids, table.image_id, "image_id of a detection")
    ignored = truth.difficult | truth.iscrowd
    num_categories = len(truth.category_ids)
    ap_2007, ap_2010 = -np.ones(num_categories), -np.ones(num_categories)
    for c in range(num_categories):
        boxes = np.flatnonzero(truth.category == c)
        count = int((~ignored[boxes]).sum())
        if not count:
            continue
        rows = np.flatnonzero(category == c)
        rows = rows[np.argsort(-table.score[rows], kind="stable")]
        owner = _best_box(
            table.boxes_xywh_px[rows], image[rows], truth.boxes_xywh_px[boxes], truth.image[boxes]
        )
        hit, counted = _first_takes(owner, ignored[boxes])
        recall, precision = _curve(hit[counted], count)
        ap_2007[c] = average_2007(recall, precision)
        ap_2010[c] = average_2010(recall, precision)
    return VocScores(ap_2007, ap_2010)


def _best_box(boxes: _Floats, image: _Ints, truth_boxes: _Floats, truth_image: _Ints) -> _Ints:
    """Return, for each detection, the box of its image it overlaps most, -1 below 0.5."""
    # Both lists are sorted by image or scattered; pairs are made per image through a search.
    order = np.argsort(truth_image, kind="stable")  # (G,)
    first = np.searchsorted(truth_image[order], image, side="left")  # (D,)
    lengths = np.searchsorted(truth_image[order], image, side="right") - first  # (D,)
    d = np.repeat(np.arange(len(image)), lengths)  # (P,) the detection of each pair
    # (P,) and its box
    g = order[np.arange(len(d)) - np.repeat(np.cumsum(lengths) - lengths, lengths) + first[d]]
    a, b = boxes[d], truth_boxes[g]  # (P, 4) each
    # (P, 2)
    near = np.minimum(a[:, :2] + a[:, 2:], b[:, :2] + b[:, 2:]) - np.maximum(a[:, :2], b[:, :2])
    inter = np.maximum(near, 0.0).prod(axis=1)  # (P,)
    union = a[:, 2] * a[:, 3] + b[:, 2] * b[:, 3] - inter
    overlap = np.divide(inter, union, out=np.zeros_like(inter), where=union > 0)  # (P,)
    # Of equal overlaps the first box wins: sort so that it comes first within its detection.
    ranked = np.lexsort((g, -overlap, d))  # (P,)
    d, g, overlap = d[ranked], g[ranked], overlap[ranked]
    owner = np.full(len(image), -1, np.int64)  # (D,)
    # (detections with a box in their image,) each
    detection, start = np.unique(d, return_index=True)
    good = overlap[start] >= IOU  # bool
    owner[detection[good]] = g[start[good]]
    return owner


def _first_takes(owner: _Ints, ignored: _Bools) -> tuple[_Bools, _Bools]:
    """Return which detections (best first) are hits, and which count at all."""
    hit = np.zeros(len(owner), bool)
    counted = np.ones(len(owner), bool)
    claims = np.flatnonzero(owner >= 0)
    counted[claims] = ~ignored[owner[claims]]
    _, first = np.unique(owner[claims], return_index=True)
    hit[claims[first]] = True
    return hit & counted, counted


def _curve(hit: _Bools, count: int) -> tuple[_Floats, _Floats]:
    hits = np.cumsum(hit, dtype=np.float64)
    return hits / count, hits / np.arange(1, len(hits) + 1)


def average_2007(recall: _Floats, precision: _Floats) -> float:
    """Mean over recalls 0, 0.1, ... 1 of the best precision at that recall or above.

    Args:
        recall: (K,) rising.
        precision: (K,) precision at each recall.

    >>> round(average_2007(np.array([0.5, 1.0]), np.array([1.0, 0.5])), 6)
    0.772727
    """
    best = [precision[recall >= level] for level in np.arange(11) / 10]
    return float(np.mean([b.max() if len(b) else 0.0 for b in best]))


def average_2010(recall: _Floats, precision: _Floats) -> float:
    """Area under the precision curve after making it fall only.

    Args:
        recall: (K,) rising.
        precision: (K,) precision at each recall.

    >>> average_2010(np.array([0.5, 1.0]), np.array([1.0, 0.5]))
    0.75
    """
    steps = np.concatenate([[0.0], recall])
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    return float(np.sum(np.diff(steps) * envelope))
