"""How often each image comes in an epoch: once, or more often where rare classes are in it.

Which position of which step an image takes is `order.py`'s matter; an epoch is always as many
images as the split has, so steps, schedules and times stay comparable.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Weights = npt.NDArray[np.float64]


def image_weights(
    presence: npt.NDArray[np.bool_], sampler: str, threshold: float
) -> Weights | None:
    """Return how often each image comes in an epoch on average.

    `repeat_factor` is the rule of LVIS (Gupta, Dollar, Girshick: LVIS: A Dataset for Large
    Vocabulary Instance Segmentation, 2019, appendix): a class on the share f of the images has the
    factor max(1, sqrt(threshold / f)), an image the largest factor of its classes. There an epoch
    grows; here its length stays and the factors are shares of it. `class_balanced` takes each class
    equally often and of a class each image equally often (Shen, Lin, Huang: Relay Backpropagation,
    2016); images without objects keep their share.

    Args:
        presence: (n, C) whether an image has a box of label 1..C, crowd regions aside.
        sampler: One of `settings.SAMPLERS`.
        threshold: repeat_factor: share of the images below which a class is rare.

    Returns:
        (n,) numbers > 0 with the sum n, or None where every image comes once.
    """
    if sampler == "uniform":
        return None
    images = len(presence)
    counts = presence.sum(axis=0, dtype=np.int64)  # (C,) images with the class
    if sampler == "repeat_factor":
        factors = np.sqrt(threshold / (np.maximum(counts, 1) / images))
        weights = np.where(presence, np.maximum(factors, 1.0), 1.0).max(axis=1, initial=1.0)
    else:
        known = counts > 0
        with_objects = presence.any(axis=1)
        each = with_objects.sum() / max(known.sum(), 1) / np.maximum(counts, 1)  # (C,)
        weights = np.where(with_objects, (presence * each).sum(axis=1), 1.0)
    weights = np.asarray(weights, np.float64)
    return None if (weights == weights[0]).all() else weights * (images / weights.sum())


def drawn_rows(weights: Weights, rng: np.random.Generator) -> npt.NDArray[np.int64]:
    """Draw an epoch in which each image comes as often as its weight, rounded up or down.

    Systematic sampling: the images lie in random order one behind the other, each as long as its
    weight; one random offset and steps of one from there say who comes. So chance decides about
    fractions only.

    Args:
        weights: (n,) > 0 with the sum n.
        rng: The epoch's own random numbers.

    Returns:
        (n,) int64 rows in random order; row i floor(weights[i]) or ceil(weights[i]) times.
    """
    count = len(weights)
    line = rng.permutation(count)
    ends = np.cumsum(weights[line])
    ends *= count / ends[-1]
    points = rng.random() + np.arange(count)
    drawn = np.minimum(np.searchsorted(ends, points, side="right"), count - 1)
    return rng.permutation(line[drawn])


def occurrences(rows: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Count for each position of an epoch how often its row came before: (n,) -> (n,).

    >>> occurrences(np.array([4, 7, 4, 4, 7])).tolist()
    [0, 0, 1, 2, 1]
    """
    order = np.argsort(rows, kind="stable")
    ranked = rows[order]
    before = np.empty(len(rows), np.int64)
    before[order] = np.arange(len(rows)) - np.searchsorted(ranked, ranked)
    return before
