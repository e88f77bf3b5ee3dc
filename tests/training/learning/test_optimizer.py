"""Momentum, decay groups, rate factors and the moving average against NumPy."""

from __future__ import annotations

import mindspore as ms
import numpy as np
import pytest
from mindspore import Parameter, Tensor

from data_tools.core.errors import SettingError
from training.learning.optimizer import Momentum, WeightAverage, trainable
from training.settings import OptimSettings

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
    momentum = Momentum(parameters, optim)
    update = momentum.update_of(parameters)
    for step in range(3):
        # Handed over at twice their size: the step divides by positives and loss scale on the way.
        gradients = tuple(
            Tensor(np.full(3, 2 * (0.1 * (k + 1) + step), np.float32)) for k in range(len(NAMES))
        )
        update(gradients, Tensor(0.5, ms.float32), Tensor(0.2, ms.float32))
    weights, moments = reference(optim, 3, 0.2)
    for parameter, moment in zip(parameters, momentum.moments, strict=True):
        np.testing.assert_allclose(
            parameter.asnumpy(), weights[parameter.name], rtol=2e-6, atol=1e-6
        )
        np.testing.assert_allclose(moment.asnumpy(), moments[parameter.name], rtol=2e-6)
        assert moment.name == f"moments.{parameter.name}"


def test_average_follows_its_weights() -> None:
    parameters = make_parameters()
    average = WeightAverage(parameters)
    before = parameters[0].asnumpy().copy()
    ms.ops.assign(parameters[0], Tensor(before + 1))
    average(Tensor(0.75, ms.float32))
    np.testing.assert_allclose(average.averages[0].asnumpy(), before + 0.25, rtol=1e-6)
    np.testing.assert_array_equal(average.averages[1].asnumpy(), parameters[1].asnumpy())


def test_freezing_by_pattern() -> None:
    parameters = make_parameters()
    assert [p.name for p in trainable(parameters, ["stem*"])] == ["head.weight", "head.bias"]
    assert trainable(parameters, []) == parameters
    with pytest.raises(SettingError, match=r"optim\.freeze: 'body\*' fits no parameter"):
        trainable(parameters, ["body*"])
    with pytest.raises(SettingError, match="nothing is left to train"):
        trainable(parameters, ["*"])
    with pytest.raises(SettingError, match=r"optim\.lr_factors: 'neck\*'"):
        Momentum(parameters, OptimSettings(lr_factors={"neck*": 0.1}))
