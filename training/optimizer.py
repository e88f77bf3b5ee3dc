"""Momentum with its groups, and the moving average of the weights: the cells that change weights.

The learning rate is an argument of every update (`schedule.py` computes it), so nothing is compiled
anew when it changes. Gradients come from `step.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatch
from typing import Any

from mindspore import Parameter, ParameterTuple, Tensor, nn, ops

from data_tools.errors import SettingError
from training.settings import OptimSettings

NO_DECAY_ENDINGS = ("gamma", "beta", "bias")


def matches(name: str, patterns: Sequence[str]) -> bool:
    """True if a parameter's name fits one of the `fnmatch` patterns."""
    return any(fnmatch(name, pattern) for pattern in patterns)


def trainable(parameters: Sequence[Parameter], freeze: Sequence[str]) -> list[Parameter]:
    """Return the parameters that train, in their order.

    Args:
        parameters: The network's trainable parameters.
        freeze: Patterns of names that do not train.

    Raises:
        SettingError: If a pattern fits no parameter, or everything is frozen.
    """
    for pattern in freeze:
        if not any(fnmatch(p.name, pattern) for p in parameters):
            raise SettingError(
                f"optim.freeze: {pattern!r} fits no parameter. Names look like "
                f"{parameters[0].name!r} and {parameters[-1].name!r}."
            )
    left = [p for p in parameters if not matches(p.name, freeze)]
    if not left:
        raise SettingError(f"optim.freeze={list(freeze)}: nothing is left to train.")
    return left


def decay_of(name: str, optim: OptimSettings) -> float:
    """Return the weight decay of a parameter: none for biases and norms if `decay` is `weights`."""
    spared = optim.decay == "weights" and name.endswith(NO_DECAY_ENDINGS)
    return 0.0 if spared else optim.weight_decay


def factor_of(name: str, optim: OptimSettings) -> float:
    """Return the rate factor of a parameter: that of the first pattern that fits, else 1."""
    for pattern, factor in optim.lr_factors.items():
        if fnmatch(name, pattern):
            return float(factor)
    return 1.0


class Momentum(nn.Cell):
    """Momentum or Nesterov, with weight decay and a rate factor for each parameter.

    v <- momentum v + (g + decay w);  w <- w - rate v  (Nesterov: w <- w - rate (g + decay w + momentum v)).

    Args:
        parameters: All parameters that may ever train; `moments` holds a zero for each.
        optim: The optimizer settings.
    """

    def __init__(self, parameters: Sequence[Parameter], optim: OptimSettings) -> None:
        super().__init__(auto_prefix=False)
        for pattern in optim.lr_factors:
            if not any(fnmatch(p.name, pattern) for p in parameters):
                raise SettingError(f"optim.lr_factors: {pattern!r} fits no parameter.")
        self.weights = ParameterTuple(parameters)
        self.moments = self.weights.clone(prefix="moments", init="zeros")
        self.decays = tuple(decay_of(p.name, optim) for p in parameters)
        self.factors = tuple(factor_of(p.name, optim) for p in parameters)
        self.momentum = float(optim.momentum)
        self.nesterov = bool(optim.nesterov)
        self.apply_momentum = ops.ApplyMomentum()

    def subset(self, chosen: Sequence[Parameter]) -> tuple[int, ...]:
        """Return the positions of `chosen` among the weights."""
        position = {id(p): i for i, p in enumerate(self.weights)}
        return tuple(position[id(p)] for p in chosen)

    def update(self, index: int, gradient: Tensor, rate: Tensor) -> None:
        """Move the weight at `index` along its gradient."""
        weight = self.weights[index]
        if self.decays[index] > 0:
            gradient = gradient + self.decays[index] * weight
        if self.factors[index] != 1.0:
            rate = rate * self.factors[index]
        moment = self.moments[index]
        if self.nesterov:
            # MindSpore 2.10's CPU kernel takes `use_nesterov` and ignores it.
            velocity = self.momentum * moment + gradient
            ops.assign(moment, velocity)
            ops.assign(weight, weight - rate * (gradient + self.momentum * velocity))
        else:
            self.apply_momentum(weight, moment, rate, gradient, self.momentum)


class WeightAverage(nn.Cell):
    """Exponential moving average of weights and of batch-norm statistics.

    Args:
        tracked: The parameters to average; `averages` starts as a copy of each.
    """

    def __init__(self, tracked: Sequence[Parameter]) -> None:
        super().__init__(auto_prefix=False)
        self.tracked = ParameterTuple(tracked)
        self.averages = self.tracked.clone(prefix="ema", init="same")

    def construct(self, decay: Tensor) -> Any:
        """Move every average towards its parameter: a <- a + (1 - decay) (w - a)."""
        for i in range(len(self.tracked)):
            average = self.averages[i]
            ops.assign(average, average + (1.0 - decay) * (self.tracked[i] - average))
        return decay
