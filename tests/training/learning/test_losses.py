"""Losses: values and gradients against a slow NumPy oracle, compiled and not."""

from __future__ import annotations

import mindspore as ms
import numpy as np
import numpy.typing as npt
import pytest
from mindspore import Tensor

from data_tools.core.errors import SettingError
from training.learning.box_losses import log_sum_exp
from training.learning.losses import build_loss
from training.learning.score_losses import softplus
from training.learning.settings import LossSettings

Array = npt.NDArray[np.float64]
N, A, C = 3, 40, 5


def batch(seed: int = 0, ignored: bool = True) -> tuple[np.ndarray, ...]:
    """loc, logits, loc_targets, labels; the last image has no object."""
    rng = np.random.default_rng(seed)
    labels = np.where(rng.random((N, A)) < 0.2, rng.integers(1, C, (N, A)), 0).astype(np.int32)
    labels[-1] = 0
    if ignored:
        labels[:, ::6] = -1
    loc = rng.standard_normal((N, A, 4)).astype(np.float32) * 2
    targets = rng.standard_normal((N, A, 4)).astype(np.float32) * (labels > 0)[..., None]
    logits = (rng.standard_normal((N, A, C)) * 3).astype(np.float32)
    return loc, logits, targets.astype(np.float32), labels


def smooth_l1(loc: Array, targets: Array, labels: Array) -> float:
    d = np.abs(loc - targets)
    return float((np.where(d < 1, 0.5 * d * d, d - 0.5) * (labels > 0)[..., None]).sum())


def focal_oracle(
    loc: Array, logits: Array, targets: Array, labels: Array, gamma: float, alpha: float
) -> float:
    total = 0.0
    for n, a, c in np.ndindex(logits.shape):
        if labels[n, a] < 0:
            continue
        p = 1 / (1 + np.exp(-logits[n, a, c]))
        right = labels[n, a] == c
        p_t = p if right else 1 - p
        total += (alpha if right else 1 - alpha) * (1 - p_t) ** gamma * -np.log(p_t)
    return total + smooth_l1(loc, targets, labels)


def multibox_oracle(
    loc: Array, logits: Array, targets: Array, labels: Array, negatives: float
) -> float:
    total = 0.0
    for n in range(len(logits)):
        top = logits[n].max(-1, keepdims=True)
        log_p = logits[n] - top - np.log(np.exp(logits[n] - top).sum(-1, keepdims=True))
        positive = labels[n] > 0
        total -= sum(log_p[a, labels[n, a]] for a in np.flatnonzero(positive))
        hard = np.sort(-log_p[labels[n] == 0, 0])[::-1]
        total += hard[: int(negatives * positive.sum())].sum()
    return total + smooth_l1(loc, targets, labels)


ORACLES = {
    "focal": lambda *t: focal_oracle(*t, gamma=2.0, alpha=0.75),
    "multibox": lambda *t: multibox_oracle(*t, negatives=3.0),
}


@pytest.mark.parametrize("kind", ORACLES)
@pytest.mark.parametrize("ignored", [False, True])
def test_value(kind: str, ignored: bool) -> None:
    inputs = batch(ignored=ignored)
    loss_sum, positives = build_loss(LossSettings(kind=kind))(*map(Tensor, inputs))
    assert loss_sum.dtype == positives.dtype == ms.float32
    assert loss_sum.shape == positives.shape == ()
    assert float(positives) == (inputs[3] > 0).sum()
    want = ORACLES[kind](*(x.astype(np.float64) for x in inputs[:3]), inputs[3])
    assert np.isclose(float(loss_sum), want, rtol=1e-5)


@pytest.mark.parametrize(("gamma", "alpha"), [(0.0, 0.5), (0.5, 0.75), (1.5, 0.25), (2.0, 0.25)])
def test_focal_constants(gamma: float, alpha: float) -> None:
    inputs = batch(1)
    loss_sum, _ = build_loss(LossSettings(gamma=gamma, alpha=alpha))(*map(Tensor, inputs))
    want = focal_oracle(*(x.astype(np.float64) for x in inputs[:3]), inputs[3], gamma, alpha)
    assert np.isclose(float(loss_sum), want, rtol=1e-5)


@pytest.mark.parametrize("kind", ORACLES)
def test_gradient_is_that_of_the_oracle_compiled_and_not(kind: str) -> None:
    inputs = batch(2)
    loss = build_loss(LossSettings(kind=kind))
    gradient = ms.grad(_first(loss), (0, 1))
    plain = [g.asnumpy() for g in gradient(*map(Tensor, inputs))]
    compiled = [g.asnumpy() for g in ms.jit(gradient)(*map(Tensor, inputs))]
    doubles = [x.astype(np.float64) for x in inputs[:3]]
    rng = np.random.default_rng(3)
    for which, size in ((0, 4), (1, C)):
        for _ in range(25):
            place = (int(rng.integers(N)), int(rng.integers(A)), int(rng.integers(size)))
            values = []
            for step in (1e-5, -1e-5):
                moved = [x.copy() for x in doubles]
                moved[which][place] += step
                values.append(ORACLES[kind](*moved, inputs[3]))
            numeric = (values[0] - values[1]) / 2e-5
            assert np.isclose(plain[which][place], numeric, rtol=1e-3, atol=1e-4)
        assert np.allclose(plain[which], compiled[which], rtol=1e-5, atol=1e-6)


def _first(loss: ms.nn.Cell):
    def forward(loc: Tensor, logits: Tensor, targets: Tensor, labels: Tensor) -> Tensor:
        return loss(loc, logits, targets, labels)[0]

    return forward


@pytest.mark.parametrize("kind", ORACLES)
def test_ignored_anchors_have_no_gradient(kind: str) -> None:
    inputs = batch(4)
    gradients = ms.grad(_first(build_loss(LossSettings(kind=kind))), (0, 1))(*map(Tensor, inputs))
    for gradient in gradients:
        assert not gradient.asnumpy()[inputs[3] < 0].any()


@pytest.mark.parametrize("kind", ORACLES)
@pytest.mark.parametrize("gamma", [0.5, 2.0])
def test_extreme_logits_stay_finite(kind: str, gamma: float) -> None:
    loc, logits, targets, labels = batch(5)
    logits = np.where(logits > 0, 300.0, -300.0).astype(np.float32)
    forward = ms.value_and_grad(_first(build_loss(LossSettings(kind=kind, gamma=gamma))), (0, 1))
    value, gradients = forward(*map(Tensor, (loc, logits, targets, labels)))
    assert np.isfinite(value.asnumpy())
    assert all(np.isfinite(g.asnumpy()).all() for g in gradients)


def test_logits_of_zero_have_the_right_gradient() -> None:
    loc, logits, targets, labels = batch(6, ignored=False)
    inputs = (loc, np.zeros_like(logits), targets, np.zeros_like(labels))
    gradient = ms.grad(_first(build_loss(LossSettings())), 1)(*map(Tensor, inputs)).asnumpy()
    # d/dx of (1-alpha) p^2 softplus(x) at 0 is (1-alpha)(log(2)/4 + 1/8).
    assert np.allclose(gradient[..., 1:], 0.25 * (np.log(2) / 4 + 0.125), rtol=1e-5)


def test_no_positive_in_the_batch() -> None:
    loc, logits, targets, labels = batch(7)
    for kind in ORACLES:
        loss_sum, positives = build_loss(LossSettings(kind=kind))(
            *map(Tensor, (loc, logits, targets, np.zeros_like(labels)))
        )
        assert float(positives) == 0
        assert np.isfinite(float(loss_sum))
        assert (float(loss_sum) == 0) == (kind == "multibox")


def test_weight_of_the_regression() -> None:
    inputs = batch(8)
    sums = [float(build_loss(LossSettings(loc_weight=w))(*map(Tensor, inputs))[0]) for w in (0, 2)]
    want = 2 * smooth_l1(*(inputs[i].astype(np.float64) for i in (0, 2)), inputs[3])
    assert np.isclose(sums[1] - sums[0], want, rtol=1e-4)


@pytest.mark.parametrize(
    ("field", "value"),
    [("kind", "l2"), ("gamma", -1.0), ("alpha", 1.0), ("negatives", 0.0), ("loc_weight", -1.0)],
)
def test_settings_that_cannot_work(field: str, value: object) -> None:
    with pytest.raises(SettingError, match=f"loss.{field}"):
        LossSettings(**{field: value})


def test_equal_elements_have_equal_bits_wherever_they_are() -> None:
    """Threads share a tensor out in ways that change from call to call: ends of shares must not
    show.
    """
    values = (np.random.default_rng(0).standard_normal(1009) * 4).astype(np.float32)
    x = np.resize(values, 4 * 1917 * 7 + 3)
    rows = np.resize(values.repeat(2).reshape(-1, 2) * [1, -0.3], (len(x), 2)).astype(np.float32)
    for got in (softplus(Tensor(x)), log_sum_exp(Tensor(rows))):
        np.testing.assert_array_equal(got.asnumpy(), np.resize(got.asnumpy()[:1009], len(x)))


def test_softplus_and_its_gradient_at_zero_and_far_out() -> None:
    x = np.array([-200, -20, -1, 0, 1, 20, 200], np.float32)

    def summed(v: Tensor) -> Tensor:
        return softplus(v).sum()

    value, slope = ms.value_and_grad(summed)(Tensor(x))
    exact = np.logaddexp(0, x.astype(np.float64))
    np.testing.assert_allclose(softplus(Tensor(x)).asnumpy(), exact, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(float(value.asnumpy()), exact.sum(), rtol=1e-6)
    np.testing.assert_allclose(
        slope.asnumpy(), 1 / (1 + np.exp(-x.astype(np.float64))), rtol=1e-6, atol=1e-6
    )


@pytest.mark.parametrize("kind", ["focal", "multibox"])
def test_a_call_has_the_bits_of_the_calls_before(kind: str) -> None:
    """MindSpore tries other shares of its threads at the 6th, 11th, ... 26th call, as a resumed run
    does not.
    """
    rng = np.random.default_rng(0)
    shape = (
        4,
        1917,
        7,
    )  # the boxes of ssd300: no share of theirs is a multiple of a vector's length
    labels = rng.integers(0, 7, shape[:2]) * (rng.random(shape[:2]) < 0.05)
    loc = Tensor(rng.standard_normal((*shape[:2], 4)).astype(np.float32))
    logits = Tensor(rng.standard_normal(shape).astype(np.float32))
    loss = build_loss(LossSettings(kind=kind))

    def total(a: Tensor, b: Tensor, c: Tensor, d: Tensor) -> Tensor:
        loss_sum, _ = loss(a, b, c, d)
        return loss_sum

    of_loss = ms.value_and_grad(total, (0, 1))

    @ms.jit
    def run(a: Tensor, b: Tensor, c: Tensor, d: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        value, (by_loc, by_logits) = of_loss(a, b, c, d)
        return value, by_loc, by_logits

    def call() -> list[npt.NDArray[np.float32]]:
        return [t.asnumpy() for t in run(loc, logits, loc, Tensor(labels.astype(np.int32)))]

    first = call()
    for _ in range(32):
        for expected, got in zip(first, call(), strict=True):
            np.testing.assert_array_equal(got, expected)
