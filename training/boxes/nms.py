"""Exact greedy non-maximum suppression of many classes at once, in NumPy without a loop over boxes.

Which candidates enter and what their score floor is belongs to `postprocess.py`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

BLOCK = 2048
"""Candidates of one class taken in one go: bounds the pair list at some two million."""

_KEYS = 1 << 16  # sorting 16-bit keys is NumPy's radix sort, several times faster than any other
_PAIRS_AT_ONCE = 4_000_000

_Ints = npt.NDArray[np.int64]
_Floats = npt.NDArray[np.float64]


def nms(
    boxes_yxyx_px: _Floats,
    labels: _Ints,
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
        boxes_yxyx_px: (N, 4) float64 corners, finite, best first; N = 0 picks nothing.
        labels: (N,) class of each box, >= 0; boxes of different classes never meet.
        iou: Overlap above which the later box goes.
        pixel_offset: Added to widths, heights and intersections: 0 for continuous coordinates,
            1 for the convention of the published tools, which count pixels inclusively.
        max_per_class: Most boxes picked of a class; None for no limit.
        max_total: Most boxes picked over all classes.

    Returns:
        (K,) positions of the picked boxes, rising.
    """
    rank = rank_in_class(labels)
    # A class is done once its limit is reached, and most boxes survive: a little more decides nearly all.
    limit = min(v for v in (max_per_class, max_total, BLOCK) if v is not None)
    size = min(BLOCK, limit + limit // 8 + 8)
    kept = np.empty(0, np.int64)
    num_classes = int(labels.max(initial=0)) + 1
    start, longest = 0, int(rank.max(initial=-1)) + 1
    while start < longest:
        now = (rank >= start) & (rank < start + size)
        if max_per_class is not None and start:
            now &= (np.bincount(labels[kept], minlength=num_classes) < max_per_class)[labels]
        fresh = np.flatnonzero(now)
        start, size = start + size, BLOCK
        if not len(fresh):
            continue
        # Boxes kept before matter only where their class goes on.
        concerned = np.zeros(num_classes, bool)
        concerned[labels[fresh]] = True
        before = concerned[labels[kept]]
        nodes = np.concatenate([kept[before], fresh])
        num_kept = len(nodes) - len(fresh)
        high, low = _overlapping_pairs(
            boxes_yxyx_px[nodes], labels[nodes], iou, pixel_offset, nodes, num_kept
        )
        alive = _resolve(len(nodes), num_kept, high, low)
        others = kept[~before]
        kept = nodes[alive]
        if num_kept or len(others):
            kept = np.sort(np.concatenate([others, kept]))
        if max_per_class is not None:
            kept = kept[rank_in_class(labels[kept]) < max_per_class]
    return kept[:max_total]


def _overlapping_pairs(
    boxes: _Floats, labels: _Ints, iou: float, offset: float, rank: _Ints, num_kept: int
) -> tuple[_Ints, _Ints]:
    """Find the pairs of one class that overlap by more than `iou`, except pairs of kept boxes.

    Args:
        boxes: (M, 4) corners; the first `num_kept` were kept before.
        labels: (M,) classes.
        iou: Limit of the overlap.
        offset: See `nms`.
        rank: (M,) position among all candidates, which says who of a pair is better.
        num_kept: Boxes at the front that stay whatever comes.

    Returns:
        Places of the better and of the worse box of each pair.
    """
    offset_wide = boxes[:, 3] - boxes[:, 1] + offset
    order, ends = _windows(boxes[:, 1], offset_wide, labels, iou)
    # In the order of the windows the two boxes of a pair lie close together in memory.
    y1, x1, y2, x2 = np.ascontiguousarray(boxes[order].T)
    wide, tall = offset_wide[order], y2 - y1 + offset
    areas = wide * tall
    found = []
    for left, right in _near_pairs(y1, tall, ends, iou):
        inter = np.minimum(y2[left], y2[right])
        inter -= np.maximum(y1[left], y1[right])
        inter += offset
        inter_w = np.minimum(x2[left], x2[right])
        inter_w -= np.maximum(x1[left], x1[right])
        inter_w += offset
        inter = np.maximum(inter_w, 0.0) * np.maximum(inter, 0.0)
        union = areas[left] + areas[right] - inter
        over = np.flatnonzero(
            np.divide(inter, union, out=np.zeros_like(inter), where=union > 0) > iou
        )
        found.append((order[left[over]], order[right[over]]))
    left, right = (np.concatenate(side) for side in zip(*found, strict=True))
    fresh = np.maximum(left, right) >= num_kept
    left, right = left[fresh], right[fresh]
    better = rank[left] < rank[right]
    return np.where(better, left, right), np.where(better, right, left)


def _windows(x1: _Floats, wide: _Floats, labels: _Ints, iou: float) -> tuple[_Ints, _Ints]:
    """Sort boxes by class and left side, and say how far behind each one its partners can be.

    Two boxes that overlap by more than t share, along each axis, more than t of the longer side. So
    the one that starts first has the other start within (1 - t) of its own side.

    Returns:
        The order (M,), and for each box in that order the place behind its last possible partner.
    """
    # x1 in steps, so that class and place fit a 16-bit key; a window reaches two steps too far, which
    # also keeps it safe from rounding.
    num_classes = int(labels.max()) + 1
    steps = max(8, _KEYS // num_classes - 1)
    origin = x1.min()
    scale = (steps - 1) / max(float(np.ptp(x1)), 1e-9)
    key = labels * steps + ((x1 - origin) * scale).astype(np.int64)
    reach = ((1.0 - iou) * np.maximum(wide, 0.0) * scale).astype(np.int64) + 2
    narrow: Any = np.uint16 if num_classes * steps <= _KEYS else np.int64
    order = np.argsort(key.astype(narrow), kind="stable")
    behind = np.cumsum(np.bincount(key, minlength=num_classes * steps))
    last = np.minimum(key + reach, labels * steps + steps - 1)
    return order, behind[last[order]]


def _near_pairs(y1: _Floats, tall: _Floats, ends: _Ints, iou: float) -> list[tuple[_Ints, _Ints]]:
    """List the pairs within the windows whose upper sides lie close enough together.

    Args:
        y1: (M,) upper sides in the order of the windows.
        tall: (M,) heights.
        ends: (M,) the place behind each box's last partner.
        iou: Limit of the overlap.

    Returns:
        Places of the earlier and the later box of each pair, in pieces of bounded size.
    """
    lengths = ends - np.arange(1, len(ends) + 1)
    total = np.cumsum(lengths)
    top = y1.astype(np.float32)
    slack = 1e-5 * (1.0 + float(np.abs(top).max()) + float(tall.max()))
    lowest = top - np.float32(slack)
    highest = top + ((1.0 - iou) * np.maximum(tall, 0.0) + slack).astype(np.float32)
    parts: list[tuple[_Ints, _Ints]] = []
    start = 0
    while start < len(ends):
        done = total[start - 1] if start else 0
        stop = max(start + 1, int(np.searchsorted(total, done + _PAIRS_AT_ONCE, side="right")))
        counts = lengths[start:stop]
        right = _runs(np.arange(start + 1, stop + 1), counts)
        near = top[right] <= np.repeat(highest[start:stop], counts)
        near &= highest[right] >= np.repeat(lowest[start:stop], counts)
        chosen = np.flatnonzero(near)
        parts.append((np.repeat(np.arange(start, stop), counts)[chosen], right[chosen]))
        start = stop
    return parts


def _runs(first: _Ints, lengths: _Ints) -> _Ints:
    """Return first[0], first[0] + 1, ... (lengths[0] of them), then the same for the next run."""
    filled = lengths > 0
    first, lengths = first[filled], lengths[filled]
    if not len(first):
        return np.empty(0, np.int64)
    steps = np.ones(int(lengths.sum()), np.int64)
    steps[0] = first[0]
    steps[np.cumsum(lengths[:-1])] = first[1:] - first[:-1] - lengths[:-1] + 1
    return np.cumsum(steps)


def _resolve(count: int, num_kept: int, high: _Ints, low: _Ints) -> npt.NDArray[np.bool_]:
    """Decide which boxes survive, given who would remove whom; the first `num_kept` stay.

    Every round settles all boxes that no undecided better box threatens, so the rounds are as many
    as the longest chain of overlaps, not as the boxes.
    """
    alive = np.zeros(count, bool)
    alive[:num_kept] = True
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


def rank_in_class(labels: _Ints) -> _Ints:
    """Return each entry's number, from 0, among the entries with its label (N,) -> (N,)."""
    narrow = labels.astype(np.uint16) if labels.max(initial=0) < _KEYS else labels
    order = np.argsort(narrow, kind="stable")
    counts = np.bincount(labels, minlength=1)
    rank = np.empty(len(labels), np.int64)
    rank[order] = np.arange(len(labels)) - np.repeat(np.cumsum(counts) - counts, counts)
    return rank
