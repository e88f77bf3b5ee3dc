"""Training batches as rows that a device queue can take: what each step needs, numbers of the step
included.

The queue itself is the trainer's (`training/learning/sink.py`); which batch belongs to which step
is `pipeline.py`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from data_tools.pipeline.batches import TrainBatch

COLUMNS = ("images", "loc_targets", "labels", "numbers")
"""Columns of a row: those of `TrainBatch`, and the float32 numbers that the step takes."""


class SinkSource:
    """The batches of a range of steps by index, for an engine that asks for them in order.

    Engines ask for the first row more than once, to learn its shape, and a device queue starts over
    after the last; neither may make a batch again. What comes after the last row is zeros: nobody
    takes it.

    Args:
        make: Yields the batches of steps start .. stop - 1, given start and stop.
        numbers: The (K,) float32 numbers of a step.
        start_step: First global step.
        stop_step: Step after the last.
    """

    def __init__(
        self,
        make: Callable[[int, int], Iterator[TrainBatch]],
        numbers: Callable[[int], npt.NDArray[np.float32]],
        start_step: int,
        stop_step: int,
    ) -> None:
        self._batches = make(start_step, stop_step)
        self._numbers, self._steps = numbers, range(start_step, stop_step)
        self._index = -1
        self._row: tuple[npt.NDArray[Any], ...] = ()
        self.stage_seconds: deque[npt.NDArray[np.float64]] = deque()
        self.error: BaseException | None = None

    columns = COLUMNS

    def __len__(self) -> int:
        return len(self._steps)

    def __getitem__(self, index: int) -> tuple[npt.NDArray[Any], ...]:
        if index == self._index + 1:
            self._row, self._index = self._next(), int(index)
        elif index != self._index:
            return tuple(np.zeros_like(array) for array in self._row)
        return self._row

    def _next(self) -> tuple[npt.NDArray[Any], ...]:
        try:
            batch = next(self._batches)
        except Exception as error:
            self.error = error  # the engine passes on its text only
            raise
        self.stage_seconds.append(batch.stage_seconds.copy())
        return batch.images, batch.loc_targets, batch.labels, self._numbers(batch.step)
