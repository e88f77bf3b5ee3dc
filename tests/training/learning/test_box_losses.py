"""GIoU, DIoU, CIoU and scores that mean overlaps against slow oracles; finite whatever comes."""

from __future__ import annotations

import math

import mindspore as ms
import numpy as np
import pytest
from mindspore import Tensor

from data_tools.core.errors import SettingError
from training.boxes.codec import decode_boxes, encode_boxes
from training.learning.box_losses import Decode, OverlapLoss
from training.learning.losses import build_loss
from training.learning.settings import LossSettings, require_matching
from training.nets.anchors import default_boxes
from training.nets.settings import ModelSettings, model_settings

KINDS = ("giou", "diou", "ciou")


def oracle(kind: str, found: np.ndarray, wanted: np.ndarray) -> float:
    """Loss of one pair of yxyx boxes, from the papers' formulas, in double precision."""
    a, b = found.tolist(), wanted.tolist()
    shared = max(0.0, min(a[2], b[2]) - max(a[0], b[0])) * max(
        0.0, min(a[3], b[3]) - max(a[1], b[1])
    )
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared
    high, wide = max(a[2], b[2]) - min(a[0], b[0]), max(a[3], b[3]) - min(a[1], b[1])
    iou = shared / union
    if kind == "giou":
        return 1 - (iou - (high * wide - union) / (high * wide))
    dy, dx = (a[0] + a[2] - b[0] - b[2]) / 2, (a[1] + a[3] - b[1] - b[3]) / 2
    diou = iou - (dy * dy + dx * dx) / (high * high + wide * wide)
    if kind == "diou":
        return 1 - diou
    v = (
        4
        / math.pi**2
        * (math.atan((b[3] - b[1]) / (b[2] - b[0])) - math.atan((a[3] - a[1]) / (a[2] - a[0]))) ** 2
    )
    return 1 - diou + v * v / (1 - iou + v)


def random_boxes(count: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    low = rng.uniform(-0.1, 0.7, (count, 2))
    return np.concatenate([low, low + rng.uniform(0.02, 0.5, (count, 2))], 1).astype(np.float32)


@pytest.mark.parametrize("kind", KINDS)
def test_values_and_gradients_are_those_of_the_formulas(kind: str) -> None:
    found, wanted = random_boxes(60, 0), random_boxes(60, 1)
    wanted[:20] = found[:20] + np.random.default_rng(2).uniform(-0.01, 0.01, (20, 4))
    loss = OverlapLoss(kind)

    def total(a: Tensor, b: Tensor) -> Tensor:
        return loss(a, b)[0].sum()

    values = loss(Tensor(found), Tensor(wanted))[0].asnumpy()
    doubles = found.astype(np.float64), wanted.astype(np.float64)
    want = [oracle(kind, a, b) for a, b in zip(*doubles, strict=True)]
    assert np.allclose(values, want, rtol=1e-4, atol=1e-5)
    gradients = ms.jit(ms.grad(total, 0))(Tensor(found), Tensor(wanted)).asnumpy()
    if kind == "ciou":
        return  # its weight has no gradient: the numbers below would be another function's
    for row in range(60):
        for side in range(4):
            moved = [doubles[0][row].copy() for _ in range(2)]
            moved[0][side] += 1e-6
            moved[1][side] -= 1e-6
            slope = (
                oracle(kind, moved[0], doubles[1][row]) - oracle(kind, moved[1], doubles[1][row])
            ) / 2e-6
            assert np.isclose(gradients[row, side], slope, rtol=2e-3, atol=2e-3), (row, side)


@pytest.mark.parametrize("kind", KINDS)
def test_a_step_along_the_gradient_brings_the_box_nearer(kind: str) -> None:
    found, wanted = random_boxes(40, 3), random_boxes(40, 4)
    loss = OverlapLoss(kind)

    def total(a: Tensor, b: Tensor) -> Tensor:
        return loss(a, b)[0].sum()

    gradient = ms.grad(total, 0)(Tensor(found), Tensor(wanted)).asnumpy()
    before = loss(Tensor(found), Tensor(wanted))[0].asnumpy()
    after = loss(Tensor(found - 1e-4 * gradient), Tensor(wanted))[0].asnumpy()
    # Not every one: at a corner that touches another box's the slope jumps.
    assert (after < before).mean() > 0.9
    assert after.sum() < before.sum()


def test_decoded_boxes_are_those_of_numpy() -> None:
    model = model_settings("ssd_tiny", image_size=[64, 64])
    anchors = default_boxes(model)
    loc = np.random.default_rng(5).normal(0, 2, (2, len(anchors), 4)).astype(np.float32)
    found = Decode(model)(Tensor(loc)).asnumpy()
    assert np.allclose(found, decode_boxes(loc, anchors), atol=1e-5)


# 64x64: 84 cells, an anchor each.
LIGHT = model_settings("ssd_light", image_size=[64, 64], assign="published")


def batch(model: ModelSettings, seed: int = 0) -> tuple[np.ndarray, ...]:
    """loc, logits, loc_targets, labels; targets of boxes, not of noise."""
    rng = np.random.default_rng(seed)
    anchors = default_boxes(model)
    count, classes = len(anchors), 4
    labels = np.where(rng.random((2, count)) < 0.3, rng.integers(1, classes, (2, count)), 0).astype(
        np.int32
    )
    labels[:, ::7] = -1
    targets = np.zeros((2, count, 4), np.float32)
    for n, a in np.argwhere(labels > 0):
        targets[n, a] = encode_boxes(random_boxes(1, int(rng.integers(1000))), anchors[a : a + 1])
    loc = targets + rng.normal(0, 1.0, targets.shape).astype(np.float32)
    logits = rng.normal(0, 2, (2, count, classes)).astype(np.float32)
    return loc.astype(np.float32), logits, targets, labels


def overlap_scores_oracle(
    kind: str, model: ModelSettings, batch: tuple[np.ndarray, ...], gamma: float, alpha: float
) -> tuple[float, float]:
    """(scores' part, sum of qualities), anchor by anchor."""
    loc, logits, targets, labels = batch
    anchors = default_boxes(model)
    found = decode_boxes(loc, anchors).astype(np.float64)
    wanted = decode_boxes(targets, anchors).astype(np.float64)
    total = qualities = 0.0
    for n, a in np.argwhere(labels >= 0):
        quality = 0.0
        if labels[n, a] > 0:
            loss = oracle("giou", found[n, a], wanted[n, a])
            high = [np.maximum(found[n, a, i], wanted[n, a, i]) for i in (2, 3)]
            low = [np.minimum(found[n, a, i], wanted[n, a, i]) for i in (0, 1)]
            around = (high[0] - low[0]) * (high[1] - low[1])
            sizes = [np.prod(b[2:] - b[:2]) for b in (found[n, a], wanted[n, a])]
            # 1 - loss = iou - 1 + union / around, and union = (areas) / (1 + iou).
            low_u, high_u = 0.0, 1.0
            for _ in range(60):
                middle = (low_u + high_u) / 2
                giou = middle - 1 + sum(sizes) / (1 + middle) / around
                low_u, high_u = (middle, high_u) if giou < 1 - loss else (low_u, middle)
            quality = low_u
        qualities += quality
        for c in range(1, logits.shape[2]):
            p = 1 / (1 + math.exp(-float(logits[n, a, c])))
            q = quality if c == labels[n, a] else 0.0
            entropy = -(q * math.log(p) + (1 - q) * math.log(1 - p))
            if kind == "quality":
                total += abs(q - p) ** gamma * entropy
            elif c == labels[n, a]:
                total += q * entropy
            else:
                total += alpha * p**gamma * entropy
    return total, qualities


@pytest.mark.parametrize(
    ("kind", "gamma"), [("varifocal", 2.0), ("quality", 2.0), ("quality", 1.5)]
)
def test_scores_that_mean_overlaps(kind: str, gamma: float) -> None:
    inputs = batch(LIGHT)
    settings = LossSettings(kind=kind, gamma=gamma, box="giou", loc_weight=0.0)
    total, weight = build_loss(settings, LIGHT)(*map(Tensor, inputs))
    want, qualities = overlap_scores_oracle(kind, LIGHT, inputs, gamma, 0.75)
    assert np.isclose(float(total), want, rtol=1e-4)
    assert np.isclose(float(weight), qualities, rtol=1e-4)


def test_weight_and_kind_of_the_boxes_part() -> None:
    inputs = tuple(map(Tensor, batch(LIGHT, 1)))
    none = float(build_loss(LossSettings(box="diou", loc_weight=0.0), LIGHT)(*inputs)[0])
    sums = {}
    for box in KINDS:
        one = build_loss(LossSettings(box=box), LIGHT)
        total, part, positives = (float(x) for x in one.parts(*inputs))
        assert np.isclose(total - none, part, rtol=1e-3)
        assert positives == (inputs[3].asnumpy() > 0).sum()
        twice = build_loss(LossSettings(box=box, loc_weight=2.0), LIGHT)
        assert np.isclose(float(twice.parts(*inputs)[1]), 2 * part, rtol=1e-6)
        sums[box] = part
    assert len(set(sums.values())) == 3
    # Scores that mean overlaps go with the regression of offsets too.
    offsets = build_loss(LossSettings(kind="quality"), LIGHT).parts(*inputs)
    assert float(offsets[1]) > 0


@pytest.mark.parametrize(
    ("kind", "box"), [("focal", "giou"), ("varifocal", "ciou"), ("quality", "diou")]
)
def test_degenerate_predictions_stay_finite(kind: str, box: str) -> None:
    loss = build_loss(LossSettings(kind=kind, box=box), LIGHT)

    def total(loc: Tensor, logits: Tensor, targets: Tensor, labels: Tensor) -> Tensor:
        return loss(loc, logits, targets, labels)[0]

    loc, logits, targets, labels = batch(LIGHT, 2)
    forward = ms.jit(ms.value_and_grad(total, (0, 1)))
    for extreme in (0.0, 1e4, 1e30, -1e4, -1e30):
        huge = np.full_like(loc, extreme)
        huge[..., 1::2] *= -1
        score = np.where(logits > 0, 300, -300).astype(np.float32)
        for wrong in (huge, np.full_like(loc, extreme)):
            value, gradients = forward(*map(Tensor, (wrong, score, targets, labels)))
            assert np.isfinite(value.asnumpy())
            assert all(np.isfinite(g.asnumpy()).all() for g in gradients)
    nothing = np.zeros_like(labels)
    value, gradients = forward(*map(Tensor, (loc, logits, targets * 0, nothing)))
    assert np.isfinite(value.asnumpy())
    assert not gradients[0].asnumpy().any()


@pytest.mark.parametrize("box", KINDS)
def test_equal_elements_have_equal_bits_wherever_they_are(box: str) -> None:
    found, wanted = random_boxes(1, 8), random_boxes(1, 9)
    loss = OverlapLoss(box)

    def total(a: Tensor, b: Tensor) -> Tensor:
        return loss(a, b)[0].sum()

    many = [Tensor(np.repeat(x, 10_007, 0)) for x in (found, wanted)]
    assert len(np.unique(loss(*many)[0].asnumpy())) == 1
    assert len(np.unique(ms.grad(total, 0)(*many).asnumpy(), axis=0)) == 1


def test_what_does_not_go_together_is_refused() -> None:
    with pytest.raises(SettingError, match=r"loss\.box='l1'.*smooth_l1.*giou.*diou.*ciou"):
        LossSettings(box="l1")
    tal = model_settings("ssd_light")
    with pytest.raises(SettingError, match=r"loss\.box='smooth_l1'.*model\.assign=tal"):
        require_matching(tal, LossSettings())
    require_matching(tal, LossSettings(box="ciou"))
    with pytest.raises(ValueError, match="needs the model's settings"):
        build_loss(LossSettings(box="giou"))
