"""How the trainer's steps are done: one at a time, or several sunk into one call.

Both take the steps in order and say the same of each; the trainer does not know which one it has.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import mindspore as ms
import numpy as np
from mindspore import Tensor
from numpy.typing import NDArray

from data_tools.pipeline.batches import TrainBatch
from data_tools.pipeline.sink import SinkSource
from data_tools.pipeline.sizes import Size
from training.learning.assemble import (
    Phase,
    RunComponents,
    build_phase_cells,
    gradients_at_sizes,
    guard_of,
)
from training.learning.schedule import ema_decay
from training.learning.sink import SunkStep, open_channel
from training.learning.step import StepFunction, build_step
from training.learning.step_result import StepResult, result_of

Tell = Callable[[str], None]


@dataclass(frozen=True)
class StepRecord:
    """A step that was done.

    Attributes:
        result: What it said.
        rate: Its learning rate.
        waited: Seconds the host waited for its batch.
        stage_seconds: (5,) what making its batch took, see `TrainBatch`.
        ended: `time.monotonic()` at its end; within a call of several steps, its share of the call.
    """

    result: StepResult
    rate: float
    waited: float
    stage_seconds: NDArray[np.float64]
    ended: float


class Stepper(Protocol):
    """Does the steps of a phase, in order.

    Attributes:
        longest: Most steps of a call.
    """

    longest: int

    def call(
        self, step: int, count: int, tell: Tell, wanted: Callable[[], bool]
    ) -> list[StepRecord]:
        """Do steps step .. step + count - 1 (from 0).

        Args:
            step: The first step, the one after the last call's.
            count: Steps, at most `longest`.
            tell: Takes what is being done, in words.
            wanted: True if this rank wants to stop; asked once, when the data is there.

        Raises:
            DataError: When a row cannot be read or decoded.
        """

    def compiles(self, step: int) -> bool:
        """Whether a call that begins with this step compiles."""

    def batch(self, step: int) -> TrainBatch:
        """Return the batch of a step of the last call."""

    def close(self) -> None:
        """End it; its steps are done, or will not be."""


def numbers_of(components: RunComponents, step: int) -> tuple[float, float]:
    """Return the learning rate of a step (from 0) and the share of the average that it keeps."""
    optim = components.settings.optim
    decay = 0.0 if optim.ema is None else ema_decay(optim.ema, step, optim.ema_warmup)
    return components.schedule(step), decay


def build_stepper(components: RunComponents, phase: Phase, first: int, until: int) -> Stepper:
    """Build what does the steps first .. until - 1 of a phase.

    Args:
        components: The run.
        phase: What trains.
        first: First step, from 0.
        until: Step after the last.
    """
    settings = components.settings
    gradients, apply = build_phase_cells(components, phase)
    longest = settings.runtime.sink_steps
    if not longest:
        level, guard = settings.runtime.jit_level, guard_of(components)
        functions = {
            size: build_step(sized, apply, settings.optim.accumulate, guard, level)
            for size, sized in gradients_at_sizes(components, phase, gradients).items()
        }
        return HostStepper(components, functions, components.pipeline.batches(first, until))
    return SinkStepper(components, SunkStep(gradients, apply, longest), longest, first, until)


class HostStepper:
    """Every step's batch is handed over by the host and its result read at once.

    Args:
        components: The run.
        functions: The step by (H, W) of its images.
        batches: The batches.
    """

    longest = 1

    def __init__(
        self,
        components: RunComponents,
        functions: dict[Size, StepFunction],
        batches: Iterator[TrainBatch],
    ) -> None:
        self.components, self.functions, self.batches = components, functions, batches
        self.compiled: set[Size] = set()

    def call(
        self, step: int, count: int, tell: Tell, wanted: Callable[[], bool]
    ) -> list[StepRecord]:
        """Do a step."""
        begun = time.monotonic()
        tell("waiting for data")
        self.last = batch = next(self.batches)
        waited = time.monotonic() - begun
        tell("computing")
        rate, decay = numbers_of(self.components, step)
        arrays = (batch.images, batch.loc_targets, batch.labels)
        height, width = batch.images.shape[2:]
        result = self.functions[height, width](*arrays, rate, decay, wanted())
        self.compiled.add((height, width))
        return [StepRecord(result, rate, waited, batch.stage_seconds, time.monotonic())]

    def compiles(self, step: int) -> bool:
        """Whether no step had images of this size yet."""
        return self.components.pipeline.size(step) not in self.compiled

    def batch(self, step: int) -> TrainBatch:
        """Return the last batch."""
        return self.last

    def close(self) -> None:
        """End the pipeline's workers."""
        self.components.pipeline.close()


class SinkStepper:
    """Steps are started one behind the other; their results are read at the end of the call."""

    def __init__(
        self, components: RunComponents, function: SunkStep, longest: int, first: int, until: int
    ) -> None:
        self.components, self.function, self.longest = components, function, longest
        self.first = first
        self.source = SinkSource(components.pipeline.make_batches, self.numbers, first, until)

        @partial(ms.jit, jit_level=components.settings.runtime.jit_level)
        def compiled(
            images: Tensor, loc_targets: Tensor, labels: Tensor, numbers: Tensor
        ) -> Tensor:
            return function(images, loc_targets, labels, numbers)

        self.channel = open_channel(compiled, self.source, components.settings.runtime.device)

    def numbers(self, step: int) -> NDArray[np.float32]:
        """Return what travels with a step's batch."""
        return np.array(numbers_of(self.components, step), np.float32)

    def call(
        self, step: int, count: int, tell: Tell, wanted: Callable[[], bool]
    ) -> list[StepRecord]:
        """Start the steps, then wait for them."""
        begun = time.monotonic()
        tell("computing")
        self.function.begin(wanted())
        try:
            waited = [self.channel.step() for _ in range(count)]
            launched = max(0.0, time.monotonic() - begun - sum(waited)) / count
            rows = self.function.read(count)
        except RuntimeError:
            if self.source.error is not None:
                raise self.source.error from None
            raise
        each = (time.monotonic() - begun) / count
        return [
            StepRecord(
                result_of(rows[k], launched),
                self.components.schedule(step + k),
                waited[k],
                self.source.stage_seconds.popleft(),
                begun + each * (k + 1),
            )
            for k in range(count)
        ]

    def compiles(self, step: int) -> bool:
        """Whether it is the first."""
        return step == self.first

    def batch(self, step: int) -> TrainBatch:
        """Make the batch of a step again: the one that was sunk is no longer on the host."""
        return self.components.pipeline.batch_at(step)

    def close(self) -> None:
        """End the channel, then the workers that fill it."""
        self.channel.close()
        self.components.pipeline.close()
