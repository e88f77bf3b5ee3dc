"""Which weights train, which decay and how fast each moves: the patterns of `optim.freeze`,
`optim.decay` and `optim.lr_factors`.

What moves them is in `optimizer.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatch
from typing import TYPE_CHECKING

from mindspore import Parameter

from data_tools.core.errors import SettingError
from training.learning.settings import OptimSettings

if TYPE_CHECKING:
    from training.nets.ssd import SSD

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


def check_factors(parameters: Sequence[Parameter], optim: OptimSettings) -> None:
    """Refuse a pattern of `optim.lr_factors` that fits no parameter.

    Raises:
        SettingError: If there is one.
    """
    for pattern in optim.lr_factors:
        if not any(fnmatch(p.name, pattern) for p in parameters):
            raise SettingError(
                f"optim.lr_factors: {pattern!r} fits no parameter. Names look like "
                f"{parameters[0].name!r} and {parameters[-1].name!r}."
            )
