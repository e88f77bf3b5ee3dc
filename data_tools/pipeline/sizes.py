"""Which size the images of a step have: the network's, or one drawn for each step.

How they come to that size is `batches.py`'s matter.
"""

from __future__ import annotations

from dataclasses import dataclass

from data_tools.pipeline.order import generator

_SIZE_STREAM = (1 << 32) - 2  # in place of a sample's index; the one above is the order's

Size = tuple[int, int]
"""(H, W), pixels."""


@dataclass(frozen=True)
class StepSizes:
    """Sizes by step: a pure function of (seed, step), so all ranks and restarts agree.

    Args:
        seed: The run's seed.
        own: The size that the network is evaluated at.
        drawn: What to draw from; empty for `own` always.
    """

    seed: int
    own: Size
    drawn: tuple[Size, ...] = ()

    def of(self, step: int) -> Size:
        """Return the size of a global step (from 0) that is not in the closing epochs."""
        if not self.drawn:
            return self.own
        draws = generator(self.seed, 0, _SIZE_STREAM, step)
        return self.drawn[int(draws.integers(len(self.drawn)))]

    @property
    def all(self) -> tuple[Size, ...]:
        """Every size that a step may have, each once, the network's own first."""
        return tuple(dict.fromkeys((self.own, *self.drawn)))

    @property
    def largest(self) -> Size:
        """The size of most pixels."""
        return max(self.all, key=lambda size: size[0] * size[1])
