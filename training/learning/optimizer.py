"""Momentum with its groups, and the moving average of the weights: the cells that change weights.

The learning rate is an argument of every update (`schedule.py` computes it), so nothing is compiled
anew when it changes. Gradients come from `step.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatch
from typing import TYPE_CHECKING, Any

from mindspore import Parameter, ParameterTuple, Tensor, nn, ops

from data_tools.core.errors import SettingError
from training.settings import OptimSettings

if TYPE_CHECKING:
    from training.nets.ssd import SSD

apply_momentum = ops.ApplyMomentum()
NO_DECAY_ENDINGS = ("gamma", "beta", "bias")


def matches(name: str, patterns: Sequence[str]) -> bool:
    """True if a parameter's name fits one of the `fnmatch` patterns."""
    return any(fnmatch(name, pattern) for pattern in patterns)


BACKBONE = "backbone"
"""In place of a pattern: all weights of the network's backbone."""


def expand_backbone(network: SSD, patterns: Sequence[str]) -> tuple[str, ...]:
    """Replace the word `backbone` among patterns by the names of the network's backbone.

    Args:
        network: The detector.
        patterns: `fnmatch` patterns.
    """
    expanded: list[str] = []
    for pattern in patterns:
        if pattern == BACKBONE:
            expanded += [p.name for p in network.trainable_params() if network.in_backbone(p.name)]
        else:
            expanded.append(pattern)
    return tuple(expanded)


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
        raise SettingError(
            f"optim.freeze={list(freeze)}: nothing is left to train. Freeze less, "
            "for instance optim.freeze=[backbone]."
        )
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
                raise SettingError(
                    f"optim.lr_factors: {pattern!r} fits no parameter. Names look like "
                    f"{parameters[0].name!r} and {parameters[-1].name!r}."
                )
        self.weights = ParameterTuple(parameters)
        self.moments = self.weights.clone(prefix="moments", init="zeros")
        self.optim = optim

    def update_of(self, chosen: Sequence[Parameter]) -> Update:
        """Return the cell that moves some of the weights, with their moments."""
        position = {id(p): i for i, p in enumerate(self.weights)}
        places = [position[id(p)] for p in chosen]
        return Update(
            [self.weights[i] for i in places], [self.moments[i] for i in places], self.optim
        )


class Update(nn.Cell):
    """Moves weights along their gradients.

    A loop over the parameters would be unrolled by the compiler and, with some hundred of them, exceed
    its call depth; a map over them is one node.

    Args:
        weights: The weights.
        moments: Their moments.
        optim: The optimizer settings.
    """

    def __init__(
        self, weights: Sequence[Parameter], moments: Sequence[Parameter], optim: OptimSettings
    ) -> None:
        super().__init__(auto_prefix=False)
        self.weights, self.moments = ParameterTuple(weights), ParameterTuple(moments)
        self.decays = tuple(decay_of(p.name, optim) for p in weights)
        self.factors = tuple(factor_of(p.name, optim) for p in weights)
        self.momentum = float(optim.momentum)
        self.each = ops.HyperMap()
        self.move = move_nesterov if optim.nesterov else move_plain

    def construct(self, gradients: tuple[Tensor, ...], scale: Tensor, rate: Tensor) -> Tensor:
        """Move every weight along `scale` times its gradient; return the rate."""
        move = ops.partial(self.move, scale, rate, self.momentum)
        self.each(move, self.decays, self.factors, self.weights, self.moments, gradients)
        return rate


def move_plain(
    scale: Tensor,
    rate: Tensor,
    momentum: float,
    decay: float,
    factor: float,
    weight: Parameter,
    moment: Parameter,
    gradient: Tensor,
) -> Any:
    """Move one weight by plain momentum."""
    slope = gradient * scale + decay * weight
    return apply_momentum(weight, moment, rate * factor, slope, momentum)


def move_nesterov(
    scale: Tensor,
    rate: Tensor,
    momentum: float,
    decay: float,
    factor: float,
    weight: Parameter,
    moment: Parameter,
    gradient: Tensor,
) -> Any:
    """Move one weight by Nesterov's momentum: MindSpore 2.10's CPU kernel ignores its flag for that."""
    slope = gradient * scale + decay * weight
    velocity = momentum * moment + slope
    moved = ops.assign(moment, velocity)
    return ops.depend(
        ops.assign(weight, weight - rate * factor * (slope + momentum * velocity)), moved
    )


class WeightAverage(nn.Cell):
    """Exponential moving average of weights and of batch-norm statistics.

    Args:
        tracked: The parameters to average; `averages` starts as a copy of each.
    """

    def __init__(self, tracked: Sequence[Parameter]) -> None:
        super().__init__(auto_prefix=False)
        self.tracked = ParameterTuple(tracked)
        self.averages = self.tracked.clone(prefix="ema", init="same")
        self.each = ops.HyperMap()

    def construct(self, decay: Tensor) -> Tensor:
        """Move every average towards its parameter: a <- a + (1 - decay) (w - a)."""
        self.each(ops.partial(follow, 1.0 - decay), self.averages, self.tracked)
        return decay


def follow(share: Tensor, average: Parameter, live: Parameter) -> Any:
    """Move one average a share of the way to its parameter."""
    return ops.assign(average, average + share * (live - average))


def copy_over(target: Parameter, source: Parameter) -> Any:
    """Copy one parameter into another."""
    return ops.assign(target, source)
