"""Exact greedy non-maximum suppression of many classes at once, and the candidates that enter it,
in order.

The loops are compiled and stand in `nms_kernels.py`; until those are loaded, NumPy's in
`nms_plain.py` do the same. Which floor and limits hold belongs to `postprocess.py`.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import threading
from typing import Any

import numpy as np
import numpy.typing as npt

from data_tools.core.compiled import compile_now
from training.boxes import nms_plain

_Ints = npt.NDArray[np.int64]
_Floats = npt.NDArray[np.float64]

_FIRST_CALLS = 16
"""Calls (three or four an image) that are worth no compiled loops."""

_SMALL = 4096
"""Scores or boxes up to which NumPy's loops may be taken."""

_calls = itertools.count(1)


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

    Overlaps are computed in float64, and a box goes when its overlap is strictly above `iou`.

    Args:
        boxes_yxyx_px: (N, 4) float64 corners, finite, best first; N = 0 picks nothing.
        labels: (N,) class of each box, >= 0; boxes of different classes never meet.
        iou: Overlap above which the later box goes, > 0.
        pixel_offset: Added to widths, heights and intersections: 0 for continuous coordinates,
            1 for the convention of the published tools, which count pixels inclusively.
        max_per_class: Most boxes picked of a class; None for no limit.
        max_total: Most boxes picked over all classes; None for no limit.

    Returns:
        (K,) int64 positions of the picked boxes, rising.
    """
    limits = [len(labels) if limit is None else limit for limit in (max_per_class, max_total)]
    boxes = np.ascontiguousarray(boxes_yxyx_px, np.float64)
    classes = np.ascontiguousarray(labels, np.int64)
    picked: _Ints = _loops(len(labels)).greedy(
        boxes, classes, float(iou), float(pixel_offset), *limits
    )
    return picked


def candidates(
    scores: npt.NDArray[np.float32], usable: npt.NDArray[np.bool_], floor: float
) -> tuple[_Ints, _Ints, npt.NDArray[np.float32]]:
    """List the scores above the floor, by class and within a class by anchor.

    Args:
        scores: (A, C + 1) scores; column 0 is background and not looked at.
        usable: (A,) whether the anchor's box can become a detection.
        floor: A candidate scores strictly more, as float32, and is finite.

    Returns:
        (N,) anchors, (N,) classes from 0, (N,) scores.
    """
    contiguous = np.ascontiguousarray(scores, np.float32)
    result: tuple[Any, Any, Any] = _loops(0).candidates(contiguous, usable, np.float32(floor))
    return result


def best_first(scores: npt.NDArray[np.float32]) -> _Ints:
    """Return the positions of the scores (N,), all >= 0, falling; equal ones as they come."""
    order: _Ints = _loops(len(scores)).best_first(np.ascontiguousarray(scores, np.float32))
    return order


def _loops(size: int) -> Any:
    """Return compiled loops if they are loaded or the work is large, else NumPy's; both give the
    same bits.

    After a few calls the compiled ones are loaded in a thread, so that one picture does not wait
    for them and many have them.
    """
    if kernels.cache_info().currsize or size > _SMALL:
        return kernels()
    if next(_calls) == _FIRST_CALLS:
        warm_up()
    return nms_plain


def warm_up() -> None:
    """Load the compiled loops in a thread, while something else (a network) is made ready."""

    def load() -> None:
        # What is wrong, is said where the loops are used.
        with contextlib.suppress(Exception):
            kernels()

    threading.Thread(target=load, name="nms-warm-up").start()


@functools.cache
def kernels() -> Any:
    """Import the compiled loops, and compile them or load what is kept."""
    from training.boxes import nms_kernels

    def try_out() -> None:
        nms_kernels.candidates(np.zeros((1, 2), np.float32), np.ones(1, bool), np.float32(0))
        nms_kernels.best_first(np.zeros(1, np.float32))
        nms_kernels.greedy(np.zeros((1, 4)), np.zeros(1, np.int64), 0.5, 0.0, 1, 1)

    functions = (nms_kernels.candidates, nms_kernels.best_first, nms_kernels.greedy)
    compile_now(try_out, functions)
    return nms_kernels
