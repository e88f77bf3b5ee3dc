"""The inference graph: golden boxes and scores, padding, decoding as NumPy does it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.helpers.eval_fixtures import fill_like_golden
from training.boxes.codec import decode_boxes
from training.inference.predictor import build_predictor, detection_cell, pad_batch
from training.nets.anchors import default_boxes
from training.nets.build import build_network
from training.nets.settings import model_settings


@pytest.fixture(scope="module")
def tiny() -> Any:
    network = build_network(model_settings("ssd_tiny", image_size=[64, 64]), 4, seed=3)
    return build_predictor(network, batch_size=2)


def pixels(count: int, size: tuple[int, int], seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, 3, *size), np.uint8)


def as_pixels(model: Any, normalized: np.ndarray) -> np.ndarray:
    """The pixels (N, 3, H, W) float32 that the network's normalisation turns into these values."""
    mean, std = (np.array(values)[:, None, None] for values in (model.mean, model.std))
    return (normalized * std + mean).astype(np.float32)


def test_golden_boxes_and_scores(golden_dir: Path) -> None:
    import mindspore as ms

    network = build_network(model_settings("ssd300"), 81)
    fill_like_golden(network)
    golden = np.load(golden_dir / "ssd300_seed0.npz")
    x = np.random.default_rng(7).standard_normal((1, 3, 300, 300)).astype(np.float32)
    boxes, scores = detection_cell(network)(ms.Tensor(as_pixels(network.model, x)))
    sample = golden["idx"]
    np.testing.assert_allclose(boxes.asnumpy()[0, sample], golden["boxes"], rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(scores.asnumpy()[0, sample], golden["scores"], rtol=1e-4, atol=1e-7)


def test_any_number_of_images(tiny: Any) -> None:
    images = pixels(5, (64, 64))
    boxes, scores = tiny(images)
    assert boxes.shape == (5, len(default_boxes(tiny.model)), 4)
    assert scores.shape == (*boxes.shape[:2], 4)
    assert boxes.dtype == scores.dtype == np.float32
    assert boxes.min() >= 0 and boxes.max() <= 1
    for k in range(5):
        alone = tiny(images[k : k + 1])
        np.testing.assert_allclose(alone[0][0], boxes[k], atol=1e-6)
        np.testing.assert_allclose(alone[1][0], scores[k], atol=1e-6)


def test_the_same_input_gives_the_same_bits(tiny: Any) -> None:
    images = pixels(2, (64, 64))
    first, second = tiny(images), tiny(images)
    assert np.array_equal(first[0], second[0]) and np.array_equal(first[1], second[1])


def test_decoding_is_that_of_the_codec(tiny: Any) -> None:
    import mindspore as ms

    network = build_network(model_settings("ssd_tiny", image_size=[64, 96]), 4, seed=5)
    x = ms.Tensor(pixels(2, (64, 96), seed=1))
    loc, scores = detection_cell(network, decode=False)(x)
    boxes, same = detection_cell(network)(x)
    anchors = default_boxes(network.model)
    expected = np.clip(decode_boxes(loc.asnumpy(), anchors, network.model.prior_scaling), 0, 1)
    np.testing.assert_allclose(boxes.asnumpy(), expected, atol=1e-6)
    np.testing.assert_allclose(scores.asnumpy(), same.asnumpy(), atol=1e-6)


def test_weights_changed_by_assign_are_seen() -> None:
    from mindspore import Tensor, ops

    network = build_network(model_settings("ssd_tiny", image_size=[64, 64]), 4, seed=3)
    predict = build_predictor(network, batch_size=1)
    images = pixels(1, (64, 64))
    before = predict(images)[1]
    other = build_network(model_settings("ssd_tiny", image_size=[64, 64]), 4, seed=4)
    for mine, theirs in zip(network.get_parameters(), other.get_parameters(), strict=True):
        ops.assign(mine, Tensor(theirs.asnumpy()))
    after = predict(images)[1]
    assert not np.allclose(before, after)
    np.testing.assert_allclose(after, build_predictor(other, 1)(images)[1], atol=1e-6)


def test_padding() -> None:
    images = pixels(2, (3, 3))
    padded = pad_batch(images, 4)
    assert padded.shape == (4, 3, 3, 3)
    assert np.array_equal(padded[:2], images) and not padded[2:].any()
    assert pad_batch(images, 2).flags.c_contiguous
