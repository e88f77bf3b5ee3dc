"""What one worker keeps from batch to batch, and what it counts: memory, and seconds by stage.

What it makes with them is in `batches.py`.
"""

from __future__ import annotations

from time import perf_counter

import numpy as np
import numpy.typing as npt

from data_tools.augment.render import Scratch
from data_tools.core.reusable_memory import ByteArena
from data_tools.pipeline.sizes import Size

STAGES = ("read", "choose", "decode", "render", "encode")
"""What a training image goes through, in this order; `TrainBatch.stage_seconds` has one number for
each.
"""


class WorkerBuffers:
    """The memory of one worker, kept from batch to batch.

    Args:
        largest: (H, W) of the largest images.
    """

    def __init__(self, largest: Size) -> None:
        self.arena = ByteArena()
        self.largest = self.scratch = Scratch(largest)

    def fit(self, size: Size) -> None:
        """Serve images of another size from now on, in the same memory."""
        self.scratch = self.largest.part(size)


class StageClock:
    """Adds up the seconds of each stage."""

    def __init__(self, seconds: npt.NDArray[np.float64]) -> None:
        self._seconds = seconds
        self._seconds.fill(0)
        self._last = perf_counter()

    def lap(self, stage: str) -> None:
        now = perf_counter()
        self._seconds[STAGES.index(stage)] += now - self._last
        self._last = now
