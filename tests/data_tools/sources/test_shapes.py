"""The drawn scenes: the same for the same seed, and as varied as promised."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from data_tools.core.errors import SettingError
from data_tools.sources.settings import DatasetSettings
from data_tools.sources.shapes import CATEGORY_IDS, shape_samples


def test_scenes_are_a_function_of_seed_split_and_index() -> None:
    first, again = list(shape_samples(1, "train", 6)), list(shape_samples(1, "train", 6))
    assert [s.image for s in first] == [s.image for s in again]
    longer = list(shape_samples(1, "train", 8))
    assert [s.image for s in longer[:6]] == [s.image for s in first]
    assert [s.image for s in shape_samples(2, "train", 6)] != [s.image for s in first]
    assert [s.image for s in shape_samples(1, "val", 6)] != [s.image for s in first]


def test_scenes_are_varied_and_their_truth_is_sound() -> None:
    samples = list(shape_samples(3, "train", 150))
    assert any(len(s.boxes_yxyx_px) == 0 for s in samples)
    assert any(s.iscrowd.any() for s in samples)
    assert {int(c) for s in samples for c in s.category_ids} == set(CATEGORY_IDS)
    assert len({(s.height, s.width) for s in samples}) > 100
    ids = np.concatenate([s.annotation_ids for s in samples])
    assert len(np.unique(ids)) == len(ids)
    shares = []
    for s in samples:
        image = cv2.imdecode(np.frombuffer(s.read_bytes(), np.uint8), cv2.IMREAD_COLOR)
        assert image.shape == (s.height, s.width, 3)
        size = s.boxes_yxyx_px[:, 2:] - s.boxes_yxyx_px[:, :2]
        assert np.all(size > 0)
        assert np.all(s.boxes_yxyx_px >= 0)
        assert np.all(s.boxes_yxyx_px[:, 2:] <= [s.height, s.width])
        assert np.all(s.areas_px <= (size + 2).prod(axis=1))
        shares.extend(size.max(axis=1) / min(s.height, s.width))
    assert min(shares) < 0.14
    assert max(shares) > 0.5


def test_scenes_of_a_size_that_no_machine_draws_are_refused() -> None:
    with pytest.raises(SettingError, match=r"dataset.max_side=1000000000: expected at most 16384"):
        DatasetSettings(kind="shapes", max_side=10**9)
