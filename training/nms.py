"""Exact greedy non-maximum suppression of many classes at once, in NumPy without a loop over boxes.

Which candidates enter and what their score floor is belongs to `postprocess.py`.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

BLOCK = 2048
"""Candidates taken in one go: bounds the memory of the pair list at a few tens of MB."""

_Ints = npt.NDArray[np.int64]
_Floats = npt.NDArray[np.float64]


def nms(
    boxes_yxyx_px: npt.NDArray[np.float64],
    labels: npt.NDArray[np.int64],
    iou: float,
    *,
    pixel_offset: float = 0.0,
    max_per_class: int | None = None,
    max_total: int | None = None,
) -> _Ints:
    """Pick boxes greedily: a box goes if a picked one of its class, ranked before it, overlaps it.

    The result is that of the textbook loop over every class, to the last box: overlaps are computed in
    float64 with the loop's own formula, and a box goes when its overlap is strictly above `iou`.

    Args:
        boxes_yxyx_px: (N, 4) float64 corners, best first; N = 0 picks nothing.
        labels: (N,) class of each box; boxes of different classes never meet.
        iou: Overlap above which the later box goes.
        pixel_offset: Added to widths, heights and intersections: 0 for continuous coordinates,
            1 for the convention of the published tools, which count pixels inclusively.
        max_per_class: Most boxes picked of a class; None for no limit.
        max_total: Most boxes picked over all classes; the rest is not looked at.

    Returns:
        (K,) positions of the picked boxes, rising.
    """
    count = len(boxes_yxyx_px)
    kept = np.empty(0, np.int64)
    # With a limit on the total, a few hundred candidates nearly always decide.
    size = BLOCK if max_total is None else min(BLOCK, max(256, 4 * max_total))
    start = 0
    while start < count and (max_total is None or len(kept) < max_total):
        block = np.arange(start, min(start + size, count))
        nodes = np.concatenate([kept, block])
        high, low = _overlapping_pairs(
            boxes_yxyx_px[nodes], labels[nodes], iou, pixel_offset, first_new=len(kept)
        )
        alive = _resolve(len(nodes), len(kept), high, low)
        kept = nodes[alive]
        if max_per_class is not None:
            kept = kept[_rank_in_class(labels[kept]) < max_per_class]
        start += size
        size = BLOCK
    return kept if max_total is None else kept[:max_total]


def _overlapping_pairs(
    boxes: _Floats,
    labels: npt.NDArray[np.int64],
    iou: float,
    offset: float,
    first_new: int,
) -> tuple[_Ints, _Ints]:
    """Find the pairs of one class that overlap by more than `iou`, with a box from `first_new` on.

    Returns:
        Positions of the better and of the worse box of each pair.
    """
    y1, x1, y2, x2 = np.ascontiguousarray(boxes.T)
    wide, tall = x2 - x1 + offset, y2 - y1 + offset
    left, right = _near_pairs(y1, x1, tall, wide, labels, iou)
    high, low = np.minimum(left, right), np.maximum(left, right)
    fresh = low >= first_new
    high, low = high[fresh], low[fresh]
    areas = wide * tall
    inter_w = np.minimum(x2[high], x2[low]) - np.maximum(x1[high], x1[low]) + offset
    inter_h = np.minimum(y2[high], y2[low]) - np.maximum(y1[high], y1[low]) + offset
    inter = np.maximum(inter_w, 0.0) * np.maximum(inter_h, 0.0)
    union = areas[high] + areas[low] - inter
    over = np.divide(inter, union, out=np.zeros_like(inter), where=union > 0) > iou
    return high[over], low[over]


def _near_pairs(
    y1: _Floats, x1: _Floats, tall: _Floats, wide: _Floats, labels: _Ints, iou: float
) -> tuple[_Ints, _Ints]:
    """List every pair of one class that could overlap by more than `iou`, and few others.

    Two boxes that overlap by more than t share, along each axis, more than t of the longer side. So
    the one that starts first has the other start within (1 - t) of its own side: a window in the
    order of x1, and a bound on y1 either way. Float32 is enough here, with slack for its rounding.
    """
    slack = 1e-5 * (1.0 + np.abs(x1).max() + np.abs(y1).max() + wide.max() + tall.max())
    reach_x = (1.0 - iou) * np.maximum(wide, 0.0) + slack
    origin = x1.min()
    spacing = (x1.max() - origin) + reach_x.max() + slack
    key = labels * spacing + (x1 - origin)
    order = np.argsort(key, kind="stable")
    key, reach_x = key[order], reach_x[order]
    ends = np.searchsorted(key, key + reach_x, side="right")
    position = np.arange(len(order))
    lengths = ends - position - 1
    left = np.repeat(position, lengths)
    right = np.arange(len(left)) + np.repeat(ends - np.cumsum(lengths), lengths)
    top = y1[order].astype(np.float32)
    reach_y = ((1.0 - iou) * np.maximum(tall[order], 0.0) + slack).astype(np.float32)
    below = top[right]
    near = below <= np.repeat(top + reach_y, lengths)
    near &= below + reach_y[right] >= np.repeat(top, lengths)
    return order[left[near]], order[right[near]]


def _resolve(count: int, first_new: int, high: _Ints, low: _Ints) -> npt.NDArray[np.bool_]:
    """Decide which boxes survive, given who would remove whom; boxes before `first_new` stay.

    Every round settles all boxes that no undecided better box threatens, so the rounds are as many
    as the longest chain of overlaps, not as the boxes.
    """
    alive = np.zeros(count, bool)
    alive[:first_new] = True
    undecided = ~alive
    while True:
        undecided[low[alive[high]]] = False
        both_open = undecided[high] & undecided[low]
        high, low = high[both_open], low[both_open]
        if not len(high):
            return alive | undecided
        threatened = np.zeros(count, bool)
        threatened[low] = True
        alive |= undecided & ~threatened
        undecided &= threatened


def _rank_in_class(labels: _Ints) -> _Ints:
    """Return each entry's number, from 0, among the entries with its label."""
    order = np.argsort(labels, kind="stable")
    grouped = labels[order]
    first = np.searchsorted(grouped, grouped, side="left")
    rank = np.empty(len(labels), np.int64)
    rank[order] = np.arange(len(labels)) - first
    return rank
