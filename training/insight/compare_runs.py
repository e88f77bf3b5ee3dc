"""Is run B better than run A? A paired bootstrap over the images of one set.

Reading runs and writing `compare.json` is `training/commands/compare.py`'s matter.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from data_tools.core.compiled import compile_now
from data_tools.core.progress import Progress
from training.evaluation.coco_ap import RECALLS
from training.evaluation.coco_matching import IOU_THRESHOLDS, match
from training.evaluation.detection_table import DetectionTable
from training.evaluation.ground_truth import GroundTruth

LEVEL = 0.95
"""Share of the draws that an interval holds."""

_Floats = npt.NDArray[np.float64]
_Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class JudgedRun:
    """One run's detections as the bootstrap needs them; see
    `bootstrap_kernels.weighted_precision`.
    """

    first: _Ints
    image: npt.NDArray[np.int32]
    special: _Ints
    first_special: _Ints
    hits: npt.NDArray[np.uint16]
    ignored: npt.NDArray[np.uint16]


def judge_run(truth: GroundTruth, table: DetectionTable) -> JudgedRun:
    """Match a run's detections; how an image's are matched does not depend on the other images."""
    matches = match(truth, table)
    order = matches.order[matches.counts[matches.order]]
    matched, ignored = matches.matched[order, 0], matches.matched_ignored[order, 0]
    special = np.flatnonzero(matched)
    bounds = np.arange(len(truth.category_ids) + 1)
    category = matches.category[order]
    return JudgedRun(
        np.searchsorted(category, bounds).astype(np.int64),
        matches.image[order].astype(np.int32),
        special,
        np.searchsorted(category[special], bounds).astype(np.int64),
        (matched & ~ignored)[special],
        ignored[special],
    )


def draw(seed: int, number: int, num_images: int) -> npt.NDArray[np.int32]:
    """Return how often each image (I,) stands in one draw of I images with replacement.

    It depends on the seed and the draw's number only, not on the draws before.
    """
    random = np.random.Generator(np.random.Philox(key=[seed, number]))
    chosen = random.integers(0, num_images, num_images)
    return np.bincount(chosen, minlength=num_images).astype(np.int32)


def bootstrap(
    truth: GroundTruth,
    tables: tuple[DetectionTable, DetectionTable],
    draws: int,
    seed: int,
    threads: int,
    progress: Callable[[], Progress] = lambda: Progress("", None, enabled=False),
) -> dict[str, Any]:
    """Compare two runs on one set: differences B - A with intervals of 95 %.

    Both runs see the same images in every draw, so what makes an image hard cancels out.

    Args:
        truth: The boxes.
        tables: Detections of A and of B.
        draws: Draws with replacement.
        seed: Same seed, same digits, for any number of threads.
        threads: Draws at a time.
        progress: Makes what counts the draws, once they begin: matching and compiling before them
            would spoil its time left.

    Returns:
        `AP`, `AP50` and `per_class` (their AP): for each `a`, `b`, `difference`, `low`, `high`,
        `better` (share of the draws in which B is above A, equal ones half) and `verdict`: `B`,
        `A`, or `undecided` if the interval holds 0. -1 and None where no box counts.
    """
    runs = [judge_run(truth, table) for table in tables]
    counts = ~truth.iscrowd
    by_class = np.argsort(truth.category, kind="stable")
    by_class = by_class[counts[by_class]]
    bounds = np.arange(len(truth.category_ids) + 1)
    first_box = np.searchsorted(truth.category[by_class], bounds).astype(np.int64)
    box_image = truth.image[by_class].astype(np.int32)
    loop = kernels().weighted_precision

    def measure(weights: npt.NDArray[np.int32]) -> _Floats:
        """(2, 2, C): AP and AP50 of each class, of A and of B."""
        both = []
        for run in runs:
            values = loop(
                run.first, run.image, run.special, run.first_special, run.hits, run.ignored,
                first_box, box_image, weights, RECALLS, len(IOU_THRESHOLDS),
            )  # fmt: skip
            both.append([np.where(values[0] < 0, -1.0, values.mean(axis=0)), values[0]])
        return np.array(both)

    def one(number: int) -> _Floats:
        return measure(draw(seed, number, truth.num_images))

    whole = measure(np.ones(truth.num_images, np.int32))
    with progress() as bar, ThreadPoolExecutor(threads) as pool:
        measured = []
        for values in pool.map(one, range(draws)):
            measured.append(values)
            bar.update()
    drawn = np.array(measured)  # (N, run, AP or AP50, C)
    mean, means = _class_mean(whole), _class_mean(drawn)
    return {
        "AP": _interval(mean[:, 0], means[:, :, 0]),
        "AP50": _interval(mean[:, 1], means[:, :, 1]),
        "per_class": {
            name: _interval(whole[:, 0, c], drawn[:, :, 0, c])
            for c, name in enumerate(truth.unique_names)
        },
    }


def _class_mean(values: _Floats) -> _Floats:
    """Mean over the last axis of what is measured there, -1 where nothing is."""
    known = values >= 0
    total = np.where(known, values, 0.0).sum(axis=-1)
    count = known.sum(axis=-1)
    return np.divide(total, count, out=np.full(total.shape, -1.0), where=count > 0)


def _interval(values: _Floats, drawn: _Floats) -> dict[str, Any]:
    """Describe a difference.

    Args:
        values: (2,) of A and of B on the set itself.
        drawn: (N, 2) the same in every draw.
    """
    a, b = (float(v) for v in values)
    known = (drawn >= 0).all(axis=1)
    if a < 0 or b < 0 or not known.any():
        return {"a": a, "b": b, **dict.fromkeys(("difference", "low", "high", "better", "verdict"))}
    differences = drawn[known, 1] - drawn[known, 0]
    low, high = np.quantile(differences, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return {
        "a": a,
        "b": b,
        "difference": b - a,
        "low": float(low),
        "high": float(high),
        "better": float(np.mean(differences > 0) + np.mean(differences == 0) / 2),
        "verdict": "B" if low > 0 else "A" if high < 0 else "undecided",
    }


@functools.cache
def kernels() -> Any:
    """Import the compiled loop, and compile it or load what is kept."""
    from training.insight import bootstrap_kernels as loops

    def try_out() -> None:
        two, one, flags = np.arange(2), np.zeros(1, np.int32), np.ones(1, np.uint16)
        zero, recalls = np.zeros(1, np.int64), np.zeros(1)
        loops.weighted_precision(
            two, one, zero, two, flags, flags, two, one, one, recalls, len(IOU_THRESHOLDS)
        )

    compile_now(try_out, (loops.weighted_precision,))
    return loops
