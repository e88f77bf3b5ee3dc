"""Sinking: rows of a data set go into the device's queue, and steps run without reading anything
back.

`open_channel` is the seam: on Ascend the rows travel through MindSpore's own device queue; its CPU
backend has none, so there the host hands them over. The step, its order and its results are the
same code.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Protocol

import mindspore as ms
import numpy as np
from mindspore import Parameter, Tensor, nn, ops
from numpy.typing import NDArray

from data_tools.pipeline.dataset import build_dataset, prefetch
from data_tools.pipeline.sink import SinkSource
from training.learning.loss_scale import SCALE_FLOOR
from training.learning.step import Apply, Gradients
from training.learning.step_result import RESULT_SIZE


class SunkStep(nn.Cell):
    """A step whose rate and decay come with its row and whose result stays on the device.

    After a step that was not finite, unless half precision just overflowed, no later one changes
    anything: the host finds the weights as that step found them, however late it looks.

    Args:
        gradients: Loss and gradients of a batch.
        apply: The update; it should restore batch-norm statistics after a skipped step.
        longest: Steps whose results are kept, at least 2.
    """

    def __init__(self, gradients: Gradients, apply: Apply, longest: int) -> None:
        super().__init__(auto_prefix=False)
        self.gradients, self.apply_update, self.scaler = gradients, apply, apply.scaler
        table = np.zeros((longest, RESULT_SIZE), np.float32)
        self.results = Parameter(Tensor(table), name="sunk_results", requires_grad=False)
        zero = np.zeros(1, np.float32)
        self.vote = Parameter(Tensor(zero), name="sunk_vote", requires_grad=False)
        self.broken = Parameter(Tensor(zero), name="sunk_broken", requires_grad=False)

    def construct(
        self, images: Tensor, loc_targets: Tensor, labels: Tensor, numbers: Tensor
    ) -> Tensor:
        """Do a step; return its (8,) result as `Apply` does. `numbers` is (2,): rate and decay."""
        sums, gradients = self.gradients(images, loc_targets, labels, self.scaler.factor())
        # `broken` is 0 or NaN: added to the sums, it makes the step one that is left out.
        sums = sums + self.broken * 1.0
        result = self.apply_update(sums, gradients, numbers[0], numbers[1], self.vote * 1.0)
        left_out = result[6] < 0.5
        if self.scaler.active:
            overflow = ops.logical_and(ops.isfinite(result[0]), result[5] > SCALE_FLOOR)
            left_out = ops.logical_and(left_out, ops.logical_not(overflow))
        mark = ops.select(left_out, Tensor(np.nan, ms.float32), Tensor(0.0, ms.float32))
        ops.assign(self.broken, self.broken + mark)
        # The newest result pushes the oldest out: nothing to count, so nothing to lose.
        ops.assign(self.results, ops.concat((self.results[1:], ops.reshape(result, (1, -1)))))
        return result

    def begin(self, stop: bool) -> None:
        """Set this rank's vote to stop for the steps that follow."""
        ops.assign(self.vote, Tensor([float(stop)], ms.float32))

    def read(self, count: int) -> NDArray[np.float32]:
        """Wait for the device; return the (count, 8) results of the last steps."""
        table: NDArray[np.float32] = self.results.asnumpy()
        return table[-count:].copy()


class Channel(Protocol):
    """Runs a function on the rows of a source, one after the other."""

    def step(self) -> float:
        """Start the function on the next row; return the seconds that the host waited for the
        row.
        """

    def close(self) -> None:
        """Stop sending; rows that were not used are lost."""


def open_channel(function: Callable[..., Any], source: SinkSource, device: str) -> Channel:
    """Connect a compiled function with its rows: the point where Ascend and CPU part ways.

    Args:
        function: Takes a row's columns, see `data_tools.pipeline.sink.COLUMNS`.
        source: The rows.
        device: `CPU` or `Ascend`.
    """
    return HostChannel(function, source) if device == "CPU" else DeviceQueue(function, source)


class HostChannel:
    """Rows from the data engine, handed over by the host: MindSpore's CPU backend cannot fetch
    them.

    It has no kernel for `InitDataSetQueue` and `GetNext`, and `ms.data_sink` refuses CPU.
    """

    def __init__(self, function: Callable[..., Any], source: SinkSource) -> None:
        self.function = function
        dataset = build_dataset(source)
        with prefetch():
            self.rows = dataset.create_tuple_iterator(num_epochs=1, output_numpy=True)

    def step(self) -> float:
        """Wait for a row and start the function on it; return the seconds of waiting."""
        begun = time.monotonic()
        row = next(self.rows)
        waited = time.monotonic() - begun
        self.function(*(Tensor(column) for column in row))
        return waited

    def close(self) -> None:
        """Stop the engine."""
        self.rows.stop()


class DeviceQueue:
    """Rows that the data engine sends into the device's queue, out of which the graph takes
    them.
    """

    def __init__(self, function: Callable[..., Any], source: SinkSource) -> None:
        self.dataset = build_dataset(source)
        # With a signature the queue's shapes are known, so no step waits on the host to ask for
        # them.
        signature = tuple(Tensor(column) for column in source[0])
        with prefetch():
            self.sink = ms.data_sink(
                function, self.dataset, 1, jit_config=ms.JitConfig(), input_signature=signature
            )

    def step(self) -> float:
        """Start a step; the graph waits for its row by itself, which the host does not see."""
        self.sink()
        return 0.0

    def close(self) -> None:
        """End the queue as `Model.train` does."""
        queue = self.dataset.__transfer_dataset__
        queue.stop_send()
        queue.release()
