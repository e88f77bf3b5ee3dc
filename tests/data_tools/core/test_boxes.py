"""Box arithmetic against obvious oracles, over formats, dtypes and shapes, N = 0 included."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from data_tools.core import boxes

corner = st.floats(-100, 100, width=32)
size = st.floats(0, 50, width=32)


@st.composite
def boxes_yxyx(draw: st.DrawFn, max_rows: int = 6) -> np.ndarray:
    rows = draw(st.integers(0, max_rows))
    low = draw(hnp.arrays(np.float32, (rows, 2), elements=corner))
    high = low + draw(hnp.arrays(np.float32, (rows, 2), elements=size))
    return np.concatenate([low, high], axis=1)


def slow_iou(a: np.ndarray, b: np.ndarray) -> float:
    height = max(0.0, min(a[2], b[2]) - max(a[0], b[0]))
    width = max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
    shared = height * width
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared
    return shared / union if union > 0 else 0.0


@settings(max_examples=60, deadline=None)
@given(boxes_yxyx(), boxes_yxyx())
def test_iou_equals_the_slow_formula(a: np.ndarray, b: np.ndarray) -> None:
    got = boxes.iou(a.astype(np.float64), b.astype(np.float64))
    want = [[slow_iou(x, y) for y in b.astype(np.float64)] for x in a.astype(np.float64)]
    np.testing.assert_allclose(got, np.array(want).reshape(len(a), len(b)), atol=1e-12)


@settings(max_examples=60, deadline=None)
@given(boxes_yxyx())
def test_conversions_round_trip(a: np.ndarray) -> None:
    wide = a.astype(np.float64)
    np.testing.assert_allclose(boxes.yxyx_from_xywh(boxes.xywh_from_yxyx(wide)), wide, atol=1e-9)
    low, high = wide[:, :2], wide[:, 2:]
    centred = np.concatenate([(low + high) / 2, high - low], axis=1)
    np.testing.assert_allclose(boxes.yxyx_from_cyxhw(centred), wide, atol=1e-9)
    assert boxes.yxyx_from_cyxhw(centred.astype(np.float32)).dtype == np.float32


@settings(max_examples=60, deadline=None)
@given(boxes_yxyx(), st.integers(1, 60), st.integers(1, 60))
def test_clip_keeps_boxes_in_the_image(a: np.ndarray, height: int, width: int) -> None:
    got = boxes.clip(a, height, width)
    assert got.shape == a.shape
    assert np.all(got >= 0)
    assert np.all(got[:, ::2] <= height)
    assert np.all(got[:, 1::2] <= width)
    assert np.all(boxes.area(got) <= boxes.area(a.astype(np.float64)) * (1 + 1e-5) + 1e-3)


def test_a_hand_made_table() -> None:
    a = [[0, 0, 2, 2]]
    b = [[0, 0, 2, 2], [0, 0, 1, 2], [1, 1, 3, 3], [5, 5, 6, 6], [1, 1, 1, 1]]
    np.testing.assert_allclose(boxes.iou(a, b), [[1, 0.5, 1 / 7, 0, 0]], rtol=1e-6)
    np.testing.assert_allclose(boxes.inside_fraction(b, a), [[1], [1], [0.25], [0], [0]])


def test_boxes_without_area_overlap_nothing() -> None:
    point = [[1.0, 1.0, 1.0, 1.0]]
    assert boxes.iou(point, point).tolist() == [[0.0]]
    assert boxes.inside_fraction(point, [[0.0, 0.0, 2.0, 2.0]]).tolist() == [[0.0]]


@pytest.mark.parametrize("rows", [0, 1])
def test_zero_rows_keep_their_shape(rows: int) -> None:
    a = np.zeros((rows, 4), np.float32)
    assert boxes.iou(a, np.zeros((3, 4))).shape == (rows, 3)
    assert boxes.yxyx_from_xywh(a).shape == (rows, 4)
    assert boxes.area(a).shape == (rows,)
