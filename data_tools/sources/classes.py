"""Which classes a converted set has: the source's categories, chosen, merged and numbered.

Sources keep their own category ids; from here on a class has a label, 1..C.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from data_tools.core.errors import DataError, SettingError
from data_tools.core.sample import ClassInfo


@dataclass(frozen=True)
class ClassMap:
    """The classes of a set, and what becomes of each source category.

    Args:
        classes: The classes in the order of their labels, 1..C.
        label_of: Source category id -> label; categories that are not kept are missing.
    """

    classes: tuple[ClassInfo, ...]
    label_of: dict[int, int]

    def labels(self, category_ids: npt.NDArray[np.int64]) -> npt.NDArray[np.int32]:
        """Return the labels of category ids (N,) -> (N,) int32; 0 where the category is not
        kept.
        """
        if not self.label_of:
            return np.zeros(len(category_ids), np.int32)
        known = np.array(sorted(self.label_of), np.int64)
        labels = np.array([self.label_of[int(c)] for c in known], np.int32)
        nearest = np.searchsorted(known, category_ids).clip(max=len(known) - 1)
        return np.where(known[nearest] == category_ids, labels[nearest], 0).astype(np.int32)


def common_categories(splits: Mapping[str, Mapping[int, str]]) -> dict[int, str]:
    """Return the categories of all splits together, by ascending id.

    Args:
        splits: Split -> its categories, id -> name.

    Raises:
        DataError: If two splits give one id, or one name, different meanings.
    """
    together: dict[int, tuple[str, str]] = {}
    ids: dict[str, tuple[int, str]] = {}
    for split, categories in splits.items():
        for number, name in categories.items():
            other_name, where = together.setdefault(number, (name, split))
            other_number, other_split = ids.setdefault(name, (number, split))
            if other_name != name or other_number != number:
                raise DataError(
                    f"the splits disagree about category {number} {name!r} of {split}: "
                    f"{where} has {number} {other_name!r}, {other_split} has {other_number} "
                    f"{name!r}. All splits of a set need the same category ids."
                )
    return {number: together[number][0] for number in sorted(together)}


def build_class_map(
    categories: Mapping[int, str], keep: Sequence[str], merge: Mapping[str, Sequence[str]]
) -> ClassMap:
    """Choose, merge and number the classes.

    A merged class stands where its first member stood and takes that member's category id.

    Args:
        categories: Source category id -> name, in the source's order.
        keep: Names to keep in the order of their labels (source names or keys of `merge`); empty:
            all.
        merge: New name -> the source names that become it.

    Raises:
        SettingError: If a name does not exist, is given twice, or is merged into two classes.
    """
    names = list(categories.values())
    target: dict[str, str] = {}
    for new, members in merge.items():
        for member in members:
            _require_known(f"dataset.merge.{new}", member, names)
            if member in target:
                raise SettingError(
                    f"dataset.merge: {member!r} is merged into both {target[member]!r} and "
                    f"{new!r}. Name it in one of them only."
                )
            target[member] = new
    for new in merge:
        if new in names and target.get(new, new) != new:
            raise SettingError(
                f"dataset.merge: {new!r} becomes {target[new]!r} and is a target as well. Give the "
                "target a name of its own."
            )
    order = list(dict.fromkeys(target.get(name, name) for name in names))
    if keep:
        for name in keep:
            _require_known("dataset.classes", name, order)
        if len(set(keep)) != len(keep):
            raise SettingError(
                f"dataset.classes={list(keep)}: a class is named twice. Name it once."
            )
        order = list(keep)
    labels = {name: label for label, name in enumerate(order, 1)}
    first_id: dict[str, int] = {}
    label_of: dict[int, int] = {}
    for number, name in categories.items():
        final = target.get(name, name)
        if final in labels:
            first_id.setdefault(final, number)
            label_of[number] = labels[final]
    classes = tuple(ClassInfo(labels[name], name, first_id[name]) for name in order)
    return ClassMap(classes, label_of)


def _require_known(key: str, name: str, known: Sequence[str]) -> None:
    if name in known:
        return
    close = difflib.get_close_matches(name, known, n=3)
    hint = f" Did you mean {' or '.join(map(repr, close))}?" if close else ""
    shown = ", ".join(known[:20]) + (", ..." if len(known) > 20 else "")
    raise SettingError(f"{key}: the data set has no class {name!r}.{hint} Its classes: {shown}")
