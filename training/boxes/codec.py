"""Ground truth to regression targets and labels per anchor, and regressions back to boxes: NumPy.

The anchors themselves are made in `nets/anchors.py`; the graph's own decoding is in
`inference/detection_cell.py`, that of bins in `nets/box_bins.py`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from data_tools.core.boxes import inside_fraction, yxyx_from_cyxhw
from data_tools.pipeline.settings import PipelineSettings
from training.boxes.atss import AtssMatcher
from training.boxes.encode_one import encode_one
from training.boxes.matching import Indices, Matcher
from training.nets.settings import PRIOR_SCALING, ModelSettings

FloatArray = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.int32]

_SMALLEST_SIDE = np.float32(1e-6)  # of a box relative to its anchor, before the logarithm


class BoxEncoder:
    """Matches boxes with anchors and encodes them; the pipeline's encoder.

    An anchor is positive for a box when their overlap (IoU) is above `threshold`, or when it is the
    box's best anchor (the first of equals) whatever the overlap. Where several boxes want an
    anchor, the higher overlap wins, a forced match counts as 2, and of equals the first box keeps
    it.

    Crowd boxes are never positive. Anchors of which more than `crowd_ignore` lies on one crowd
    region get label -1, unless they are positive. May be shared by threads, and pickled.

    Args:
        default_boxes_cyxhw_rel: (A, 4) float32 anchors.
        threshold: Overlap above which an anchor is positive.
        prior_scaling: Scale of centre and of size regression.
        crowd_ignore: Share of an anchor; 1 turns ignoring off.
        corners_yxyx_rel: (A, 4) float32, the same anchors as corners, where their last bit matters
            (`corners.py`); None takes them from `default_boxes_cyxhw_rel`.
        levels: Rows, columns and boxes per cell of each level, if the anchors are such grids: the
            same matches, faster where there are many anchors.
        atss: Match by `AtssMatcher` instead; it needs `levels`.
    """

    def __init__(
        self,
        default_boxes_cyxhw_rel: npt.ArrayLike,
        threshold: float = ModelSettings.match_threshold,
        prior_scaling: Sequence[float] = PRIOR_SCALING,
        crowd_ignore: float = PipelineSettings.crowd_ignore,
        corners_yxyx_rel: npt.ArrayLike | None = None,
        levels: Sequence[tuple[int, int, int]] | None = None,
        atss: bool = False,
    ) -> None:
        self.anchors_cyxhw = np.ascontiguousarray(default_boxes_cyxhw_rel, dtype=np.float32)
        if self.anchors_cyxhw.ndim != 2 or self.anchors_cyxhw.shape[1] != 4:
            raise ValueError(
                f"default boxes have shape {self.anchors_cyxhw.shape}, expected (A, 4)"
            )
        corners = (
            yxyx_from_cyxhw(self.anchors_cyxhw) if corners_yxyx_rel is None else corners_yxyx_rel
        )
        self.anchors_yxyx = np.ascontiguousarray(corners, dtype=np.float32)
        self.prior_scaling = tuple(float(scale) for scale in prior_scaling)
        self.crowd_ignore = crowd_ignore
        self.threshold = threshold
        self.matcher: Matcher | AtssMatcher
        if atss and levels is not None:
            self.matcher = AtssMatcher(self.anchors_yxyx, self.anchors_cyxhw, levels)
        else:
            self.matcher = Matcher(self.anchors_yxyx, self.anchors_cyxhw, threshold, levels)

    @property
    def num_anchors(self) -> int:
        """A, the number of anchors."""
        return len(self.anchors_cyxhw)

    def __call__(
        self,
        boxes_yxyx_rel: npt.NDArray[np.float32],
        labels: npt.NDArray[np.integer],
        iscrowd: npt.NDArray[np.bool_] | None = None,
    ) -> tuple[FloatArray, IntArray]:
        """Encode the boxes of one image.

        Args:
            boxes_yxyx_rel: (N, 4) float32, relative to the network's input, positive area; N may be
                0.
            labels: (N,) 1..C.
            iscrowd: (N,) bool; None for no crowd regions.

        Returns:
            loc_targets (A, 4) float32, `[cy, cx, h, w]` regressions of positives and 0 elsewhere,
            and labels (A,) int32: 0 background, 1..C positive, -1 ignored.
        """
        return encode_one(self, boxes_yxyx_rel, labels, iscrowd)

    def encode_batch(
        self,
        boxes_yxyx_rel: FloatArray,
        labels: IntArray,
        iscrowd: npt.NDArray[np.bool_],
        images: Indices,
        loc_targets: FloatArray,
        anchor_labels: IntArray,
    ) -> None:
        """Encode the boxes of several images into a batch's arrays.

        Args:
            boxes_yxyx_rel: (N, 4) float32, the boxes of all images, as for `__call__`.
            labels: (N,) 1..C.
            iscrowd: (N,) bool.
            images: (N,) the image of each box, 0..B-1, rising.
            loc_targets: (B, A, 4) float32, written to.
            anchor_labels: (B, A) int32, written to.
        """
        loc_targets.fill(0)
        anchor_labels.fill(0)
        boxes, crowd = boxes_yxyx_rel, iscrowd
        if crowd.any():
            for region, image in zip(boxes[crowd], images[crowd], strict=True):
                self._ignore_crowd(region, anchor_labels[image])
            boxes, labels, images = boxes[~crowd], labels[~crowd], images[~crowd]
        image, anchor, box = self.matcher.match_batch(boxes, images)  # (P,) each
        anchor_labels[image, anchor] = labels[box]
        loc_targets[image, anchor] = encode_boxes(
            boxes[box], self.anchors_cyxhw[anchor], self.prior_scaling
        )

    def match(self, boxes_yxyx_rel: FloatArray) -> tuple[Indices, Indices]:
        """Positive anchors of one image, rising, and the box of each; see `Matcher.match`."""
        return self.matcher.match(boxes_yxyx_rel)

    def _ignore_crowd(self, region: FloatArray, anchor_labels: IntArray) -> None:
        if self.crowd_ignore < 1:
            covered = inside_fraction(self.anchors_yxyx, region[None])[:, 0]
            anchor_labels[covered > self.crowd_ignore] = -1


def encode_boxes(
    boxes_yxyx_rel: FloatArray,
    anchors_cyxhw_rel: FloatArray,
    prior_scaling: Sequence[float] = PRIOR_SCALING,
) -> FloatArray:
    """Regression targets of boxes against their anchors: (P, 4) and (P, 4) -> (P, 4) `[cy, cx, h,
    w]`.
    """
    low, high = boxes_yxyx_rel[:, :2], boxes_yxyx_rel[:, 2:]  # (P, 2) each
    centres, sizes = anchors_cyxhw_rel[:, :2], anchors_cyxhw_rel[:, 2:]  # (P, 2) each
    targets = np.empty((len(low), 4), np.float32)
    targets[:, :2] = ((low + high) / 2 - centres) / (sizes * np.float32(prior_scaling[0]))
    relative = np.maximum((high - low) / sizes, _SMALLEST_SIDE)
    targets[:, 2:] = np.log(relative) / np.float32(prior_scaling[1])
    return targets


def decode_boxes(
    loc: FloatArray,
    default_boxes_cyxhw_rel: FloatArray,
    prior_scaling: Sequence[float] = PRIOR_SCALING,
) -> FloatArray:
    """Boxes that regressions stand for, not clipped.

    Args:
        loc: (..., A, 4) float32 `[cy, cx, h, w]` regressions.
        default_boxes_cyxhw_rel: (A, 4) float32 anchors.
        prior_scaling: Scale of centre and of size regression.

    Returns:
        (..., A, 4) float32 `[y1, x1, y2, x2]`, relative to the image.
    """
    anchors = np.asarray(default_boxes_cyxhw_rel, np.float32)
    centres = anchors[:, :2] + loc[..., :2] * np.float32(prior_scaling[0]) * anchors[:, 2:]
    sizes = anchors[:, 2:] * np.exp(loc[..., 2:] * np.float32(prior_scaling[1]))
    return np.concatenate([centres - sizes / 2, centres + sizes / 2], axis=-1).astype(np.float32)
