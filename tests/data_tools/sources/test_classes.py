"""Classes are chosen, merged and numbered as the settings say, and mistakes are named."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_tools.core.errors import DataError, SettingError
from data_tools.sources.classes import ClassMap, build_class_map, common_categories

CATEGORIES = {1: "car", 3: "bus", 4: "cat", 90: "dog"}


def test_all_classes_with_gaps() -> None:
    made = build_class_map(CATEGORIES, [], {})
    assert [(c.label, c.name, c.category_id) for c in made.classes] == [
        (1, "car", 1),
        (2, "bus", 3),
        (3, "cat", 4),
        (4, "dog", 90),
    ]
    assert made.labels(np.array([90, 1, 77])).tolist() == [4, 1, 0]


def test_subset_in_the_order_given() -> None:
    made = build_class_map(CATEGORIES, ["dog", "car"], {})
    assert [(c.name, c.category_id) for c in made.classes] == [("dog", 90), ("car", 1)]
    assert made.labels(np.array([1, 3, 4, 90])).tolist() == [2, 0, 0, 1]


def test_merge_and_subset() -> None:
    made = build_class_map(CATEGORIES, [], {"vehicle": ["bus", "car"]})
    assert [(c.name, c.category_id) for c in made.classes] == [
        ("vehicle", 1),
        ("cat", 4),
        ("dog", 90),
    ]
    assert made.labels(np.array([1, 3, 4])).tolist() == [1, 1, 2]
    only = build_class_map(CATEGORIES, ["vehicle"], {"vehicle": ["bus", "car"]})
    assert only.labels(np.array([1, 3, 4])).tolist() == [1, 1, 0]


@pytest.mark.parametrize(
    ("keep", "merge", "message"),
    [
        (["cta"], {}, "no class 'cta'.*Did you mean 'cat'"),
        (["cat", "cat"], {}, "named twice"),
        ([], {"v": ["buss"]}, "dataset.merge.v: .*'buss'"),
        ([], {"v": ["bus"], "w": ["bus"]}, "into both 'v' and 'w'"),
        (
            [],
            {"cat": ["bus"], "dog": ["cat"]},
            "becomes .* and is a target as well. Give the target a name",
        ),
        (["bus"], {"v": ["bus"]}, "no class 'bus'"),
    ],
)
def test_mistakes(keep: list[str], merge: dict[str, list[str]], message: str) -> None:
    with pytest.raises(SettingError, match=message):
        build_class_map(CATEGORIES, keep, merge)


def test_splits_share_their_categories() -> None:
    together = common_categories({"train": {5: "b", 2: "a"}, "val": {2: "a", 9: "c"}})
    assert together == {2: "a", 5: "b", 9: "c"} and list(together) == [2, 5, 9]
    with pytest.raises(DataError, match="the splits disagree about category 2"):
        common_categories({"train": {2: "a"}, "val": {2: "b"}})
    with pytest.raises(DataError, match="disagree"):
        common_categories({"train": {2: "a"}, "val": {3: "a"}})


@given(
    label_of=st.dictionaries(st.integers(-(1 << 40), 1 << 40), st.integers(1, 9), max_size=6),
    others=st.lists(st.integers(-(1 << 40), 1 << 40), max_size=6),
)
def test_labels_are_those_of_the_mapping(label_of: dict[int, int], others: list[int]) -> None:
    ids = np.array([*label_of, *others, *label_of], np.int64)
    labels = ClassMap((), label_of).labels(ids)
    assert labels.dtype == np.int32
    assert labels.tolist() == [label_of.get(int(c), 0) for c in ids]
