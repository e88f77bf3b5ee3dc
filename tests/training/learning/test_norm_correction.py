"""Batch-norm statistics that are the mean of the batches seen: against NumPy's float64."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from mindspore import Tensor, nn
from numpy.typing import NDArray

from data_tools.core.errors import CheckpointError
from tests.helpers.toy import snapshot, toy_batch, toy_state, toy_step
from training.learning.settings import OptimSettings
from training.learning.state import TrainState
from training.learning.statistics import NormShares
from training.nets.normalize import Normalize

KEEP = 0.9  # of `nn.BatchNorm2d`, which the toy has
OPTIM = OptimSettings(norm_correction=True)
NAMES = ("network.norm.moving_mean", "network.norm.moving_variance")


def seen(state: TrainState, images: NDArray[np.uint8]) -> NDArray[np.float64]:
    """(2, 4) mean and unbiased variance of each channel before the toy's norm."""
    network: Any = state.network
    hidden = network.stem(Normalize([120.0] * 3, [60.0] * 3)(Tensor(images))).asnumpy()
    flat = hidden.astype(np.float64).transpose(1, 0, 2, 3).reshape(4, -1)
    return np.stack((flat.mean(1), flat.var(1, ddof=1)))


def found(state: TrainState) -> NDArray[np.float32]:
    arrays = snapshot(state)
    return np.stack([arrays[name] for name in NAMES])


def mean_of(rows: list[NDArray[np.float64]]) -> NDArray[np.float64]:
    """The mean of the rows in which each counts KEEP times what the one after it does."""
    weights = KEEP ** np.arange(len(rows))[::-1]
    result: NDArray[np.float64] = np.tensordot(weights / weights.sum(), np.stack(rows), 1)
    return result


def test_statistics_are_the_mean_of_the_batches_after_every_step() -> None:
    corrected, plain = toy_state(OPTIM), toy_state(OptimSettings())
    step, plain_step = toy_step(corrected, OPTIM, guard=True), toy_step(plain, OptimSettings())
    rows = []
    for seed in range(4):
        images, targets, labels = toy_batch(seed)
        rows.append(seen(corrected, images))
        assert step(images, targets, labels, 0.05).applied
        plain_step(images, targets, labels, 0.05)
        np.testing.assert_allclose(found(corrected), mean_of(rows), rtol=2e-5, atol=1e-5)
        before = snapshot(corrected)
        assert not step(images, np.full_like(targets, np.nan), labels, 0.05).applied
        for name, value in before.items():
            np.testing.assert_array_equal(snapshot(corrected)[name], value, err_msg=name)
    # Without it two thirds of what they started from are left; the weights train alike.
    left = KEEP**4
    expected = (1 - left) * mean_of(rows) + left * np.array([[0.0], [1.0]])
    np.testing.assert_allclose(found(plain), expected, rtol=2e-5, atol=1e-5)
    for one, other in zip(corrected.optimizer.weights, plain.optimizer.weights, strict=True):
        np.testing.assert_array_equal(one.asnumpy(), other.asnumpy(), err_msg=one.name)


def test_every_part_of_a_batch_counts() -> None:
    optim = OptimSettings(norm_correction=True, accumulate=2)
    state = toy_state(optim)
    step = toy_step(state, optim)
    rows = []
    for seed in range(2):
        images, targets, labels = toy_batch(seed)
        rows += [seen(state, images[:2]), seen(state, images[2:])]
        step(images, targets, labels, 0.0)
    np.testing.assert_allclose(found(state), mean_of(rows), rtol=2e-5, atol=1e-5)


def test_a_resumed_run_goes_on_to_the_bit_and_another_setting_is_refused() -> None:
    optim = OptimSettings(norm_correction=True, ema=0.9)
    state = toy_state(optim)
    step = toy_step(state, optim)
    step(*toy_batch(0), 0.05, 0.5)
    saved = {name: value.copy() for name, value in state.detector_weights().items()}
    rest = {name: value.copy() for name, value in state.rest().items()}
    assert rest["norm_shares.norm.moving_mean"] == pytest.approx(1 - KEEP)
    resumed = toy_state(optim)
    resumed.load(saved, rest)
    for doing in (step, toy_step(resumed, optim)):
        doing(*toy_batch(1), 0.05, 0.5)
    for name, value in snapshot(state).items():
        np.testing.assert_array_equal(snapshot(resumed)[name], value, err_msg=name)
    with pytest.raises(CheckpointError, match="norm_correction"):
        toy_state(OptimSettings(ema=0.9)).load(saved, rest)


def test_norms_that_rest_are_left_alone_and_begin_when_they_thaw() -> None:
    network = nn.SequentialCell(nn.BatchNorm2d(2), nn.BatchNorm2d(2)).set_train(True)
    first, second = network[0], network[1]
    second.set_train(False)
    norms = NormShares(network)
    image = Tensor(np.random.default_rng(0).standard_normal((2, 2, 4, 4)).astype(np.float32))

    def step() -> None:
        cell = norms.cell(1)
        assert cell is not None
        network(image)
        cell.settle(Tensor(True))

    step()
    np.testing.assert_array_equal(second.moving_variance.asnumpy(), 1)
    shares = {name: float(value) for name, value in norms.read().items()}
    assert sorted(set(shares.values())) == pytest.approx([0, 1 - KEEP])
    second.set_train(True)
    step()
    flat = image.asnumpy().astype(np.float64).transpose(1, 0, 2, 3).reshape(2, -1)
    np.testing.assert_allclose(first.moving_mean.asnumpy(), flat.mean(1), atol=1e-5)
    np.testing.assert_allclose(second.moving_variance.asnumpy(), 32 / 31, rtol=1e-3)
    shares = {name: float(value) for name, value in norms.read().items()}
    assert sorted(set(shares.values())) == pytest.approx([1 - KEEP, 1 - KEEP**2])
    network.set_train(False)
    assert norms.cell(1) is None
