"""Boxes that are legal and hardly meant: drawn twice by hand, of two classes at once, with the area
of something else, far from the rest of their class.

Found here from the boxes alone; what is done about them is the policy's choice (`box_checks.py`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import numpy.typing as npt

from data_tools.core.boxes import area
from data_tools.sources.table import SampleTable

SAME_OVERLAP = 0.9
"""Two boxes that overlap (IoU) so far are one object: hands that draw a box twice reach it."""

_MOST_AREA = 1.05
_LEAST_AREA = 0.01
"""The area of an outline within a box, as a share of the box: rounding above, a thin line below."""

_FAR = 5.0
"""Robust deviations from the median of the class; of a normal distribution two in a million lie
farther out."""

_FEWEST = 20
"""A class of fewer boxes says nothing about what is usual."""

_LEAST_DEVIATION = 0.1
"""Of the logarithm: where all boxes of a class are alike, ten per cent are still no deviation."""

WHOLE = 0.99
"""A box whose edges all lie within one per cent of the picture's edges is of the whole picture."""

Doubt = tuple[int, str, str]
"""Row of the box, kind of defect, and words."""


def doubtful_boxes(
    table: SampleTable, usable: npt.NDArray[np.bool_], names: Mapping[int, str]
) -> Iterator[Doubt]:
    """Find the doubtful boxes of a split.

    Args:
        table: The split; B boxes.
        usable: (B,) the boxes that are looked at: of known classes, finite, with an extent, and no
            exact copies.
        names: Category id -> name.

    Yields:
        Of two boxes that are one the later; kind by kind, rows ascending.
    """
    yield from _areas(table, usable)
    objects = np.flatnonzero(usable & ~table.iscrowd)
    yield from _pairs(table, objects, names)
    yield from _outliers(table, objects, names)


CROWDED = 64
"""Boxes of an image above which they are told apart by their sides before they are compared."""

_LEVELS = 1 << 12
"""Sizes that are told apart, each `least` of the next."""


def whole_picture(
    boxes_yxyx_px: npt.NDArray[np.float64], size: npt.NDArray[np.float64]
) -> npt.NDArray[np.bool_]:
    """Return which boxes are of the whole picture: (B,).

    Args:
        boxes_yxyx_px: (B, 4).
        size: (B, 2) or (2,) height and width of the picture of each; zero where it is not known.
    """
    margin = (1 - WHOLE) * size
    low, high = boxes_yxyx_px[:, :2] <= margin, boxes_yxyx_px[:, 2:] >= size - margin
    return (low & high & (size > 0)).all(axis=1)


def _areas(table: SampleTable, usable: npt.NDArray[np.bool_]) -> Iterator[Doubt]:
    rows = np.flatnonzero(usable & (table.areas_px > 0))
    share = table.areas_px[rows] / area(table.boxes_yxyx_px[rows])
    for k in np.flatnonzero((share > _MOST_AREA) | (share < _LEAST_AREA)):
        declared = table.areas_px[rows[k]]
        words = f"declared area {declared:g}, {share[k]:.3g} times that of the box"
        yield int(rows[k]), "area_mismatch", words


def _pairs(
    table: SampleTable, rows: npt.NDArray[np.int64], names: Mapping[int, str]
) -> Iterator[Doubt]:
    """Boxes on an earlier one of their image, the one that they overlap most."""
    first, second, overlap = overlapping_pairs(
        table.boxes_yxyx_px[rows], table.image_of_box()[rows], SAME_OVERLAP
    )
    first, second = rows[first], rows[second]
    same = table.category_ids[first] == table.category_ids[second]
    for kind, mask in (("similar_box", same), ("classes_overlap", ~same)):
        chosen = np.flatnonzero(mask)
        chosen = chosen[np.lexsort((first[chosen], -overlap[chosen], second[chosen]))]
        chosen = chosen[np.unique(second[chosen], return_index=True)[1]]
        for pair in chosen:
            one, other = int(second[pair]), int(first[pair])
            called = names.get(int(table.category_ids[other]), "")
            own = names.get(int(table.category_ids[one]), "")
            corners = ", ".join(f"{v:g}" for v in table.boxes_yxyx_px[other])
            yield (
                one,
                kind,
                f"a box of {own!r} overlaps by {overlap[pair]:.3f} that of {called!r} at "
                f"[y1, x1, y2, x2] = [{corners}]",
            )


def overlapping_pairs(
    boxes_yxyx: npt.NDArray[np.float64], image_of: npt.NDArray[np.int64], least: float
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """Find the pairs of boxes of one image that overlap by `least` (IoU, above 0.5) or more.

    Along the upper edges: two such boxes have them within (1 / least - 1) of a height, so each box
    is compared with a few.

    Args:
        boxes_yxyx: (B, 4) with an extent.
        image_of: (B,) the image of each.
        least: The overlap.

    Returns:
        For each pair the earlier box, the later one, and the overlap.
    """
    rows, group_of = _comparable(boxes_yxyx, image_of, least)
    order = np.lexsort((boxes_yxyx[rows, 0], group_of))
    order, group = rows[order], group_of[order]
    box = boxes_yxyx[order]
    ends = np.searchsorted(group, group, side="right")
    reach = (box[:, 2] - box[:, 0]) * (1 / least - 1) * (1 + 1e-9)
    areas = area(box)
    left, pairs = np.arange(len(box)), []
    step = 0
    while len(left):
        step += 1
        left = left[left + step < ends[left]]
        left = left[box[left + step, 0] - box[left, 0] <= reach[left]]
        a, b = box[left], box[left + step]
        sides = np.minimum(a[:, 2:], b[:, 2:]) - np.maximum(a[:, :2], b[:, :2])
        shared = np.maximum(sides, 0).prod(axis=1)
        overlap = shared / (areas[left] + areas[left + step] - shared)
        close = overlap >= least
        pairs.append((order[left[close]], order[left[close] + step], overlap[close]))
    if not pairs:
        return np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0)
    one, other, overlaps = (np.concatenate(part) for part in zip(*pairs, strict=True))
    both = np.stack([np.minimum(one, other), np.maximum(one, other)], axis=1)
    both, kept = np.unique(both, axis=0, return_index=True)  # some met in several groups
    return both[:, 0], both[:, 1], overlaps[kept]


def _comparable(
    boxes_yxyx: npt.NDArray[np.float64], image_of: npt.NDArray[np.int64], least: float
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Put boxes into groups so that two of one image that overlap by `least` share one.

    A group is an image; where that holds many boxes, those of about one height and one width, or
    their number would count twice over. Each box is in two groups by height and two by width, so
    that no border parts two that are alike.

    Returns:
        Rows and the group of each.
    """
    count = np.bincount(image_of, minlength=1)[image_of] if len(image_of) else image_of
    few, many = np.flatnonzero(count <= CROWDED), np.flatnonzero(count > CROWDED)
    sides = boxes_yxyx[many, 2:] - boxes_yxyx[many, :2]
    levels = np.floor(np.log(sides) / (np.log(1 / least) * (1 + 1e-9))).astype(np.int64)
    levels = np.clip(levels + _LEVELS // 2, 1, _LEVELS - 2)
    groups = [
        ((image_of[many] + 1) * _LEVELS + levels[:, 0] + up) * _LEVELS + levels[:, 1] + wide
        for up in (0, 1)
        for wide in (0, 1)
    ]
    rows = np.concatenate([few, *[many] * len(groups)])
    return rows, np.concatenate([image_of[few] - len(count) - 1, *groups])


def _outliers(
    table: SampleTable, rows: npt.NDArray[np.int64], names: Mapping[int, str]
) -> Iterator[Doubt]:
    sides = table.boxes_yxyx_px[rows, 2:] - table.boxes_yxyx_px[rows, :2]
    aspects = sides[:, 1] / sides[:, 0]
    heights = table.heights.astype(np.float64)
    if (table.heights > 0).all() and (table.widths > 0).all() and not table.relative:
        image = table.image_of_box()[rows]  # pictures of several sizes: by share of the picture
        sides = sides / np.column_stack([heights, table.widths])[image]
    classes = table.category_ids[rows]
    measures = (
        ("size_far_off", "side", np.sqrt(sides.prod(axis=1))),
        ("aspect_far_off", "width / height", aspects),
    )
    for kind, what, values in measures:
        ratio, far = deviations(values, classes)
        for k in np.flatnonzero(np.abs(far) > _FAR):
            called = names.get(int(classes[k]), "")
            yield (
                int(rows[k]),
                kind,
                f"its {what} is {ratio[k]:.3g} times the median of {called!r}, "
                f"{abs(far[k]):.1f} robust deviations away",
            )


def deviations(
    values: npt.NDArray[np.float64], classes: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return how far each value lies from the median of its class, by their logarithms.

    Args:
        values: (B,) above 0.
        classes: (B,).

    Returns:
        (B,) the value as a multiple of the median, and (B,) by how many robust deviations (1.4826
        times the median absolute deviation, 0.1 at least) the logarithm is off; 0 in classes of
        fewer than 20.
    """
    logs = np.log(values)
    ratio, far = np.ones(len(values)), np.zeros(len(values))
    order = np.argsort(classes, kind="stable")
    starts = np.unique(classes[order], return_index=True)[1]
    for part in np.split(order, starts[1:]):
        if len(part) < _FEWEST:
            continue
        off = logs[part] - np.median(logs[part])
        ratio[part] = np.exp(off)
        far[part] = off / max(1.4826 * float(np.median(np.abs(off))), _LEAST_DEVIATION)
    return ratio, far
