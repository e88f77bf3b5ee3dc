"""What became of the boxes of one image between two sets: pure functions over arrays.

Which images belong together, and what is written about it, is in `diff.py`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from data_tools.core.boxes import iou

SAME_PX = 0.01
"""Corners nearer than this are the same: published sets hold whole pixels, ours six decimals."""
MOVED_IOU = 0.5
"""A box that overlaps one of the other set this much, and no other box is nearer, is that one,
moved."""


@dataclass(frozen=True)
class Boxes:
    """The boxes of one image.

    Args:
        corners_yxyx_px: (N, 4) float64.
        names: N class names.
        flags: N pairs (crowd, difficult).
    """

    corners_yxyx_px: npt.NDArray[np.float64]
    names: Sequence[str]
    flags: Sequence[tuple[bool, bool]]


@dataclass(frozen=True)
class Change:
    """One box that is not the same in both sets.

    Args:
        kind: `added`, `removed`, `moved`, `class` (another class), or `flags` (crowd, difficult).
        before: Index among the boxes of the first set; None if added.
        after: Index among the boxes of the second set; None if removed.
    """

    kind: str
    before: int | None
    after: int | None


def box_changes(before: Boxes, after: Boxes, renamed: Mapping[str, str]) -> list[Change]:
    """Pair the boxes of one image in two sets and name what differs.

    First those at the same position with the same class, then at the same position, then of the
    same class by overlap, last any by overlap. A box that moved further is removed and added.

    Args:
        before: The boxes in the first set.
        after: The boxes in the second set, in the frame of the first.
        renamed: Class name of the first set -> of the second, where it has another.

    Returns:
        The changes: those of boxes of the first set by their index, then the added ones.
    """
    names = [renamed.get(name, name) for name in before.names]
    same_class = np.array([[a == b for b in after.names] for a in names], bool)
    same_class = same_class.reshape(len(names), len(after.names))
    distance = _distances(before.corners_yxyx_px, after.corners_yxyx_px)
    with np.errstate(invalid="ignore", divide="ignore"):
        overlap = np.nan_to_num(iou(before.corners_yxyx_px, after.corners_yxyx_px))
    same_box = distance <= SAME_PX
    near = overlap >= MOVED_IOU
    pairs: dict[int, int] = {}
    for allowed, score in (
        (same_box & same_class, -distance),
        (same_box, -distance),
        (near & same_class, overlap),
        (near, overlap),
    ):
        _pair(allowed, score, pairs)
    changes = []
    for a in range(len(names)):
        b = pairs.get(a)
        if b is None:
            changes.append(Change("removed", a, None))
        elif not same_class[a, b]:
            changes.append(Change("class", a, b))
        elif not same_box[a, b]:
            changes.append(Change("moved", a, b))
        elif tuple(before.flags[a]) != tuple(after.flags[b]):
            changes.append(Change("flags", a, b))
    used = set(pairs.values())
    return changes + [Change("added", None, b) for b in range(len(after.names)) if b not in used]


def _distances(a: npt.NDArray[np.float64], b: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Largest difference of a corner: (A, 4), (B, 4) -> (A, B)."""
    result: npt.NDArray[np.float64] = np.abs(a[:, None] - b[None]).max(axis=2, initial=0.0)
    return result


def _pair(
    allowed: npt.NDArray[np.bool_], score: npt.NDArray[np.float64], pairs: dict[int, int]
) -> None:
    """Add pairs, the best score first, of what is not paired yet; ties go to the lower indices."""
    rows, columns = np.nonzero(allowed)
    used = set(pairs.values())
    for k in np.argsort(-score[rows, columns], kind="stable").tolist():
        a, b = int(rows[k]), int(columns[k])
        if a not in pairs and b not in used:
            pairs[a] = b
            used.add(b)


def renamed_classes(
    images: Iterable[tuple[Boxes, Boxes]], before: Mapping[str, int], after: Mapping[str, int]
) -> dict[str, str]:
    """Find the classes that only bear another name: most of their boxes are another class's now.

    Args:
        images: The boxes of the images that both sets have.
        before: Class name -> category id in the first set.
        after: Likewise in the second set.

    Returns:
        Old name -> new name, each at most once. Only names that the other set has not are looked
        at; where neither has a box to tell by, the category id decides.
    """
    gone = [name for name in before if name not in after]
    new = [name for name in after if name not in before]
    if not gone or not new:
        return {}
    votes: Counter[tuple[str, str]] = Counter()
    counts: Counter[str] = Counter()
    for ours, theirs in images:
        counts.update(name for name in ours.names if name in gone)
        same_box = _distances(ours.corners_yxyx_px, theirs.corners_yxyx_px) <= SAME_PX
        for a, b in zip(*np.nonzero(same_box), strict=True):
            votes[ours.names[a], theirs.names[b]] += 1
    renamed: dict[str, str] = {}
    for (old, name), count in sorted(votes.items(), key=lambda entry: (-entry[1], entry[0])):
        free = old in gone and name in new and old not in renamed and name not in renamed.values()
        if free and 2 * count > counts[old]:
            renamed[old] = name
    for old in gone:
        same = [n for n in new if after[n] == before[old] and n not in renamed.values()]
        if old not in renamed and not counts[old] and same:
            renamed[old] = same[0]
    return renamed
