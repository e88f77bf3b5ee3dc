"""What would help a network with a data set: default boxes that fit, a larger input, tiles, another
sampler; each with the settings that do it, and how far it helps.

The audit (`data_tools/audit/`) knows no models: it gets `advise` as an argument and shows what it
returns.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from data_tools.audit.coverage import SIZES, size_of
from data_tools.audit.findings import Advice, SplitAudit
from data_tools.pipeline.sampler import image_weights
from training.insight.fitted_boxes import REACHED, fit, reach
from training.nets.settings import ModelSettings

Array = npt.NDArray[np.float64]

_ENOUGH = 0.9
_ENOUGH_OF_A_SIZE = 0.7
"""Less of a size is worth advice, if that size has a twentieth of the objects."""

_GAIN = 0.05
"""Advice is given where it reaches five more of a hundred objects."""

_SEARCHED = 2000
_LARGER = (1.33, 1.67, 2.0, 2.5)
_LARGEST_INPUT = 1024
_TILES = (1.5, 2, 3, 4, 6, 8, 12, 16)
_SMALLEST_TILE = 128
_TILE_OVERLAP = 0.2

_RARE_FACTOR = 1.5
"""A sampler is advised where a class would come this many times as often."""


def advise(audit: SplitAudit, rows: npt.NDArray[np.int64], model: ModelSettings) -> list[Advice]:
    """Advise on one split, the one to train on.

    Args:
        audit: What was found in it.
        rows: (B,) the boxes of it that coverage is measured on.
        model: The network.

    Returns:
        What would help, the least change first; nothing where nothing is needed or would help.
    """
    advice = []
    if len(rows) and model.assign == "published":
        advice = _about_boxes(audit, rows, model)
    return [*advice, *_about_classes(audit)]


def _about_boxes(
    audit: SplitAudit, rows: npt.NDArray[np.int64], model: ModelSettings
) -> list[Advice]:
    boxes = audit.boxes_rel[rows]
    boxes = boxes[(boxes[:, 2:] > boxes[:, :2]).all(axis=1)]
    if len(boxes) < len(rows):  # none in practice: the checks leave such boxes out
        return []
    sizes = size_of(audit.areas_px[rows])
    before = reach(boxes, model) >= REACHED
    enough = before.mean() >= _ENOUGH and all(
        before[sizes == k].mean() >= _ENOUGH_OF_A_SIZE
        for k in range(len(SIZES))
        if (sizes == k).mean() >= 0.05
    )
    if enough:
        return []
    rng = np.random.Generator(np.random.Philox(key=0))
    some = boxes[np.sort(rng.permutation(len(boxes))[:_SEARCHED])]
    advice: list[Advice] = []
    best = float(before.mean())
    for title, other, words in _candidates(model, some):
        after = reach(boxes, other) >= REACHED
        if after.mean() < best + _GAIN:
            continue
        best = float(after.mean())
        advice.append(
            Advice(title, _overrides(model, other), words, *_shares(before, after, sizes))
        )
    return advice + _about_tiles(audit, rows, model, before, sizes, best)


def _candidates(model: ModelSettings, some: Array) -> list[tuple[str, ModelSettings, str]]:
    print("fitting default boxes to the objects", file=sys.stderr, flush=True)
    fitted = fit(model, some)
    candidates = [
        (
            "default boxes of other sizes",
            fitted,
            "the network keeps its shapes, so weights load; it must be trained with them",
        )
    ]
    longest = max(model.anchors.aspect_ratios, key=len)
    if [] in model.anchors.aspect_ratios:
        lists = [ratios or longest for ratios in model.anchors.aspect_ratios]
        wider = fit(replace(model, anchors=replace(model.anchors, aspect_ratios=lists)), some)
        candidates.append(
            (
                "default boxes of other sizes, more of them on the first level",
                wider,
                "the first level's heads have other shapes: published weights fit all but those",
            )
        )
    base = candidates[-1][1]
    for factor in _LARGER:
        size = [32 * round(side * factor / 32) for side in model.image_size]
        if max(size) > _LARGEST_INPUT:
            break
        larger = replace(base, image_size=size, anchors=replace(base.anchors, steps=[]))
        cost = np.prod(size) / np.prod(model.image_size)
        words = f"{cost:.1f} times the arithmetic of a step"
        candidates.append((f"a larger input, {size[1]} x {size[0]}", fit(larger, some), words))
    return candidates


def _about_tiles(
    audit: SplitAudit,
    rows: npt.NDArray[np.int64],
    model: ModelSettings,
    before: npt.NDArray[np.bool_],
    sizes: npt.NDArray[np.intp],
    best: float,
) -> list[Advice]:
    """The largest tile that reaches about as much as any, with the default boxes as they are."""
    images = audit.image_of_box()[rows]
    pictures = np.array(audit.sides_px, np.float64)
    sides_px = (audit.boxes_rel[rows, 2:] - audit.boxes_rel[rows, :2]) * pictures[images]
    typical = float(np.median(pictures.max(axis=1)))
    tried: list[tuple[float, int, npt.NDArray[np.bool_]]] = []
    for parts in _TILES:
        tile = 32 * round(typical / parts / 32)
        if tile >= _SMALLEST_TILE:
            after = _in_tiles(sides_px / tile, model)
            tried.append((float(after.mean()), tile, after))
    if not tried:
        return []
    most = max(share for share, _, _ in tried)
    share, tile, after = next(entry for entry in tried if entry[0] >= most - 0.02)
    if share < best + _GAIN:
        return []
    words = (
        f"cut pictures and labels so before converting, with {_TILE_OVERLAP:.0%} overlap, and "
        "pictures to predict as well; no setting here does it"
    )
    return [Advice(f"tiles of {tile} x {tile} pixels", [], words, *_shares(before, after, sizes))]


def _in_tiles(sides_hw_rel: Array, model: ModelSettings) -> npt.NDArray[np.bool_]:
    """Which objects are reached that lie anywhere in a tile; what is larger than one is not."""
    fits = (sides_hw_rel <= 1).all(axis=1)
    # Positions spread evenly over a tile (multiples of the golden section and of a root of two).
    spread = np.outer(np.arange(1, len(sides_hw_rel) + 1), [0.6180339887, 0.4142135624]) % 1
    low = spread * np.maximum(1 - sides_hw_rel, 0)
    boxes = np.concatenate([low, low + np.minimum(sides_hw_rel, 1)], axis=1)
    reached: npt.NDArray[np.bool_] = reach(boxes, model) >= REACHED
    return reached & fits


def _shares(
    before: npt.NDArray[np.bool_], after: npt.NDArray[np.bool_], sizes: npt.NDArray[np.intp]
) -> tuple[dict[str, float], dict[str, float]]:
    """Share of the objects that is reached, of all and of each size, before and after."""
    masks = {"all": np.ones(len(sizes), bool)}
    masks |= {name: sizes == k for k, name in enumerate(SIZES) if (sizes == k).any()}
    return (
        {name: round(float(before[mask].mean()), 4) for name, mask in masks.items()},
        {name: round(float(after[mask].mean()), 4) for name, mask in masks.items()},
    )


def _overrides(model: ModelSettings, other: ModelSettings) -> list[str]:
    """The settings in which two networks differ, as a command takes them."""
    pairs: list[tuple[str, Any, Any]] = [("image_size", model.image_size, other.image_size)]
    pairs += [
        (f"anchors.{key}", getattr(model.anchors, key), getattr(other.anchors, key))
        for key in ("steps", "scales", "base", "aspect_ratios")
    ]
    return [f"model.{key}={_plain(new)}" for key, old, new in pairs if old != new]


def _plain(value: Any) -> str:
    if isinstance(value, Sequence):
        return "[" + ",".join(_plain(one) for one in value) + "]"
    return f"{value:g}"


def _about_classes(audit: SplitAudit) -> list[Advice]:
    """A sampler, where a class is on few images only."""
    count = len(audit.counts)
    images = audit.image_of_box()[~audit.iscrowd]
    labels = audit.labels[~audit.iscrowd]
    known = np.unique(labels)
    if len(known) < 2:
        return []
    presence = np.zeros((count, int(known[-1])), bool)
    presence[images, labels - 1] = True
    shares = presence.mean(axis=0)
    # Two digits, as it is typed: each of N classes should be on 1 / N of the images.
    threshold = float(f"{1 / len(known):.2g}")
    weights = image_weights(presence, "repeat_factor", threshold)
    if weights is None:
        return []
    rarest = int(known[np.argmin(shares[known - 1])]) - 1
    often = float(weights[presence[:, rarest]].mean())
    if often < _RARE_FACTOR:
        return []
    name = audit.names[rarest] if audit.names else str(rarest + 1)
    rare = int((shares[known - 1] < threshold).sum())
    words = (
        f"{rare} of {len(known)} classes are on less than {threshold:.2%} of the images; an image "
        f"with the rarest, {name!r} ({int(presence[:, rarest].sum())} images), comes {often:.1f} "
        "times as often, and an epoch stays as long"
    )
    settings = ["pipeline.sampler=repeat_factor", f"pipeline.repeat_threshold={threshold:g}"]
    return [Advice("a sampler for rare classes", settings, words)]
