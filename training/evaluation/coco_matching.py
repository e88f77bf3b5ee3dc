"""COCO's matching of detections with ground truth, all images and categories at once.

Figures are made from the matches in `coco_ap.py`; the loops are compiled and stand in
`coco_kernels.py`. The rules are those of pycocotools, to the bit.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from data_tools.core.compiled import compile_now
from training.evaluation.detection_table import DetectionTable
from training.evaluation.ground_truth import GroundTruth, positions

IOU_THRESHOLDS = np.linspace(0.5, 0.95, 10)
AREA_RANGES = np.array([[0.0, 1e10], [0.0, 32.0**2], [32.0**2, 96.0**2], [96.0**2, 1e10]])
"""All, small, medium, large: COCO's names for the area of a box in pixels, bounds included."""

LIMITS = (1, 10, 100)
"""Detections per image and category that the three average recalls count."""

MAX_DETECTIONS = LIMITS[-1]
"""Detections of a category in an image that count."""

_Ints = npt.NDArray[np.int64]
_Bools = npt.NDArray[np.bool_]
_Floats = npt.NDArray[np.float64]
_Flags = npt.NDArray[np.uint16]


@dataclass(frozen=True)
class Matches:
    """What each detection of a table matched; row k is the table's row k.

    A is the area ranges. A row of flags over the overlap thresholds is one number with bit t for
    threshold t.

    Args:
        image: (D,) position of the image.
        category: (D,) position of the category.
        score: (D,) its score.
        area: (D,) its own area, in pixels.
        rank: (D,) its rank, from 0, among those of its image and category; from `MAX_DETECTIONS`
            on a detection neither counts nor matches.
        outside: (D, A) its own area lies outside the range.
        matched: (D, A) flags: it matched a box.
        matched_ignored: (D, A) flags: the box it matched does not count (crowd, or area outside).
        owner: (D,) the box that it matched at 0.5 over all areas, -1 for none.
        by_score: (D,) rows by falling score; equal scores by image, then as they come.
        order: (D,) rows by category and falling score; equal scores by image, then as they come.
        num_boxes: (C, A) boxes that count, for each category.
        best_score: (G,) score of the detection that matched each box at 0.5, over all areas, -1 if
            none.
    """

    image: _Ints
    category: _Ints
    score: _Floats
    area: _Floats
    rank: npt.NDArray[np.int32]
    outside: _Bools
    matched: _Flags
    matched_ignored: _Flags
    owner: _Ints
    by_score: _Ints
    order: _Ints
    num_boxes: _Ints
    best_score: _Floats

    @property
    def counts(self) -> _Bools:
        """(D,) whether a detection is looked at."""
        return self.rank < MAX_DETECTIONS

    def outside_of(self, low: float, high: float) -> _Bools:
        """(D,) whether a detection's own area lies outside a range, bounds included."""
        return (self.area < low) | (self.area > high)


def match(
    truth: GroundTruth, table: DetectionTable, area_ranges: npt.NDArray[np.float64] = AREA_RANGES
) -> Matches:
    """Match every detection, best first, with the free box it overlaps most.

    Boxes that count come before boxes that do not; a crowd may be matched any number of times, and
    the overlap with it is the share of the detection that lies in it. Among equal overlaps the box
    that stands last in the file wins, as in pycocotools.

    Args:
        truth: The boxes.
        table: The detections, sorted by image.
        area_ranges: (A, 2) areas in pixels, bounds included; the first is that of all boxes.

    Raises:
        DataError: If a detection names an image or a category that the ground truth does not know.
    """
    image = positions(truth.image_ids, table.image_id, "image_id of a detection")
    category = positions(truth.category_ids, table.category_id, "category_id of a detection")
    boxes = np.ascontiguousarray(table.boxes_xywh_px, np.float64)
    area = boxes[:, 2] * boxes[:, 3]
    loops, num_categories = kernels(), len(truth.category_ids)
    by_score = np.argsort(-table.score, kind="stable")
    order = loops.order_by(by_score, category, num_categories)
    ignored = truth.iscrowd[:, None] | _outside(truth.area, area_ranges)
    by_category = loops.order_by(np.arange(len(truth.area)), truth.category, num_categories)
    rank, matched, matched_ignored, owner = loops.match(
        loops.order_by(order, image, truth.num_images),
        image,
        category,
        boxes,
        MAX_DETECTIONS,
        IOU_THRESHOLDS,
        loops.order_by(by_category, truth.image, truth.num_images),
        truth.image,
        truth.category,
        truth.boxes_xywh_px,
        truth.iscrowd,
        ignored,
    )
    best_score = np.full(len(truth.area), -1.0)
    # The best of those that matched a crowd is written last.
    with_owner = order[::-1][owner[order[::-1]] >= 0]
    best_score[owner[with_owner]] = table.score[with_owner]
    num_boxes = np.stack(
        [
            np.bincount(truth.category[~ignored[:, a]], minlength=num_categories)
            for a in range(len(area_ranges))
        ],
        axis=1,
    )
    return Matches(
        image=image,
        category=category,
        score=table.score,
        area=area,
        rank=rank,
        outside=_outside(area, area_ranges),
        matched=matched,
        matched_ignored=matched_ignored,
        owner=owner,
        by_score=by_score,
        order=order,
        num_boxes=num_boxes,
        best_score=best_score,
    )


def _outside(area: _Floats, area_ranges: _Floats) -> _Bools:
    return (area[:, None] < area_ranges[:, 0]) | (area[:, None] > area_ranges[:, 1])


@functools.cache
def kernels() -> Any:
    """Import the compiled loops, and compile them or load what is kept."""
    from training.evaluation import coco_kernels as loops

    def try_out() -> None:
        zero, box, flags = np.zeros(1, np.int64), np.ones((1, 4)), np.zeros((1, 1), bool)
        order = loops.order_by(zero, zero, 1)
        thresholds, crowd = IOU_THRESHOLDS, np.zeros(1, bool)
        rank, matched, ignored, _ = loops.match(
            order, zero, zero, box, 1, thresholds, order, zero, zero, box, crowd, flags
        )
        ones, recalls = np.ones((1, 1), np.int64), np.zeros(1)
        loops.accumulate(
            order, zero, rank, matched, ignored, flags, ones, ones[0], recalls, len(thresholds)
        )

    compile_now(try_out, (loops.order_by, loops.overlap, loops.match, loops.accumulate))
    return loops
