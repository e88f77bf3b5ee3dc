"""Errors by cause, and the AP that each costs, as in the TIDE paper (Bolya et al., ECCV 2020).

Matches come from `coco_matching.py`; which class is taken for which is `confusion.py`'s matter.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from data_tools.core.compiled import compile_now
from training.evaluation import coco_matching
from training.evaluation.coco_ap import RECALLS
from training.evaluation.coco_matching import AREA_RANGES, Matches
from training.evaluation.detection_table import DetectionTable
from training.evaluation.ground_truth import GroundTruth

FOREGROUND, BACKGROUND = 0.5, 0.1
"""From this overlap on a detection finds a box; up to that one it shows nothing but background."""

CAUSES = ("class", "location", "both", "duplicate", "background", "missed")
CORRECT, LEFT_OUT = -1, -2
"""Codes of detections that are no errors; an error's is its position in `CAUSES`."""

SIZES = ("all", "small", "medium", "large")
_CLASS, _LOCATION, _BOTH, _DUPLICATE, _BACKGROUND = range(5)

_Ints = npt.NDArray[np.int64]
_Floats = npt.NDArray[np.float64]
_Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class ErrorCauses:
    """What is wrong with each detection and box of an evaluation.

    Args:
        cause: (D,) position in `CAUSES`, `CORRECT`, or `LEFT_OUT` (on a crowd, or beyond the limit
            of detections).
        box: (D,) the box that it found (correct) or should have (class, location), or the one it
            names again (duplicate); -1 otherwise.
        overlap: (D,) overlap with that box, else with any.
        missed: (G,) boxes that nothing found and that no class or location error explains.
    """

    cause: npt.NDArray[np.int8]
    box: _Ints
    overlap: _Floats
    missed: _Bools


def error_causes(truth: GroundTruth, table: DetectionTable, matches: Matches) -> ErrorCauses:
    """Say why each detection is wrong and which boxes are missed, at an overlap of 0.5.

    A wrong detection is of the first kind that fits: `location`, its overlap with a box of its own
    class is 0.1..0.5; `class`, 0.5 or more with a box of another class; `duplicate`, 0.5 or more
    with a box of its own class that a better one found; `background`, at most 0.1 with any box;
    else `both`.

    Args:
        truth: The boxes; crowds are not looked at.
        table: The detections.
        matches: Who found what.
    """
    usable = ~truth.iscrowd
    best, which = kernels().best_overlaps(
        matches.image,
        matches.category,
        np.ascontiguousarray(table.boxes_xywh_px, np.float64),
        first_of_images(truth),
        truth.category,
        truth.boxes_xywh_px,
        usable,
    )
    own, other = best[:, 0], best[:, 1]
    cause = np.select(
        [
            (own >= BACKGROUND) & (own < FOREGROUND),
            other >= FOREGROUND,
            own >= FOREGROUND,
            np.maximum(own, other) <= BACKGROUND,
        ],
        [_LOCATION, _CLASS, _DUPLICATE, _BACKGROUND],
        _BOTH,
    ).astype(np.int8)
    box = np.select(
        [cause == _CLASS, (cause == _LOCATION) | (cause == _DUPLICATE)],
        [which[:, 1], which[:, 0]],
        -1,
    )
    overlap = np.where(cause == _CLASS, other, np.maximum(own, other))
    overlap[cause == _LOCATION] = own[cause == _LOCATION]
    matched = matches.owner >= 0
    on_crowd = matched & truth.iscrowd[matches.owner] if len(truth.area) else matched
    cause[matched] = CORRECT
    cause[on_crowd | ~matches.counts] = LEFT_OUT
    box[matched] = matches.owner[matched]
    box[cause == LEFT_OUT] = -1
    overlap[matched] = _overlaps(table.boxes_xywh_px[matched], truth.boxes_xywh_px[box[matched]])
    missed = usable & (matches.best_score < 0)
    missed[box[(cause == _CLASS) | (cause == _LOCATION)]] = False
    return ErrorCauses(cause, box, overlap, missed)


def _overlaps(boxes: _Floats, others: _Floats) -> _Floats:
    """Overlap of each pair of (K, 4) `[x, y, w, h]`."""
    near = np.minimum(boxes[:, :2] + boxes[:, 2:], others[:, :2] + others[:, 2:])
    sides = np.maximum(near - np.maximum(boxes[:, :2], others[:, :2]), 0.0)
    inter = sides.prod(axis=1)
    union = boxes[:, 2:].prod(axis=1) + others[:, 2:].prod(axis=1) - inter
    return np.divide(inter, union, out=np.zeros_like(inter), where=union > 0)


def ap_costs(
    truth: GroundTruth, matches: Matches, causes: ErrorCauses, area_range: npt.ArrayLike
) -> tuple[_Floats, dict[str, _Floats]]:
    """Compute AP50 as it is, and what it gains where the errors of one cause alone are put right.

    Putting right means: `class`, the detection gets the class of its box; `location`, it gets the
    position of its box; `both`, `duplicate` and `background` detections go; `missed` boxes do not
    count. Of all class and location errors about one box that nothing found, the best one is put
    right and the others go, as do those about a box that was found; so the numbers are those of the
    paper's tool.

    Args:
        truth: The boxes.
        matches: Who found what.
        causes: From `error_causes`.
        area_range: (2,) Only boxes of such an area count, bounds included. Detections of other
            boxes are left out, as are wrong ones whose own area lies outside.

    Returns:
        (C,) AP50 of each class, -1 where no box counts, and by cause the (C,) gain.
    """
    low, high = np.asarray(area_range, np.float64)
    box_counts = ~truth.iscrowd & (truth.area >= low) & (truth.area <= high)
    num_classes = len(truth.category_ids)
    totals = np.bincount(truth.category[box_counts], minlength=num_classes)
    hit = causes.cause == CORRECT
    counted = causes.cause != LEFT_OUT
    # A detection that names a box belongs to the box's size, any other to its own.
    names_box = causes.box >= 0
    if len(truth.area):
        counted &= np.where(names_box, box_counts[causes.box], ~matches.outside_of(low, high))

    def average(
        category: _Ints, hit: _Bools, counted: _Bools, totals: _Ints, order: _Ints
    ) -> _Floats:
        values: _Floats = kernels().average_precision(
            order, category, hit, counted, totals, RECALLS
        )
        return values

    base = average(matches.category, hit, counted, totals, matches.order)
    gains: dict[str, _Floats] = {}
    rescuers = _rescuers(matches, causes)
    for code, name in enumerate(CAUSES):
        wrong = causes.cause == code
        category, order, now_hit, now_totals = matches.category, matches.order, hit, totals
        now_counted = counted & ~wrong
        if name in ("class", "location"):
            repaired = rescuers[wrong[rescuers]]
            now_hit = hit.copy()
            now_hit[repaired] = True
            now_counted[repaired] = counted[repaired]
            if name == "class":
                category = category.copy()
                category[repaired] = truth.category[causes.box[repaired]]
                loops = coco_matching.kernels()
                order = loops.order_by(matches.by_score, category, num_classes)
        elif name == "missed":
            gone = causes.missed & box_counts
            now_totals = totals - np.bincount(truth.category[gone], minlength=num_classes)
            now_counted = counted
        fixed = average(category, now_hit, now_counted, now_totals, order)
        # A class whose every box was missed has nothing left to measure: nothing lowers its AP any
        # more.
        fixed[(now_totals == 0) & (totals > 0)] = 1.0
        gains[name] = np.where(totals > 0, fixed - base, 0.0)
    return base, gains


def _rescuers(matches: Matches, causes: ErrorCauses) -> _Ints:
    """Return, for each box that nothing found, the best of the class and location errors about
    it.
    """
    near = (causes.cause == _CLASS) | (causes.cause == _LOCATION)
    rows = matches.by_score[near[matches.by_score]]
    if len(rows):
        rows = rows[matches.best_score[causes.box[rows]] < 0]
    _, first = np.unique(causes.box[rows], return_index=True)
    return rows[first]


def errors_section(
    truth: GroundTruth, matches: Matches, causes: ErrorCauses, threshold: float, names: list[str]
) -> dict[str, Any]:
    """Return `errors` of `metrics.json`.

    Args:
        truth: The boxes.
        matches: Who found what.
        causes: From `error_causes`.
        threshold: Score from which detections are counted once more: those that a user would see.
        names: Unique name of each class.
    """
    shown = matches.score >= threshold
    section: dict[str, Any] = {"overlap": FOREGROUND, "background_overlap": BACKGROUND}
    section["threshold"] = threshold
    by_size = {
        size: ap_costs(truth, matches, causes, area_range)
        for size, area_range in zip(SIZES, AREA_RANGES, strict=True)
    }
    section["AP50"] = {size: _mean(base, base >= 0) for size, (base, _) in by_size.items()}
    base, gains = by_size["all"]
    lost = ~truth.iscrowd & (matches.best_score < threshold)
    section["causes"] = {}
    for code, cause in enumerate(CAUSES):
        wrong = causes.cause == code
        missed = cause == "missed"
        section["causes"][cause] = {
            "count": int((causes.missed if missed else wrong).sum()),
            # Below the threshold nothing is seen: there every box that is not found is missed.
            "count_at_threshold": int((lost if missed else wrong & shown).sum()),
            "AP50_cost": {
                size: _mean(costs[cause], known >= 0) for size, (known, costs) in by_size.items()
            },
        }
    section["per_class"] = {
        name: {
            cause: {
                "count": int(
                    causes.missed[truth.category == c].sum()
                    if cause == "missed"
                    else (causes.cause[matches.category == c] == code).sum()
                ),
                "AP50_cost": float(gains[cause][c]),
            }
            for code, cause in enumerate(CAUSES)
        }
        for c, name in enumerate(names)
        if base[c] >= 0
    }
    return section


def _mean(values: _Floats, known: _Bools) -> float:
    return float(values[known].mean()) if known.any() else -1.0


def first_of_images(truth: GroundTruth) -> _Ints:
    """(I + 1,) where the boxes of each image begin."""
    return np.searchsorted(truth.image, np.arange(truth.num_images + 1)).astype(np.int64)


@functools.cache
def kernels() -> Any:
    """Import the compiled loops, and compile them or load what is kept."""
    from training.evaluation import diagnosis_kernels as loops

    def try_out() -> None:
        zero, two, box, yes = np.zeros(1, np.int64), np.arange(2), np.ones((1, 4)), np.ones(1, bool)
        loops.best_overlaps(zero, zero, box, two, zero, box, yes)
        loops.take_any_class(zero, zero, box, two, box, yes.copy(), 0.5)
        loops.evidence(zero, zero, box, two, zero, zero, np.zeros(1), box, 0.5)
        loops.average_precision(zero, zero, yes, yes, two[1:].copy(), np.zeros(1))

    coco_matching.kernels()
    compile_now(try_out, loops.FUNCTIONS)
    return loops
