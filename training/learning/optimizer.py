"""The optimizer of a run: the state of all its weights, also of those that do not train now.

The learning rate is an argument of every update (`schedule.py` computes it), so nothing is compiled
anew when it changes. Gradients come from `step.py`; the rules are in `momentum.py` and `adamw.py`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from mindspore import Parameter
from numpy.typing import NDArray

from training.learning.adamw import AdamWUpdate
from training.learning.momentum import MomentumUpdate
from training.learning.settings import OptimSettings
from training.learning.update import Arrays, Update
from training.learning.weight_groups import check_factors

RULES: dict[str, type[Update]] = {"momentum": MomentumUpdate, "adamw": AdamWUpdate}
"""What `optim.name` chooses from."""


class Optimizer:
    """Moves weights by a rule, and keeps the state of those that rest.

    Args:
        parameters: All parameters that may ever train; the state of each is zero at first.
        optim: The optimizer settings.

    Raises:
        SettingError: If a rate factor fits no parameter.
    """

    def __init__(self, parameters: Sequence[Parameter], optim: OptimSettings) -> None:
        check_factors(parameters, optim)
        self.weights = tuple(parameters)
        self.optim = optim
        self.rule = RULES[optim.name]
        # Of weights that do not train now; the rest is on the device, in `moving`.
        self.resting: Arrays = {}
        for parameter in parameters:
            self.resting |= self.rule.first_state(parameter)
        self.names = tuple(self.resting)
        self.moving: Update | None = None

    def update_of(self, chosen: Sequence[Parameter]) -> Update:
        """Return the cell that moves some of the weights, with their state as it is now."""
        state = self.read()
        self.moving = self.rule(chosen, self.optim, state)
        held = self.moving.state()
        self.resting = {name: value for name, value in state.items() if name not in held}
        return self.moving

    def read(self) -> Arrays:
        """Return the state by name, in the order of the weights."""
        arrays = dict(self.resting)
        if self.moving is not None:
            arrays |= self.moving.state()
        return {name: arrays[name] for name in self.names}

    def write(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Take over a whole state by name; call it after the weights were changed by hand."""
        self.resting = {name: np.array(state[name], np.float32) for name in self.resting}
        if self.moving is not None:
            self.moving.take(state)
