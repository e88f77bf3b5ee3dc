"""How well a model's default boxes cover the objects of a data set: what it can be taught to see at
all.

Works on any (A, 4) default boxes; which model they belong to is the caller's business.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from data_tools.core.boxes import iou, yxyx_from_cyxhw

SIZES = ("small", "medium", "large")
"""By COCO's limits: area below 32 x 32 pixels, below 96 x 96, above."""

_MATCHED = 0.5
_NEAR = 0.4


@dataclass(frozen=True)
class BestMatches:
    """For each object its best default box: arrays of length B.

    Args:
        overlap: float32, the best IoU.
        lost: bool, best IoU below 0.5 and the same default box is an earlier object's best as well:
            the object is matched to nothing.
    """

    overlap: npt.NDArray[np.float32]
    lost: npt.NDArray[np.bool_]


def best_matches(
    boxes_yxyx_rel: npt.NDArray[np.float32], default_boxes_cyxhw_rel: npt.NDArray[np.float32]
) -> BestMatches:
    """Find the best default box of each object of one image.

    Args:
        boxes_yxyx_rel: (N, 4) in 0..1.
        default_boxes_cyxhw_rel: (A, 4), not clipped to the image, as in training.
    """
    anchors = yxyx_from_cyxhw(default_boxes_cyxhw_rel)
    overlaps = iou(boxes_yxyx_rel.astype(np.float32), anchors.astype(np.float32))
    best = overlaps.argmax(axis=1)
    overlap = overlaps[np.arange(len(best)), best].astype(np.float32)
    first = np.zeros(len(best), bool)
    first[np.unique(best, return_index=True)[1]] = True
    return BestMatches(overlap, ~first & (overlap < _MATCHED))


def size_of(areas_px: npt.ArrayLike) -> npt.NDArray[np.intp]:
    """Return for each area in pixels the index of its size in `SIZES`."""
    return np.digitize(np.asarray(areas_px), [32.0**2, 96.0**2])


def coverage_table(
    matches: BestMatches, areas_px: npt.NDArray[np.float64]
) -> dict[str, dict[str, float]]:
    """Summarise matches by object size.

    Args:
        matches: Of B objects.
        areas_px: (B,) areas in pixels of the original images.

    Returns:
        `all`, `small`, `medium`, `large` -> `objects` (a count), and shares in 0..1:
        `at_least_0.5`, `at_least_0.4`, `forced_only` (matched only because it was the object's
        best), `unmatched`; and `mean_overlap`.
    """
    sizes = size_of(areas_px)
    groups = {"all": np.ones(len(sizes), bool)}
    groups |= {name: sizes == k for k, name in enumerate(SIZES)}
    table = {}
    for name, mask in groups.items():
        overlap, lost = matches.overlap[mask], matches.lost[mask]
        count = int(mask.sum())
        table[name] = {
            "objects": count,
            "at_least_0.5": _share(overlap >= _MATCHED),
            "at_least_0.4": _share(overlap >= _NEAR),
            "forced_only": _share((overlap < _MATCHED) & ~lost),
            "unmatched": _share(lost),
            "mean_overlap": round(float(overlap.mean()), 4) if count else 0.0,
        }
    return table


def _share(mask: npt.NDArray[np.bool_]) -> float:
    return round(float(mask.mean()), 4) if len(mask) else 0.0
