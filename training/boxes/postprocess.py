"""Scores and boxes of the network to detections in pixels, under a named protocol.

The suppression itself is in `nms.py`; what detections are worth is `evaluation/evaluate.py`'s
matter.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from training.boxes.nms import best_first, candidates, nms
from training.evaluation.settings import ONE_NAME_IOU, EvaluateSettings


@dataclass(frozen=True)
class Protocol:
    """A way to turn scores into detections.

    Args:
        name: What figures under this protocol are labelled with.
        score_floor: A detection scores strictly more than this.
        nms_iou: Overlap within a class above which the lower score goes.
        pixel_offset: 0 for continuous coordinates; 1 counts pixels inclusively.
        max_per_class: Most detections of a class in an image; None for no limit.
        max_per_image: Most detections in an image over all classes; None for no limit.
        candidates_per_class: Boxes of a class that suppression looks at, the best; None for all.
        one_name_iou: One object, one name: a box keeps its best class only, and of boxes that
            overlap more than this the best stays, whatever their classes; None lets classes
            overlap, as metrics do.
    """

    name: str
    score_floor: float
    nms_iou: float
    pixel_offset: float = 0.0
    max_per_class: int | None = None
    max_per_image: int | None = EvaluateSettings.max_detections
    candidates_per_class: int | None = None
    one_name_iou: float | None = None


PUBLISHED = Protocol("published", 0.1, 0.6, 1.0, max_per_class=100, max_per_image=1000)
"""What the published SSD tools do: floor 0.1, NMS at 0.6 counting pixels inclusively, 100 a class.

They have no limit per image. No trained network comes near ours; it bounds the memory of evaluating
an untrained one, which finds 100 of every class on every image.
"""


def coco_protocol(settings: EvaluateSettings) -> Protocol:
    """Return the `coco` protocol with the user's floor, NMS overlap and number of detections."""
    return Protocol(
        "coco",
        settings.score_floor,
        settings.nms_iou,
        max_per_image=settings.max_detections,
        candidates_per_class=settings.candidates_per_class,
    )


@dataclass(frozen=True)
class Detections:
    """Detections of one image, ordered by score (falling), then label, then anchor.

    Args:
        boxes_yxyx_px: (K, 4) float64 corners in pixels of the image, clipped to it.
        scores: (K,) float32 in 0..1.
        labels: (K,) int32, 1..C.
    """

    boxes_yxyx_px: npt.NDArray[np.float64]
    scores: npt.NDArray[np.float32]
    labels: npt.NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.scores)

    def of(self, labels: Collection[int], most: int) -> Detections:
        """Return the first `most` detections whose label is one of `labels`."""
        keep = np.flatnonzero(np.isin(self.labels, list(labels)))[:most]
        return Detections(self.boxes_yxyx_px[keep], self.scores[keep], self.labels[keep])


def detect(
    boxes_yxyx_rel: npt.NDArray[np.float32],
    scores: npt.NDArray[np.float32],
    height: int,
    width: int,
    protocol: Protocol,
) -> Detections:
    """Turn one image's network output into detections.

    The order is fixed, also between equal scores, so equal input gives equal output everywhere.

    Args:
        boxes_yxyx_rel: (A, 4) decoded corners, relative to the image, clipped to 0..1.
        scores: (A, C + 1) class scores; column 0 is background and not looked at.
        height: Height of the image in pixels.
        width: Width of the image in pixels.
        protocol: Floor, overlap and limits.

    Returns:
        The detections; none is fine. Scores or boxes that are not finite never become detections.
    """
    usable = np.isfinite(boxes_yxyx_rel).all(axis=1)  # (A,) bool
    # (N,) each, classes from 0
    anchors, classes, values = candidates(scores, usable, protocol.score_floor)
    best = best_first(values)  # (N,) order by score
    if protocol.one_name_iou is not None:
        # Of each anchor its best class, in the same order.
        best = best[np.sort(np.unique(anchors[best], return_index=True)[1])]
    if protocol.candidates_per_class is not None:
        best = _first_of_each(best, classes, protocol.candidates_per_class)
    anchors, classes = anchors[best], classes[best]  # (M,) each
    boxes_px = boxes_yxyx_rel.astype(np.float64) * [height, width, height, width]  # (A, 4)
    boxes = boxes_px.take(anchors, axis=0)  # several times as fast as boxes_px[anchors]
    picked = nms(  # (K,) of the M
        boxes,
        classes,
        protocol.nms_iou,
        pixel_offset=protocol.pixel_offset,
        max_per_class=protocol.max_per_class,
        max_total=protocol.max_per_image if protocol.one_name_iou is None else None,
    )
    if protocol.one_name_iou is not None:
        rest = boxes.take(picked, axis=0)  # (K, 4)
        picked = picked[one_name(rest, protocol.one_name_iou)[: protocol.max_per_image]]
    return Detections(
        boxes.take(picked, axis=0),
        values[best[picked]],
        (classes[picked] + 1).astype(np.int32),
    )


def one_name(
    boxes_yxyx_px: npt.NDArray[np.float64], iou: float = ONE_NAME_IOU
) -> npt.NDArray[np.int64]:
    """Pick of boxes that overlap the best, whatever their classes; for what people look at, not for
    metrics.

    Args:
        boxes_yxyx_px: (N, 4) float64 corners, best first; within each class already suppressed.
        iou: Overlap above which the later box goes, > 0.

    Returns:
        (K,) int64 positions of the picked boxes, rising.
    """
    return nms(boxes_yxyx_px, np.zeros(len(boxes_yxyx_px), np.int64), iou)


def _first_of_each(
    rows: npt.NDArray[np.int64], classes: npt.NDArray[np.integer], most: int
) -> npt.NDArray[np.int64]:
    """Keep of rows that are in falling order of score the first `most` of each class, in that
    order.
    """
    order = np.argsort(classes[rows], kind="stable")
    sorted_classes = classes[rows][order]
    rank = np.arange(len(order)) - np.searchsorted(sorted_classes, sorted_classes)
    return rows[np.sort(order[rank < most])]
