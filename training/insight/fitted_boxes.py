"""Default boxes that fit a data set: how far those of a network reach its objects, and a search for
sizes and shapes that reach farther.

What is advised from it is `data_advice.py`'s matter; the boxes themselves are laid out in
`training/nets/anchors.py`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from training.nets.anchors import levels
from training.nets.settings import AnchorSettings, ModelSettings

Array = npt.NDArray[np.float64]

REACHED = 0.5
"""An object whose best default box overlaps it so far (IoU) is learned by more than force."""

_FACTORS = (0.6, 0.8, 0.93, 1.07, 1.25, 1.6)
"""Steps of the search, the nearest last decide."""

_SWEEPS = 6
_ROUNDS = 20  # of improving the clusters, at most
_SIZES = (0.01, 1.1)
_RATIOS = (1.15, 8.0)
_BASES = (0.5, 16.0)


def reach(boxes_yxyx_rel: Array, model: ModelSettings) -> Array:
    """Return the overlap (IoU) of each object with its best default box.

    Of all boxes of one shape on one level the best is that of the nearest cell, in either
    direction: so it takes as many comparisons as there are shapes, not boxes.

    Args:
        boxes_yxyx_rel: (B, 4) in 0..1 of the image, with an extent.
        model: The network's settings.

    Returns:
        (B,) in 0..1.

    Raises:
        SettingError: If the network cannot have such settings.
    """
    sides = boxes_yxyx_rel[:, 2:] - boxes_yxyx_rel[:, :2]  # (B, 2) height, width
    centres = (boxes_yxyx_rel[:, 2:] + boxes_yxyx_rel[:, :2]) / 2
    best = np.zeros(len(sides))
    for level in levels(model):
        step = np.array([level.step_y, level.step_x]) / model.image_size
        cell = np.clip(np.rint(centres / step - 0.5), 0, [level.height - 1, level.width - 1])
        off = np.abs(centres - (cell + 0.5) * step)  # (B, 2)
        shapes = level.sizes_hw_rel  # (K, 2)
        shared = np.minimum(sides[:, None], shapes)
        shared = np.minimum(shared, (sides[:, None] + shapes) / 2 - off[:, None])
        common = np.maximum(shared, 0).prod(axis=2)  # (B, K)
        union = sides.prod(axis=1)[:, None] + shapes.prod(axis=1) - common
        best = np.maximum(best, (common / union).max(axis=1))
    return best


def cluster_sizes(sides_hw: Array, count: int) -> Array:
    """Return the sizes in the middle of clusters of boxes whose distance is 1 - IoU.

    Boxes are compared with one corner on another, as in YOLO9000 (Redmon and Farhadi, 2017). The
    first middles are quantiles of the area, so the same boxes give the same clusters.

    Args:
        sides_hw: (B, 2) heights and widths, at least one.
        count: How many.

    Returns:
        (count, 2), the smallest area first.
    """
    order = np.argsort(sides_hw.prod(axis=1), kind="stable")
    middles = sides_hw[order[((np.arange(count) + 0.5) / count * len(order)).astype(int)]]
    belongs = np.full(len(sides_hw), -1)
    for _ in range(_ROUNDS):
        common = np.minimum(sides_hw[:, None], middles).prod(axis=2)
        union = sides_hw.prod(axis=1)[:, None] + middles.prod(axis=1) - common
        nearest = (common / union).argmax(axis=1)
        if (nearest == belongs).all():
            break
        belongs = nearest
        for k in np.unique(belongs):
            middles[k] = np.median(sides_hw[belongs == k], axis=0)
    return np.asarray(middles[np.argsort(middles.prod(axis=1), kind="stable")], np.float64)


def fit(model: ModelSettings, boxes_yxyx_rel: Array) -> ModelSettings:
    """Return the network with sizes and ratios of default boxes that reach more of the objects.

    Each cell keeps as many boxes as it has, so parameters keep their shapes. From the sizes that
    are there and from those of clusters, one number after the other is changed while that helps.

    Args:
        model: The network's settings.
        boxes_yxyx_rel: (B, 4) objects; some thousands are enough.
    """
    climbs = [_climb(model, start, boxes_yxyx_rel) for start in _starts(model, boxes_yxyx_rel)]
    best = max(climbs, key=lambda one: one[0])[1]
    return _settings(model, _rounded(model, best))


def _score(boxes: Array, model: ModelSettings) -> float:
    overlap = reach(boxes, model)
    return float((overlap >= REACHED).mean() + 0.2 * np.minimum(overlap, REACHED).mean())


def _climb(model: ModelSettings, start: Array, boxes: Array) -> tuple[float, Array]:
    values, best = start, _score(boxes, _settings(model, start))
    for _ in range(_SWEEPS):
        before = best
        for index in range(len(values)):
            for factor in _FACTORS:
                other = values.copy()
                other[index] *= factor
                if _possible(model, other):
                    score = _score(boxes, _settings(model, other))
                    if score > best:
                        best, values = score, other
        if best < before + 1e-3:
            break
    return best, values


def _ratios(anchors: AnchorSettings) -> list[float]:
    """The shapes that a network has besides squares, lying or standing: above 1, ascending."""
    return sorted({max(r, 1 / r) for ratios in anchors.aspect_ratios for r in ratios if r != 1})


def _scales(anchors: AnchorSettings) -> Array:
    if anchors.scales:
        return np.array(anchors.scales)
    even = np.linspace(anchors.min_scale, anchors.max_scale, len(anchors.aspect_ratios))
    return np.append(even, 1.0)


def _starts(model: ModelSettings, boxes: Array) -> Iterator[Array]:
    """Sizes (of the levels and one more, or the base), then ratios."""
    anchors = model.anchors
    ratios = _ratios(anchors)
    if anchors.kind == "octaves":
        yield np.array([anchors.base, *ratios])
        return
    yield np.concatenate([_scales(anchors), ratios])
    middles = cluster_sizes(boxes[:, 2:] - boxes[:, :2], len(anchors.aspect_ratios))
    scales = np.clip(np.sqrt(middles.prod(axis=1)), *_SIZES)
    last = min(1.2 * scales[-1], _SIZES[1])
    yield np.concatenate([scales, [last], ratios])


def _num_sizes(model: ModelSettings) -> int:
    return 1 if model.anchors.kind == "octaves" else len(model.anchors.aspect_ratios) + 1


def _possible(model: ModelSettings, values: Array) -> bool:
    sizes, ratios = values[: _num_sizes(model)], values[_num_sizes(model) :]
    low, high = _BASES if model.anchors.kind == "octaves" else _SIZES
    rising = (np.diff(sizes) > 0).all() and (np.diff(ratios) > 0).all()
    within = (sizes >= low).all() and (sizes <= high).all()
    return bool(rising and within and ((ratios >= _RATIOS[0]) & (ratios <= _RATIOS[1])).all())


def _rounded(model: ModelSettings, values: Array) -> Array:
    count = _num_sizes(model)
    return np.concatenate([np.round(values[:count], 3), np.round(values[count:], 2)])


def _settings(model: ModelSettings, values: Array) -> ModelSettings:
    anchors, count = model.anchors, _num_sizes(model)
    new = dict(zip(_ratios(anchors), values[count:].tolist(), strict=True))

    def other(ratio: float) -> float:
        if ratio == 1:
            return 1.0
        return float(new[ratio]) if ratio > 1 else round(1 / float(new[1 / ratio]), 4)

    lists = [[other(ratio) for ratio in ratios] for ratios in anchors.aspect_ratios]
    if anchors.kind == "octaves":
        anchors = replace(anchors, base=float(values[0]), aspect_ratios=lists)
    else:
        anchors = replace(anchors, scales=values[:count].tolist(), aspect_ratios=lists)
    return replace(model, anchors=anchors)
