"""Momentum, decay groups, rate factors and the moving average against NumPy."""

from __future__ import annotations

import mindspore as ms
import numpy as np
import pytest
from mindspore import Parameter, Tensor, ops

from data_tools.core.errors import SettingError
from training.learning.optimizer import Optimizer
from training.learning.settings import OptimSettings
from training.learning.weight_average import WeightAverage
from training.learning.weight_groups import trainable

YES, NO = Tensor(True), Tensor(False)
NAMES = ("stem.weight", "stem.gamma", "head.weight", "head.bias")


def make_parameters() -> list[Parameter]:
    rng = np.random.default_rng(0)
    return [
        Parameter(Tensor(rng.standard_normal((3,)).astype(np.float32)), name=name) for name in NAMES
    ]


def reference(
    optim: OptimSettings, steps: int, rate: float
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """The same steps in NumPy, double precision."""
    weights = {p.name: p.asnumpy().astype(np.float64) for p in make_parameters()}
    moments = {name: np.zeros(3) for name in NAMES}
    for step in range(steps):
        for k, name in enumerate(NAMES):
            gradient = np.full(3, 0.1 * (k + 1) + step)
            decays = optim.decay == "all" or name.endswith("weight")
            gradient = gradient + (optim.weight_decay if decays else 0) * weights[name]
            own = rate * (0.1 if name.startswith("stem") and optim.lr_factors else 1.0)
            moments[name] = optim.momentum * moments[name] + gradient
            move = gradient + optim.momentum * moments[name] if optim.nesterov else moments[name]
            weights[name] = weights[name] - own * move
    return weights, moments


@pytest.mark.parametrize(
    "optim",
    [
        OptimSettings(weight_decay=0.1),
        OptimSettings(weight_decay=0.1, decay="weights"),
        OptimSettings(nesterov=True, momentum=0.8),
        OptimSettings(lr_factors={"stem*": 0.1}),
    ],
    ids=["published", "no decay on bias and norm", "nesterov", "slow stem"],
)
def test_update_is_that_of_the_formula(optim: OptimSettings) -> None:
    parameters = make_parameters()
    momentum = Optimizer(parameters, optim)
    update = momentum.update_of(parameters)
    for step in range(3):
        # Handed over at twice their size: the step divides by positives and loss scale on the way.
        gradients = [np.full(3, 2 * (0.1 * (k + 1) + step), np.float32) for k in range(len(NAMES))]
        flat = Tensor(np.concatenate(gradients))
        update(flat, Tensor(0.5, ms.float32), Tensor(0.2, ms.float32), YES)
        update(flat * np.nan, Tensor(0.5, ms.float32), Tensor(0.2, ms.float32), NO)
    weights, moments = reference(optim, 3, 0.2)
    assert list(momentum.read()) == [f"moments.{name}" for name in NAMES]
    for parameter, moment in zip(parameters, momentum.read().values(), strict=True):
        np.testing.assert_allclose(
            parameter.asnumpy(), weights[parameter.name], rtol=2e-6, atol=1e-6
        )
        np.testing.assert_allclose(moment, moments[parameter.name], rtol=2e-6)


@pytest.mark.parametrize("shapes", [[(3, 2), (7,)], [(5,)] * 70], ids=["two", "more than a group"])
def test_one_vector_has_the_bits_of_one_tensor_at_a_time(shapes: list[tuple[int, ...]]) -> None:
    rng = np.random.default_rng(1)
    arrays = [rng.standard_normal(shape).astype(np.float32) for shape in shapes]
    slopes = [rng.standard_normal(shape).astype(np.float32) for shape in shapes]
    together, apart = (
        [Parameter(Tensor(array), name=f"w{k}.weight") for k, array in enumerate(arrays)]
        for _ in range(2)
    )
    optim = OptimSettings(weight_decay=1e-3)
    momentum = Optimizer(together, optim)
    update = momentum.update_of(together)
    moments = [
        Parameter(Tensor(np.zeros_like(array)), name=f"m{k}") for k, array in enumerate(arrays)
    ]
    scale, rate = Tensor(0.37, ms.float32), Tensor(0.11, ms.float32)
    apply_momentum = ops.ApplyMomentum()
    for _ in range(3):
        update(Tensor(np.concatenate([s.ravel() for s in slopes])), scale, rate, YES)
        for weight, moment, slope in zip(apart, moments, slopes, strict=True):
            total = Tensor(slope) * scale + 1e-3 * weight
            apply_momentum(weight, moment, rate, total, 0.9)
    for left, right in zip(together, apart, strict=True):
        np.testing.assert_array_equal(left.asnumpy(), right.asnumpy())
    for left, right in zip(momentum.read().values(), moments, strict=True):
        np.testing.assert_array_equal(left, right.asnumpy())


def test_moments_rest_while_their_weights_do() -> None:
    parameters = make_parameters()
    momentum = Optimizer(parameters, OptimSettings(weight_decay=0.0))
    update = momentum.update_of(parameters[2:])
    update(Tensor(np.ones(6, np.float32)), Tensor(1.0, ms.float32), Tensor(0.1, ms.float32), YES)
    before = momentum.read()
    np.testing.assert_array_equal(before["moments.stem.weight"], 0)
    np.testing.assert_array_equal(before["moments.head.bias"], 1)
    update = momentum.update_of(parameters)  # thawed: the others begin, these go on
    update(Tensor(np.ones(12, np.float32)), Tensor(1.0, ms.float32), Tensor(0.1, ms.float32), YES)
    np.testing.assert_array_equal(momentum.read()["moments.stem.weight"], 1)
    np.testing.assert_allclose(momentum.read()["moments.head.bias"], 1.9, rtol=1e-6)
    momentum.write({name: np.full_like(array, 5) for name, array in before.items()})
    assert all((array == 5).all() for array in momentum.read().values())


def test_average_follows_its_weights() -> None:
    parameters = make_parameters()
    average = WeightAverage(parameters)
    before = parameters[0].asnumpy().copy()
    ms.ops.assign(parameters[0], Tensor(before + 1))
    average(Tensor(0.75, ms.float32), YES)
    average(Tensor(0.75, ms.float32), NO)
    averages = average.read()
    np.testing.assert_allclose(averages[NAMES[0]], before + 0.25, rtol=1e-6)
    np.testing.assert_array_equal(averages[NAMES[1]], parameters[1].asnumpy())
    average.restart()
    np.testing.assert_array_equal(average.read()[NAMES[0]], before + 1)


def test_freezing_by_pattern() -> None:
    parameters = make_parameters()
    assert [p.name for p in trainable(parameters, ["stem*"])] == ["head.weight", "head.bias"]
    assert trainable(parameters, []) == parameters
    with pytest.raises(SettingError, match=r"optim\.freeze: 'body\*' fits no parameter"):
        trainable(parameters, ["body*"])
    with pytest.raises(SettingError, match="nothing is left to train"):
        trainable(parameters, ["*"])
    with pytest.raises(SettingError, match=r"optim\.lr_factors: 'neck\*'"):
        Optimizer(parameters, OptimSettings(lr_factors={"neck*": 0.1}))
