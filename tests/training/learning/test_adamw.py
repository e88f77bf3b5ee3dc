"""AdamW against its formula in double precision, and what it shares with momentum in a step."""

from __future__ import annotations

import dataclasses
from typing import Any

import mindspore as ms
import numpy as np
import pytest
from mindspore import Parameter, Tensor
from numpy.typing import NDArray

from data_tools.core.errors import CheckpointError
from tests.helpers.toy import snapshot, toy_batch, toy_state, toy_step
from training.learning.optimizer import Optimizer
from training.learning.settings import OptimSettings
from training.learning.update import Update

YES, NO = Tensor(True), Tensor(False)
NAMES = ("stem.weight", "stem.gamma", "head.weight", "head.bias")
PLAIN = OptimSettings(name="adamw", weight_decay=0.0)


def make_parameters() -> list[Parameter]:
    rng = np.random.default_rng(0)
    return [Parameter(Tensor(rng.standard_normal(3).astype(np.float32)), name=n) for n in NAMES]


def slopes(step: int) -> NDArray[np.float32]:
    """Gradients of many sizes, end to end."""
    rng = np.random.default_rng(step + 1)
    flat: NDArray[np.float32] = rng.standard_normal(12) * 10.0 ** rng.uniform(-5, 3, 12)
    return flat.astype(np.float32)


def move(update: Update, flat: NDArray[Any], rate: float = 0.1, finite: Tensor = YES) -> None:
    update(Tensor(flat), Tensor(1.0, ms.float32), Tensor(rate, ms.float32), finite)


def reference(
    optim: OptimSettings, steps: int, rate: float, starts: dict[str, int]
) -> dict[str, NDArray[np.float64]]:
    """The same steps in NumPy, double precision; a weight sits out those before its start."""
    weights = {p.name: p.asnumpy().astype(np.float64) for p in make_parameters()}
    first, second = ({name: np.zeros(3) for name in NAMES} for _ in range(2))
    b1, b2 = optim.betas
    for step in range(steps):
        for name, gradient in zip(
            NAMES, slopes(step).astype(np.float64).reshape(4, 3), strict=True
        ):
            count = step + 1 - starts.get(name, 0)
            if count < 1:
                continue
            decays = optim.decay == "all" or name.endswith("weight")
            own = rate * (0.1 if name.startswith("stem") and optim.lr_factors else 1.0)
            first[name] = b1 * first[name] + (1 - b1) * gradient
            second[name] = b2 * second[name] + (1 - b2) * gradient**2
            root = np.sqrt(second[name] / (1 - b2**count)) + optim.eps
            weights[name] = (
                weights[name]
                - own * first[name] / (1 - b1**count) / root
                - own * optim.weight_decay * decays * weights[name]
            )
    return weights


@pytest.mark.parametrize(
    "optim",
    [
        OptimSettings(name="adamw", weight_decay=0.1),
        OptimSettings(name="adamw", weight_decay=0.1, decay="weights", betas=[0.8, 0.99], eps=1e-3),
        OptimSettings(name="adamw", weight_decay=0.1, lr_factors={"stem*": 0.1}),
    ],
    ids=["plain", "no decay on bias and norm", "slow stem"],
)
def test_update_is_that_of_the_formula(optim: OptimSettings) -> None:
    parameters = make_parameters()
    update = Optimizer(parameters, optim).update_of(parameters)
    for step in range(5):
        # Handed over at twice their size: the step divides by positives and loss scale on the way.
        flat, half = Tensor(2 * slopes(step)), Tensor(0.5, ms.float32)
        update(flat, half, Tensor(0.1, ms.float32), YES)
        update(flat * np.nan, half, Tensor(0.1, ms.float32), NO)  # counts for nothing
    for parameter in parameters:
        expected = reference(optim, 5, 0.1, {})[parameter.name]
        np.testing.assert_allclose(parameter.asnumpy(), expected, rtol=2e-6, atol=1e-6)


@pytest.mark.parametrize("size", [1e-5, 1.0, 1e4])
def test_the_first_step_is_as_long_as_the_rate(size: float) -> None:
    parameters = make_parameters()
    before = np.concatenate([p.asnumpy() for p in parameters])
    move(Optimizer(parameters, PLAIN).update_of(parameters), np.full(12, size, np.float32))
    after = np.concatenate([p.asnumpy() for p in parameters])
    np.testing.assert_allclose(before - after, 0.1 / (1 + 1e-8 / size), rtol=1e-5)


def test_weights_that_thaw_begin_their_own_count() -> None:
    parameters = make_parameters()
    optimizer = Optimizer(parameters, PLAIN)
    update = optimizer.update_of(parameters[2:])
    for step in range(3):
        move(update, slopes(step)[6:])
    np.testing.assert_array_equal(optimizer.read()["moment1.stem.weight"], 0)
    np.testing.assert_array_equal(optimizer.read()["moment_shares.stem.gamma"], 0)
    update = optimizer.update_of(parameters)
    for step in range(3, 6):
        move(update, slopes(step))
    expected = reference(PLAIN, 6, 0.1, {"stem.weight": 3, "stem.gamma": 3})
    for parameter in parameters:
        np.testing.assert_allclose(
            parameter.asnumpy(), expected[parameter.name], rtol=2e-6, atol=1e-6
        )
    shares = optimizer.read()
    for name, count in (("stem.gamma", 3), ("head.bias", 6)):
        np.testing.assert_allclose(
            shares[f"moment_shares.{name}"], [1 - 0.9**count, 1 - 0.999**count], rtol=1e-6
        )


@pytest.mark.parametrize("thawed", [False, True])
def test_a_state_that_was_read_and_written_goes_on_to_the_bit(thawed: bool) -> None:
    parameters = make_parameters()
    optimizer = Optimizer(parameters, PLAIN)
    if thawed:
        move(optimizer.update_of(parameters[2:]), slopes(9)[6:])
    update = optimizer.update_of(parameters)
    move(update, slopes(0))
    again = [Parameter(Tensor(p.asnumpy().copy()), name=p.name) for p in parameters]
    resumed = Optimizer(again, PLAIN)
    resumed.write({name: value.copy() for name, value in optimizer.read().items()})
    for cell in (update, resumed.update_of(again)):
        for step in (1, 2):
            move(cell, slopes(step))
    for left, right in zip(parameters, again, strict=True):
        np.testing.assert_array_equal(left.asnumpy(), right.asnumpy())
    for name, value in optimizer.read().items():
        np.testing.assert_array_equal(resumed.read()[name], value, err_msg=name)


def test_a_whole_step_resumes_and_skips_and_refuses_momentum() -> None:
    optim = OptimSettings(name="adamw", ema=0.9, clip_norm=5.0, freeze=["stem*"])
    state = toy_state(optim)
    step = toy_step(state, optim, guard=True)
    for seed in range(2):
        assert step(*toy_batch(seed), 0.01, 0.5).applied
    saved = {name: value.copy() for name, value in state.detector_weights().items()}
    rest = {name: value.copy() for name, value in state.rest().items()}
    images, targets, labels = toy_batch(5)
    assert not step(images, np.full_like(targets, np.nan), labels, 0.01, 0.5).applied
    for name, value in {**saved, **rest}.items():
        np.testing.assert_array_equal(snapshot(state)[name], value, err_msg=name)
    np.testing.assert_array_equal(rest["moment2.stem.weight"], 0)
    assert rest["moment2.cls.weight"].max() > 0

    resumed = toy_state(optim)
    resumed.load(saved, rest)
    for again, doing in ((state, step), (resumed, toy_step(resumed, optim, guard=True))):
        doing(*toy_batch(3), 0.01, 0.5)
        assert again.rest().keys() == rest.keys()
    for name, value in snapshot(state).items():
        np.testing.assert_array_equal(snapshot(resumed)[name], value, err_msg=name)

    other = toy_state(dataclasses.replace(optim, name="momentum"))
    with pytest.raises(CheckpointError, match="another optim.name"):
        other.load(saved, rest)
