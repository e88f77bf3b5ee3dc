"""Matching is the slow rule's to the last anchor, the goldens agree, and decoding undoes
encoding.
"""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from data_tools.core.boxes import inside_fraction, yxyx_from_cyxhw
from training.boxes.build import build_encoder
from training.boxes.codec import BoxEncoder, decode_boxes, encode_boxes
from training.boxes.corners import default_corners
from training.boxes.grid_candidates import AnchorGrid
from training.nets.settings import model_settings

PUBLISHED = ("ssd300", "ssd_mobilenet_v1", "ssd_vgg16", "ssd_mobilenet_v1_fpn", "ssd_resnet50_fpn")


def slow_match(corners: np.ndarray, boxes: np.ndarray, threshold: float = 0.5) -> dict[int, int]:
    """The rule of matching, box by box in plain words: anchor to box."""
    best_score: dict[int, float] = {}
    owner: dict[int, int] = {}
    y1, x1, y2, x2 = corners.T
    area = (y2 - y1) * (x2 - x1)
    for number, (top, left, bottom, right) in enumerate(boxes):
        height = np.maximum(np.minimum(y2, bottom) - np.maximum(y1, top), np.float32(0))
        width = np.maximum(np.minimum(x2, right) - np.maximum(x1, left), np.float32(0))
        shared = width * height
        scores = shared / (area + (bottom - top) * (right - left) - shared)
        scores[int(np.argmax(scores))] = 2.0
        for anchor in np.flatnonzero(scores > threshold).tolist():
            if scores[anchor] > best_score.get(anchor, 0.0):
                best_score[anchor], owner[anchor] = float(scores[anchor]), number
    return owner


def matched(encoder: BoxEncoder, boxes: np.ndarray) -> dict[int, int]:
    anchors, owners = encoder.match(boxes)
    assert (np.diff(anchors) > 0).all()
    return dict(zip(anchors.tolist(), owners.tolist(), strict=True))


def random_boxes(rng: np.random.Generator, count: int, grid: int = 0) -> np.ndarray:
    """Boxes of all sizes; on a coarse grid equal overlaps are common."""
    centre = rng.random((count, 2))
    size = np.exp(rng.uniform(-6, 0, (count, 2)))
    boxes = np.clip(np.concatenate([centre - size / 2, centre + size / 2], 1), 0, 1)
    if grid:
        boxes = np.round(boxes * grid) / grid
    boxes = boxes[(boxes[:, 2:] > boxes[:, :2]).all(axis=1)]
    return boxes.astype(np.float32) if len(boxes) else np.array([[0.1, 0.2, 0.4, 0.6]], np.float32)


@pytest.fixture(scope="module")
def encoders() -> dict[str, BoxEncoder]:
    return {name: build_encoder(model_settings(name)) for name in PUBLISHED[:4]}


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_published_matchings_come_out_exactly(name: str, golden_dir: Path) -> None:
    encoder = build_encoder(model_settings(name))
    with np.load(golden_dir / f"{name}_seed0.npz") as golden:
        for k in range(6):
            truth = golden[f"enc{k}_gt"]
            loc, labels = encoder(truth[:, :4], truth[:, 4].astype(np.int32))
            positive = np.flatnonzero(labels)
            np.testing.assert_array_equal(positive, golden[f"enc{k}_pos"])
            np.testing.assert_array_equal(labels[positive], golden[f"enc{k}_label"])
            np.testing.assert_allclose(loc[positive], golden[f"enc{k}_loc"], rtol=0, atol=1e-5)
            assert len(positive) == golden[f"enc{k}_num"]
            assert not loc[labels == 0].any()


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_published_decoding_comes_out(name: str, golden_dir: Path) -> None:
    with np.load(golden_dir / f"{name}_seed0.npz") as golden:
        boxes = decode_boxes(golden["loc"], golden["default_boxes"][golden["idx"]])
        np.testing.assert_allclose(np.clip(boxes, 0, 1), golden["boxes"], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", PUBLISHED[:4])
@pytest.mark.parametrize("grid", [0, 8, 40])
def test_matching_equals_the_slow_rule(
    name: str, grid: int, encoders: dict[str, BoxEncoder]
) -> None:
    encoder = encoders[name]
    rng = np.random.default_rng(grid)
    for _ in range(6 if encoder.num_anchors > 10_000 else 20):
        boxes = random_boxes(rng, int(rng.integers(1, 20)), grid)
        assert matched(encoder, boxes) == slow_match(encoder.anchors_yxyx, boxes)


@pytest.mark.parametrize("name", ["ssd300", "ssd_mobilenet_v1_fpn"])
@pytest.mark.parametrize("grid", [0, 8])
def test_a_batch_is_encoded_as_its_images_one_by_one(
    name: str, grid: int, encoders: dict[str, BoxEncoder]
) -> None:
    encoder = encoders[name]
    rng = np.random.default_rng(grid)
    truths = []
    for count in (3, 0, 1, 40, 70, 0, 5, 130, 2):
        boxes = random_boxes(rng, count, grid)[:count]
        crowd = rng.random(len(boxes)) < 0.2
        truths.append((boxes, rng.integers(1, 80, len(boxes)).astype(np.int32), crowd))
    loc = np.full((len(truths), encoder.num_anchors, 4), 7, np.float32)
    labels = np.full((len(truths), encoder.num_anchors), 7, np.int32)
    images = np.repeat(np.arange(len(truths)), [len(numbers) for _, numbers, _ in truths])
    joined = (np.concatenate(column) for column in zip(*truths, strict=True))
    encoder.encode_batch(*joined, images, loc, labels)
    for place, (boxes, numbers, crowd) in enumerate(truths):
        owner = slow_match(encoder.anchors_yxyx, boxes[~crowd])
        want = np.zeros(encoder.num_anchors, np.int32)
        want[list(owner)] = numbers[~crowd][list(owner.values())]
        np.testing.assert_array_equal(np.maximum(labels[place], 0), want)
        alone = encoder(boxes, numbers, crowd)
        np.testing.assert_array_equal(alone[0], loc[place])
        np.testing.assert_array_equal(alone[1], labels[place])


@settings(max_examples=20, deadline=None)
@given(
    corners=arrays(np.float32, st.tuples(st.integers(1, 8), st.just(4)),
                   elements=st.floats(0, 1, width=32)),
)  # fmt: skip
def test_candidates_forget_no_anchor(corners: np.ndarray) -> None:
    low, high = (
        np.minimum(corners[:, :2], corners[:, 2:]),
        np.maximum(corners[:, :2], corners[:, 2:]),
    )
    boxes = np.concatenate([low, np.maximum(high, low + np.float32(1e-3))], axis=1)
    encoder = many_anchors()
    assert encoder.matcher._grid is not None
    assert matched(encoder, boxes) == slow_match(encoder.anchors_yxyx, boxes)


_ENCODERS: dict[str, BoxEncoder] = {}


def many_anchors() -> BoxEncoder:
    return _ENCODERS.setdefault("fpn", build_encoder(model_settings("ssd_mobilenet_v1_fpn")))


def test_a_box_that_touches_no_anchor_takes_the_first(encoders: dict[str, BoxEncoder]) -> None:
    outside = np.array([[3.0, 3.0, 3.5, 3.5], [0.2, 0.2, 0.5, 0.5]], np.float32)
    for encoder in encoders.values():
        found = matched(encoder, outside)
        assert found == slow_match(encoder.anchors_yxyx, outside)
        assert found[0] == 0


def test_the_first_of_equal_boxes_keeps_the_anchor(encoders: dict[str, BoxEncoder]) -> None:
    box = np.array([[0.1, 0.1, 0.4, 0.5]] * 2, np.float32)
    _, labels = encoders["ssd300"](box, np.array([3, 4]))
    assert set(labels[labels > 0].tolist()) == {3}


def test_no_boxes_are_all_background(encoders: dict[str, BoxEncoder]) -> None:
    loc, labels = encoders["ssd300"](np.zeros((0, 4), np.float32), np.zeros(0, np.int32))
    assert loc.shape == (1917, 4) and labels.shape == (1917,)
    assert loc.dtype == np.float32 and labels.dtype == np.int32
    assert not loc.any() and not labels.any()


def test_anchors_on_a_crowd_are_ignored_unless_positive(encoders: dict[str, BoxEncoder]) -> None:
    encoder = encoders["ssd300"]
    boxes = np.array([[0.0, 0.0, 0.6, 0.6], [0.2, 0.2, 0.45, 0.45]], np.float32)
    _, labels = encoder(boxes, np.array([7, 2]), np.array([True, False]))
    _, alone = encoder(boxes[1:], np.array([2]))
    covered = inside_fraction(encoder.anchors_yxyx, boxes[:1])[:, 0] > 0.5
    assert 7 not in labels
    np.testing.assert_array_equal(labels > 0, alone > 0)
    np.testing.assert_array_equal(labels == -1, covered & (alone == 0))
    assert (labels == -1).sum() > 100


def test_ignoring_crowds_can_be_set(encoders: dict[str, BoxEncoder]) -> None:
    region, crowd = np.array([[0.0, 0.0, 0.5, 0.5]], np.float32), np.array([True])
    counts = []
    for share in (0.2, 0.5, 0.9, 1.0):
        encoder = BoxEncoder(encoders["ssd300"].anchors_cyxhw, crowd_ignore=share)
        counts.append(int((encoder(region, np.array([1]), crowd)[1] == -1).sum()))
    assert counts == sorted(counts, reverse=True) and counts[0] > counts[1] > counts[2] > 0
    assert counts[3] == 0


def test_several_crowds_and_nothing_else(encoders: dict[str, BoxEncoder]) -> None:
    regions = np.array([[0.0, 0.0, 0.5, 0.5], [0.5, 0.5, 1.0, 1.0]], np.float32)
    loc, labels = encoders["ssd300"](regions, np.array([1, 1]), np.array([True, True]))
    assert set(labels.tolist()) == {0, -1} and not loc.any()


positive_boxes = arrays(
    np.float32, st.tuples(st.integers(1, 30), st.just(4)), elements=st.floats(1 / 64, 1, width=32)
)


@settings(max_examples=60, deadline=None)
@given(
    boxes=positive_boxes, anchors=positive_boxes, scaling=st.sampled_from([(0.1, 0.2), (1, 0.5)])
)
def test_decoding_undoes_encoding(
    boxes: np.ndarray, anchors: np.ndarray, scaling: tuple[float, float]
) -> None:
    count = min(len(boxes), len(anchors))
    corners, anchors = yxyx_from_cyxhw(boxes[:count]), anchors[:count]
    loc = encode_boxes(corners, anchors, scaling)
    assert loc.dtype == np.float32
    np.testing.assert_allclose(decode_boxes(loc, anchors, scaling), corners, rtol=0, atol=2e-5)


def test_decoding_takes_batches() -> None:
    loc = np.zeros((2, 3, 4), np.float32)
    anchors = np.full((3, 4), 0.5, np.float32)
    boxes = decode_boxes(loc, anchors)
    assert boxes.shape == (2, 3, 4)
    np.testing.assert_array_equal(boxes, np.broadcast_to([0.25, 0.25, 0.75, 0.75], boxes.shape))


def test_encoders_pickle(encoders: dict[str, BoxEncoder]) -> None:
    copy = pickle.loads(pickle.dumps(encoders["ssd_mobilenet_v1_fpn"]))
    boxes = random_boxes(np.random.default_rng(1), 5)
    assert matched(copy, boxes) == matched(encoders["ssd_mobilenet_v1_fpn"], boxes)


def test_impossible_anchors_are_refused() -> None:
    with pytest.raises(ValueError, match=r"shape \(3, 5\), expected \(A, 4\)"):
        BoxEncoder(np.zeros((3, 5)))
    with pytest.raises(ValueError, match="levels have 4 anchors, given are 6"):
        AnchorGrid(np.full((6, 4), 0.5, np.float32), [(1, 1, 2), (1, 1, 2)])
    with pytest.raises(ValueError, match="not one grid"):
        AnchorGrid(np.random.default_rng(0).random((6, 4), np.float32), [(2, 3, 1)])


@pytest.mark.parametrize("name", PUBLISHED)
def test_corners_are_the_default_boxes(name: str, golden_dir: Path) -> None:
    with np.load(golden_dir / f"{name}_seed0.npz") as golden:
        want = yxyx_from_cyxhw(golden["default_boxes"].astype(np.float64))
    np.testing.assert_allclose(default_corners(model_settings(name)), want, rtol=0, atol=2e-7)
