"""Momentum with its groups, and the moving average of the weights: the cells that change weights.

The learning rate is an argument of every update (`schedule.py` computes it), so nothing is compiled
anew when it changes. Gradients come from `step.py`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fnmatch import fnmatch
from typing import TYPE_CHECKING, Any

import numpy as np
from mindspore import Parameter, ParameterTuple, Tensor, nn, ops
from numpy.typing import NDArray

from data_tools.core.errors import SettingError
from training.learning.flat import Layout, joined
from training.learning.settings import OptimSettings

if TYPE_CHECKING:
    from training.nets.ssd import SSD

Arrays = dict[str, NDArray[Any]]
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


class Momentum:
    """Momentum or Nesterov, with weight decay and a rate factor for each parameter.

    v <- momentum v + (g + decay w);  w <- w - rate v  (Nesterov: w <- w - rate (g + decay w +
    momentum v)).

    Args:
        parameters: All parameters that may ever train; each has a moment, zero at first.
        optim: The optimizer settings.
    """

    def __init__(self, parameters: Sequence[Parameter], optim: OptimSettings) -> None:
        for pattern in optim.lr_factors:
            if not any(fnmatch(p.name, pattern) for p in parameters):
                raise SettingError(
                    f"optim.lr_factors: {pattern!r} fits no parameter. Names look like "
                    f"{parameters[0].name!r} and {parameters[-1].name!r}."
                )
        self.weights = tuple(parameters)
        self.optim = optim
        # Those of weights that do not train now; the rest is on the device, in `moving`.
        self.resting = {moment_name(p): np.zeros(p.shape, np.float32) for p in parameters}
        self.moving: Update | None = None

    def update_of(self, chosen: Sequence[Parameter]) -> Update:
        """Return the cell that moves some of the weights, with their moments as they are now."""
        moments = self.read()
        self.moving = Update(chosen, self.optim, moments)
        self.resting = {k: v for k, v in moments.items() if k not in self.moving.names}
        return self.moving

    def read(self) -> Arrays:
        """Return the moments by name, in the order of the weights."""
        found = dict(self.resting)
        if self.moving is not None:
            found |= self.moving.moments()
        return {moment_name(p): found[moment_name(p)] for p in self.weights}

    def write(self, moments: Mapping[str, NDArray[Any]]) -> None:
        """Take over all moments by name; call it after the weights were changed by hand."""
        names = set() if self.moving is None else set(self.moving.names)
        self.resting = {
            moment_name(p): np.array(moments[moment_name(p)], np.float32)
            for p in self.weights
            if moment_name(p) not in names
        }
        if self.moving is not None:
            self.moving.take(moments)


def moment_name(parameter: Parameter) -> str:
    """Return the name of a weight's moment in a checkpoint."""
    return f"moments.{parameter.name}"


class Update(nn.Cell):
    """Moves weights along their gradients, all as one vector.

    Every element goes through the operations that it would go through in a tensor of its own: the
    bits are those of MindSpore's `ApplyMomentum`, tensor by tensor
    (`tests/training/learning/test_optimizer.py`).

    Args:
        weights: The weights.
        optim: The optimizer settings.
        moments: Moments by name, those of the weights among them.
    """

    def __init__(
        self,
        weights: Sequence[Parameter],
        optim: OptimSettings,
        moments: Mapping[str, NDArray[Any]],
    ) -> None:
        super().__init__(auto_prefix=False)
        self.weights = ParameterTuple(weights)
        self.names = [moment_name(p) for p in weights]
        self.layout = Layout([p.shape for p in weights])
        first = joined(moments, self.names)
        self.moment = Parameter(Tensor(first), name="moments", requires_grad=False)
        # The weights once more, end to end: joining them anew would take a kernel for each.
        self.copy = Parameter(Tensor(self.joined_weights()), name="weights", requires_grad=False)
        sizes = self.layout.sizes
        self.decay: Any = per_element([decay_of(p.name, optim) for p in weights], sizes, "decays")
        self.factor: Any = per_element(
            [factor_of(p.name, optim) for p in weights], sizes, "factors"
        )
        self.momentum = float(optim.momentum)
        self.nesterov = optim.nesterov

    def construct(self, gradient: Tensor, scale: Tensor, rate: Tensor, finite: Tensor) -> Tensor:
        """Move every weight along `scale` times its gradient, or none at all; return the rate.

        Args:
            gradient: (total size,) gradients, end to end.
            scale: () what they are multiplied by.
            rate: () learning rate.
            finite: () bool; False leaves weights and moments as they are.
        """
        weights = self.copy * 1.0
        slope = gradient * scale + self.decay * weights
        before = self.moment * 1.0
        velocity = self.momentum * before + slope
        step = slope + self.momentum * velocity if self.nesterov else velocity
        moved = weights - rate * self.factor * step
        # Both sides are computed and one is taken: a card need not wait for the host to decide.
        ops.assign(self.moment, ops.select(finite, velocity, before))
        kept = ops.select(finite, moved, weights)
        ops.assign(self.copy, kept)
        self.layout.put(self.weights, kept)
        return rate

    def joined_weights(self) -> NDArray[np.float32]:
        """Return the weights as they are now, end to end."""
        return joined({p.name: p.asnumpy() for p in self.weights}, [p.name for p in self.weights])

    def moments(self) -> Arrays:
        """Return the moments by name."""
        return self.layout.arrays(self.names, self.moment.asnumpy())

    def take(self, moments: Mapping[str, NDArray[Any]]) -> None:
        """Take over moments by name, and the weights as they are now."""
        ops.assign(self.moment, Tensor(joined(moments, self.names)))
        ops.assign(self.copy, Tensor(self.joined_weights()))


def per_element(values: Sequence[float], sizes: Sequence[int], name: str) -> float | Parameter:
    """Return one number for all elements, or where tensors differ a vector with each one's."""
    if len(set(values)) == 1:
        return values[0]
    flat = np.repeat(np.asarray(values, np.float32), sizes)
    return Parameter(Tensor(flat), name=name, requires_grad=False)


class WeightAverage(nn.Cell):
    """Exponential moving average of weights and of batch-norm statistics, all as one vector.

    Args:
        tracked: The parameters to average; their averages start as a copy of each.
    """

    def __init__(self, tracked: Sequence[Parameter]) -> None:
        super().__init__(auto_prefix=False)
        self.tracked = ParameterTuple(tracked)
        self.names = [p.name for p in tracked]
        self.layout = Layout([p.shape for p in tracked])
        first = joined({p.name: p.asnumpy() for p in tracked}, self.names)
        self.average = Parameter(Tensor(first), name="ema", requires_grad=False)

    def construct(self, decay: Tensor, finite: Tensor) -> Tensor:
        """Move every average towards its parameter, or none: a <- a + (1 - decay) (w - a)."""
        live = self.layout.join(self.tracked)
        before = self.average * 1.0
        moved = before + (1.0 - decay) * (live - before)
        ops.assign(self.average, ops.select(finite, moved, before))
        return decay

    def read(self) -> Arrays:
        """Return the averages by the names of their parameters."""
        return self.layout.arrays(self.names, self.average.asnumpy())

    def write(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Take over averages by the names of their parameters, all of them."""
        ops.assign(self.average, Tensor(joined(arrays, self.names)))

    def restart(self) -> None:
        """Begin anew at what the parameters are now."""
        self.write({p.name: p.asnumpy() for p in self.tracked})
