"""Boxes as distributions: the network's plain boxes, and the loss, against float64."""

from __future__ import annotations

import mindspore as ms
import numpy as np
import pytest
from mindspore import Tensor

from data_tools.core.errors import SettingError
from training.boxes.codec import decode_boxes
from training.learning.box_losses import BinsLoss
from training.learning.losses import build_loss
from training.learning.settings import LossSettings, require_matching
from training.nets.anchors import default_boxes
from training.nets.box_bins import BoxBins
from training.nets.build import build_network
from training.nets.settings import model_settings

BINS = 8
MODEL = model_settings("ssd_light", image_size=[64, 96], box_bins=BINS)
ANCHORS = default_boxes(MODEL)
COUNTS = (8 * 12, 4 * 6, 2 * 3)
STEPS = np.repeat([8, 16, 32], COUNTS)[:, None] / np.array([64, 96])  # (A, 2)


def random_logits(count: int, scale: float = 3.0) -> np.ndarray:
    rng = np.random.default_rng(0)
    return (scale * rng.standard_normal((count, len(ANCHORS), 4 * BINS))).astype(np.float32)


def oracle(loc: np.ndarray) -> np.ndarray:
    """Boxes of (N, A, 4 * bins) in double precision."""
    logits = loc.astype(np.float64).reshape(*loc.shape[:2], 4, BINS)
    shares = np.exp(logits - logits.max(-1, keepdims=True))
    shares /= shares.sum(-1, keepdims=True)
    distances = (shares * np.arange(BINS)).sum(-1)
    low, high = distances[..., :2] * STEPS, distances[..., 2:] * STEPS
    return np.concatenate([ANCHORS[:, :2] - low, ANCHORS[:, :2] + high], -1)


def test_boxes_and_the_plain_regression_of_them() -> None:
    loc, bins = random_logits(2), BoxBins(MODEL)
    loc[1, 5] = np.tile([100.0] + [0.0] * (BINS - 1), 4)  # a box without area
    expected = oracle(loc)
    np.testing.assert_allclose(bins(Tensor(loc)).asnumpy(), expected, atol=2e-6)
    plain = decode_boxes(bins.offsets(Tensor(loc)).asnumpy(), ANCHORS)
    np.testing.assert_allclose(plain, expected, atol=2e-4)  # no side is below 0.001 steps


def test_the_network_gives_plain_boxes_when_it_detects_and_starts_near_its_default_boxes() -> None:
    network = build_network(MODEL, 4, seed=2)
    image = Tensor(np.random.default_rng(1).standard_normal((1, 3, 64, 96)).astype(np.float32))
    loc, _ = network(image)
    raw = network.raw(image)[0].asnumpy()
    assert loc.shape == (1, len(ANCHORS), 4)
    assert raw.shape == (1, len(ANCHORS), 4 * BINS)
    found = decode_boxes(loc.asnumpy(), ANCHORS)
    np.testing.assert_allclose(found, oracle(raw), atol=2e-5)
    sizes = (found[..., 2:] - found[..., :2]) / ANCHORS[:, 2:]
    assert 0.9 < sizes.min() < sizes.max() < 1.5


def test_the_loss_is_the_entropy_with_the_two_nearest_bins() -> None:
    rng = np.random.default_rng(3)
    loc = random_logits(1)
    boxes = np.concatenate(
        [ANCHORS[:, :2] - rng.uniform(-1, 9, STEPS.shape) * STEPS,
         ANCHORS[:, :2] + rng.uniform(-1, 9, STEPS.shape) * STEPS], -1,
    )[None].astype(np.float32)  # fmt: skip
    found = BinsLoss(BoxBins(MODEL))(Tensor(loc), Tensor(boxes)).asnumpy()[0]
    logits = loc[0].astype(np.float64).reshape(-1, 4, BINS)
    log_shares = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    low = (ANCHORS[:, :2] - boxes[0, :, :2]) / STEPS
    distances = np.concatenate([low, (boxes[0, :, 2:] - ANCHORS[:, :2]) / STEPS], 1)
    for a in range(0, len(ANCHORS), 7):
        total = 0.0
        for side, distance in enumerate(np.clip(distances[a], 0, BINS - 1)):
            left = min(int(distance), BINS - 2)
            total -= (left + 1 - distance) * log_shares[a, side, left]
            total -= (distance - left) * log_shares[a, side, left + 1]
        assert found[a] == pytest.approx(total / 4, rel=1e-4, abs=1e-4)


@pytest.mark.parametrize("assign", ["tal", "published"])
def test_a_whole_loss_weighs_it_and_stays_finite(assign: str) -> None:
    model = model_settings("ssd_light", image_size=[64, 96], box_bins=BINS, assign=assign)
    logits = np.random.default_rng(4).standard_normal((1, len(ANCHORS), 4)).astype(np.float32)
    if assign == "tal":
        targets = np.array([[[0.1, 0.1, 0.6, 0.5], [0, 0, 0, 0]]], np.float32)
        labels = np.array([[2, 0]], np.int32)
    else:
        targets = np.zeros((1, len(ANCHORS), 4), np.float32)
        labels = np.zeros((1, len(ANCHORS)), np.int32)
        labels[0, 40] = 1
    with_bins, without = (
        build_loss(LossSettings(kind="varifocal", box="giou", bins_weight=weight), model)
        for weight in (0.5, 0.0)
    )

    def parts(*arrays: Tensor) -> tuple[Tensor, ...]:
        total, boxes, positives = with_bins.parts(*arrays)
        return total, boxes, without.parts(*arrays)[1], positives

    forward = ms.jit(ms.value_and_grad(parts, 0, has_aux=True))
    entropy = []
    for loc in (random_logits(1), random_logits(1) * 1e4, np.full_like(random_logits(1), 1e30)):
        (total, boxes, plain, positives), gradient = forward(
            *map(Tensor, (loc, logits, targets, labels))
        )
        assert np.isfinite(float(total))
        assert np.isfinite(gradient.asnumpy()).all()
        entropy.append((float(boxes) - float(plain)) / 0.5 / float(positives))
    # Some units a positive, thousands where the logits are; equal bins cancel out at any size.
    assert 0.1 < entropy[0] < 20 < entropy[1]


def test_other_networks_and_offsets_are_refused() -> None:
    with pytest.raises(SettingError, match=r"model\.box_bins=8.*only ssd_light"):
        build_network(model_settings("ssd_tiny", box_bins=8), 4)
    with pytest.raises(SettingError, match=r"model\.box_bins=2"):
        model_settings("ssd_light", box_bins=2)
    light = model_settings("ssd_light", box_bins=8, assign="published")
    with pytest.raises(SettingError, match=r"loss\.box='smooth_l1'"):
        require_matching(light, LossSettings())
