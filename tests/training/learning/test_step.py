"""One training step: what it divides by, what it changes, and what it leaves alone."""

from __future__ import annotations

from typing import Any

import mindspore as ms
import numpy as np
import pytest
from mindspore import nn

from tests.helpers.toy import snapshot, toy_batch, toy_state, toy_step
from training.learning.flat import Layout
from training.learning.gradient_norm import NormByTensor, NormOfVector
from training.learning.loss_scale import LossScale, share_of
from training.learning.reduce import Reduce, bucket_slices
from training.learning.settings import OptimSettings
from training.learning.statistics import Statistics, statistics_of

PLAIN = OptimSettings(momentum=0.0, weight_decay=0.0)


def test_clipping_bounds_the_move_and_keeps_its_direction() -> None:
    batch = toy_batch()
    moves = []
    for clip in (None, 0.5):
        optim = OptimSettings(momentum=0.0, weight_decay=0.0, clip_norm=clip)
        state = toy_state(optim)
        before = snapshot(state)
        result = toy_step(state, optim)(*batch, 1.0)
        after = snapshot(state)
        names = [p.name for p in state.optimizer.weights]
        moves.append(np.concatenate([
            (before[f"network.{n}"] - after[f"network.{n}"]).ravel() for n in names
        ]))  # fmt: skip
        assert result.applied
        # With rate 1 and no momentum the move is the gradient: its norm is what the step says.
        if clip is None:
            assert np.linalg.norm(moves[0]) == pytest.approx(result.grad_norm, rel=1e-4)
    assert np.linalg.norm(moves[0]) > 0.5
    assert np.linalg.norm(moves[1]) == pytest.approx(0.5, rel=1e-3)
    cosine = moves[0] @ moves[1] / np.linalg.norm(moves[0]) / np.linalg.norm(moves[1])
    assert cosine == pytest.approx(1.0, abs=1e-5)


def test_a_batch_in_parts_is_the_same_step() -> None:
    batch = toy_batch(size=4)
    results = {}
    for parts in (1, 2, 4):
        optim = OptimSettings(accumulate=parts)
        state = toy_state(optim, norm=False)
        step = toy_step(state, optim)
        losses = [step(*batch, 0.05).loss for _ in range(3)]
        results[parts] = losses, snapshot(state)
    for parts in (2, 4):
        np.testing.assert_allclose(results[parts][0], results[1][0], rtol=1e-5)
        for name, array in results[1][1].items():
            np.testing.assert_allclose(results[parts][1][name], array, rtol=1e-4, atol=1e-6)


@pytest.mark.slow
def test_parts_of_a_batch_are_another_step_where_batch_norm_sees_them() -> None:
    """As the help of `optim.accumulate` says, and why a resume refuses another count."""
    batch = toy_batch(size=4)
    after = {}
    for parts in (1, 2):
        optim = OptimSettings(accumulate=parts)
        state = toy_state(optim)
        toy_step(state, optim)(*batch, 0.05)
        after[parts] = snapshot(state)
    means = [name for name in after[1] if name.endswith("moving_mean")]
    assert means
    assert any(not np.allclose(after[1][n], after[2][n], rtol=1e-3, atol=1e-5) for n in means)


def test_the_loss_is_divided_by_the_positives_and_never_by_zero() -> None:
    state = toy_state(PLAIN)
    step = toy_step(state, PLAIN)
    images, targets, labels = toy_batch(positives=False)
    empty = step(images, targets, labels, 0.01)
    assert empty.applied
    assert empty.positives == 0
    assert np.isfinite(empty.loss)
    assert empty.loc_loss == 0
    images, targets, labels = toy_batch()
    some = step(images, targets, labels, 0.0)
    assert some.positives == (labels > 0).sum()
    assert some.loss == pytest.approx(some.loc_loss + some.cls_loss, rel=1e-6)
    # The same images twice: twice the sums over twice the positives.
    twice = [np.concatenate([x, x]) for x in (images, targets, labels)]
    assert step(*twice, 0.0).loss == pytest.approx(some.loss, rel=1e-4)


def test_a_step_that_is_not_finite_changes_nothing() -> None:
    optim = OptimSettings(ema=0.9)
    state = toy_state(optim)
    step = toy_step(state, optim, guard=True)
    images, targets, labels = toy_batch()
    step(images, targets, labels, 0.01, 0.9)
    before = snapshot(state)
    poisoned = targets.copy()
    poisoned[np.argwhere(labels > 0)[0][0], np.argwhere(labels > 0)[0][1], 2] = np.nan
    result = step(images, poisoned, labels, 0.01, 0.9)
    assert not result.applied
    assert np.isnan(result.loss)
    after = snapshot(state)
    for name, array in before.items():
        np.testing.assert_array_equal(after[name], array, err_msg=name)
    assert step(images, targets, labels, 0.01, 0.9).applied


def test_the_two_global_norms_agree() -> None:
    layout = Layout([(3, 4), (7,), (2, 5, 3)])
    flat = np.random.default_rng(0).standard_normal(sum(layout.sizes)).astype(np.float32)
    factor = ms.Tensor(0.25, ms.float32)
    for norm in (NormByTensor(layout), NormOfVector()):
        found = norm(ms.Tensor(flat), factor).asnumpy()
        assert found == pytest.approx(0.25 * np.linalg.norm(flat.astype(np.float64)), rel=1e-6)


def test_statistics_settle_on_the_device() -> None:
    state = toy_state(OptimSettings())
    live = statistics_of(state.network)
    first = [p.asnumpy().copy() for p in live]
    cell = Statistics(live)
    for p in live:
        ms.ops.assign(p, p + 1)
    cell.settle(ms.Tensor(False))
    for p, array in zip(live, first, strict=True):
        np.testing.assert_array_equal(p.asnumpy(), array)
        ms.ops.assign(p, p + 1)
    cell.settle(ms.Tensor(True))
    cell.restore()
    for p, array in zip(live, first, strict=True):
        np.testing.assert_array_equal(p.asnumpy(), array + 1)


def test_the_loss_scale_halves_and_doubles_and_changes_no_gradient() -> None:
    batch = toy_batch()
    plain, scaled = toy_state(PLAIN), toy_state(PLAIN, scaled=True)
    plain_step, scaled_step = toy_step(plain, PLAIN), toy_step(scaled, PLAIN)
    scales = []
    for _ in range(4):
        plain_step(*batch, 0.05)
        scales.append(scaled_step(*batch, 0.05).loss_scale)
    assert scales == [256, 256, 256, 512]
    for name, array in plain.detector_weights().items():
        np.testing.assert_allclose(scaled.detector_weights()[name], array, rtol=1e-4, atol=1e-6)
    images, targets, labels = batch
    scaled_step(images, np.full_like(targets, np.inf), labels, 0.05)
    assert float(scaled.scaler.scale.asnumpy()) == 256


def test_the_share_beside_the_loss_scale_changes_no_bit() -> None:
    bare, shared = toy_state(PLAIN, scaled=True), toy_state(PLAIN, scaled=True)
    shared.scaler = LossScale(256.0, 3, active=True, share=share_of(4))
    # A checkpoint from before there was a share: the same names, and its scale is taken over.
    shared.load(bare.detector_weights(), bare.rest())
    bare_step, shared_step = toy_step(bare, PLAIN), toy_step(shared, PLAIN)
    for seed in range(4):
        assert bare_step(*toy_batch(seed), 0.05) == shared_step(*toy_batch(seed), 0.05)
    assert shared.scaler.share == 1 / 256
    for name, array in snapshot(bare).items():
        np.testing.assert_array_equal(snapshot(shared)[name], array, err_msg=name)
    off = LossScale(256.0, 3, active=False, share=share_of(4))
    assert float(off.factor().asnumpy()) == 1


def test_frozen_weights_stay_and_a_vote_to_stop_comes_back() -> None:
    optim = OptimSettings(freeze=["stem*"])
    state = toy_state(optim)
    step = toy_step(state, optim)
    before = snapshot(state)
    assert not step(*toy_batch(), 0.1).stop
    assert step(*toy_batch(), 0.1, stop=True).stop
    after = snapshot(state)
    np.testing.assert_array_equal(after["network.stem.weight"], before["network.stem.weight"])
    np.testing.assert_array_equal(after["moments.stem.weight"], 0)
    assert np.abs(after["network.cls.weight"] - before["network.cls.weight"]).max() > 1e-4


@pytest.mark.parametrize(
    ("sizes", "bucket", "expected"),
    [
        ([4, 4, 4], 1e9, [(0, 3)]),
        ([4, 4, 4], 0, [(0, 1), (1, 2), (2, 3)]),
        ([4, 4, 4], 32, [(0, 2), (2, 3)]),
        ([100], 1, [(0, 1)]),
    ],
)
def test_buckets(sizes: list[int], bucket: float, expected: list[tuple[int, int]]) -> None:
    assert bucket_slices(sizes, bucket) == expected


class Doubled(nn.Cell):
    """Stands for an all-reduce between two ranks that hold the same."""

    def construct(self, x: ms.Tensor) -> ms.Tensor:
        return x * 2.0


@pytest.mark.parametrize(("count", "bucket_mb"), [(40, 0.0), (250, 0.01), (250, 128.0)])
def test_as_many_gradients_as_a_large_network_has_come_back_summed(
    count: int, bucket_mb: float
) -> None:
    """SSD300 has 255: a loop of the graph's language over them would nest too deep."""
    shapes = [(2 + k % 3, 5, 1 + k % 4) for k in range(count)]
    reduce = Reduce(shapes, 2, bucket_mb)
    reduce.all_reduce = Doubled()
    rng = np.random.default_rng(0)
    gradients = [rng.standard_normal(shape).astype(np.float32) for shape in shapes]

    @ms.jit
    def exchange(head: ms.Tensor, *tensors: ms.Tensor) -> Any:
        return reduce(head, tensors)

    total, summed = exchange(ms.Tensor([1.0, 2.0, 3.0]), *[ms.Tensor(g) for g in gradients])
    np.testing.assert_array_equal(total.asnumpy(), [2.0, 4.0, 6.0])
    expected = 2 * np.concatenate([gradient.ravel() for gradient in gradients])
    np.testing.assert_array_equal(summed.asnumpy(), expected)
