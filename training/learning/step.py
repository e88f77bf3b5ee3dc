"""One training step, compiled: loss, gradients, all-reduce, finite check, clipping, update,
average.

What is read, logged or saved around it is in `training/run/trainer.py`. Parameters change only
inside this graph.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import mindspore as ms
import numpy as np
from mindspore import Parameter, Tensor, nn, ops
from numpy.typing import NDArray

from training.learning.loss_scale import LossScale
from training.learning.reduce import Reduce
from training.learning.statistics import Statistics
from training.learning.step_result import StepResult, result_of
from training.learning.update import Update
from training.learning.weight_average import WeightAverage


class Gradients(nn.Cell):
    """Loss sums and gradients of one batch on one rank, not yet divided by the positives.

    Args:
        network: The detector, in training mode.
        normalize: uint8 (N, 3, H, W) to what the network takes.
        loss: Its `parts` turns (loc, logits, loc_targets, labels) to (loss_sum, loc_sum,
            num_positives).
        weights: The parameters to differentiate by.
    """

    def __init__(
        self, network: nn.Cell, normalize: nn.Cell, loss: nn.Cell, weights: Sequence[Parameter]
    ) -> None:
        super().__init__(auto_prefix=False)
        self.network, self.normalize, self.loss = network, normalize, loss
        self.gradient = ms.value_and_grad(self.forward, None, list(weights), has_aux=True)

    def forward(
        self, images: Tensor, loc_targets: Tensor, labels: Tensor, scale: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return the scaled loss sum, and (loss_sum, loc_sum, positives) as a (3,) vector."""
        loc, logits = self.network(self.normalize(images))
        loss_sum, loc_sum, positives = self.loss.parts(loc, logits, loc_targets, labels)
        sums = ops.stack((loss_sum, loc_sum, positives))
        return loss_sum * scale, sums

    def construct(
        self, images: Tensor, loc_targets: Tensor, labels: Tensor, scale: Tensor
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Return the (3,) sums and the gradients of the scaled loss sum."""
        (_, sums), gradients = self.gradient(images, loc_targets, labels, scale)
        return sums, gradients


class Apply(nn.Cell):
    """Turn summed gradients into an update: divide, check, clip, move, average.

    Nothing in it branches on a number of the device: an update that is left out is computed and not
    taken, so the host can go on starting kernels.

    Args:
        update: Moves the weights that train now.
        reduce: Sums over ranks.
        scaler: The loss scale.
        average: The moving average, or None.
        clip_norm: Largest global gradient norm, or None.
        norm: Takes the gradients as one vector and their divisor's inverse, returns their global
            norm.
        statistics: Batch-norm statistics that go back within the graph when the step is left out;
            None leaves them to the caller.
    """

    def __init__(
        self,
        update: Update,
        reduce: Reduce,
        scaler: LossScale,
        average: WeightAverage | None,
        clip_norm: float | None,
        norm: nn.Cell,
        statistics: Statistics | None = None,
    ) -> None:
        super().__init__(auto_prefix=False)
        self.update, self.reduce, self.scaler, self.norm = update, reduce, scaler, norm
        self.average: Any = average
        self.averaged = average is not None
        self.clipped = clip_norm is not None
        self.clip_norm = float(clip_norm or 0.0)
        self.statistics: Any = statistics
        self.settles = statistics is not None

    def construct(
        self,
        sums: Tensor,
        gradients: tuple[Tensor, ...],
        rate: Tensor,
        decay: Tensor,
        vote: Tensor,
    ) -> Tensor:
        """Move the weights.

        Args:
            sums: (3,) loss_sum, loc_sum, positives of this rank.
            gradients: Gradients of the scaled loss sum of this rank.
            rate: () learning rate.
            decay: () share of the old average that is kept.
            vote: (1,) above zero if this rank wants to stop; it rides in the all-reduce.

        Returns:
            (8,) loss, loc, cls, positives, gradient norm, loss scale, 1 if applied else 0, votes.
        """
        total, flat = self.reduce(ops.concat((sums, vote)), gradients)
        positives = ops.maximum(total[2], Tensor(1.0, ms.float32))
        scale = self.scaler.scale * 1.0
        factor = 1.0 / (positives * self.scaler.factor())
        norm = self.norm(flat, factor)
        finite = ops.logical_and(ops.isfinite(norm), ops.isfinite(total[0]))
        if self.clipped:
            factor = factor * ops.minimum(Tensor(1.0, ms.float32), self.clip_norm / (norm + 1e-6))
        self.update(flat, factor, rate, finite)
        if self.averaged:
            self.average(decay, finite)
        if self.settles:
            self.statistics.settle(finite)
        if self.scaler.active:
            self.scaler.adjust(finite)
        loss, loc = total[0] / positives, total[1] / positives
        applied = ops.cast(finite, ms.float32)
        return ops.stack((loss, loc, loss - loc, total[2], norm, scale, applied, total[3]))


StepFunction = Callable[..., StepResult]


def build_step(
    gradients: Gradients,
    apply: Apply,
    accumulate: int,
    statistics: Statistics | None = None,
    jit_level: str = "O0",
) -> StepFunction:
    """Compile the pieces into one function of a batch.

    Args:
        gradients: Loss and gradients of one part of a batch.
        apply: The update.
        accumulate: Parts that a batch is cut into.
        statistics: Batch-norm statistics that go back after a step that was left out, or None.
        jit_level: MindSpore's level of compiling, `O0` or `O1`.

    Returns:
        A function of (images uint8 (N, 3, H, W), loc_targets (N, A, 4), labels (N, A), rate,
        average decay, stop) that changes the weights and returns a `StepResult`.
    """
    scaler = apply.scaler
    each = ops.HyperMap()
    jit = partial(ms.jit, jit_level=jit_level)

    @jit
    def whole(
        images: Tensor,
        loc_targets: Tensor,
        labels: Tensor,
        rate: Tensor,
        decay: Tensor,
        vote: Tensor,
    ) -> Tensor:
        sums, grads = gradients(images, loc_targets, labels, scaler.factor())
        return apply(sums, grads, rate, decay, vote)

    # Tensors in a tuple argument would count as constants and compile anew at every call: *args.
    @jit
    def part(images: Tensor, loc_targets: Tensor, labels: Tensor) -> Any:
        sums, grads = gradients(images, loc_targets, labels, scaler.factor())
        return (sums, *grads)

    @jit
    def add(*both: Tensor) -> Any:
        half = len(both) // 2
        return each(ops.add, both[:half], both[half:])

    @jit
    def finish(rate: Tensor, decay: Tensor, vote: Tensor, sums: Tensor, *grads: Tensor) -> Tensor:
        return apply(sums, grads, rate, decay, vote)

    guard: Any = statistics

    @jit
    def keep() -> Tensor:
        return guard.keep()

    @jit
    def restore() -> Tensor:
        return guard.restore()

    def compute(
        images: NDArray[np.uint8],
        loc_targets: NDArray[np.float32],
        labels: NDArray[np.int32],
        scalars: tuple[Tensor, ...],
    ) -> StepResult:
        begun = time.perf_counter()
        if accumulate == 1:
            batch = (Tensor(images), Tensor(loc_targets), Tensor(labels))
            vector = whole(*batch, *scalars)
            launched = time.perf_counter() - begun
            return result_of(vector.asnumpy(), launched)
        size = len(images) // accumulate
        held: tuple[Tensor, ...] = ()
        for k in range(accumulate):
            rows = slice(k * size, (k + 1) * size)
            more = part(Tensor(images[rows]), Tensor(loc_targets[rows]), Tensor(labels[rows]))
            held = add(*held, *more) if held else more
        vector = finish(*scalars, *held)
        launched = time.perf_counter() - begun
        return result_of(vector.asnumpy(), launched)

    def step(
        images: NDArray[np.uint8],
        loc_targets: NDArray[np.float32],
        labels: NDArray[np.int32],
        rate: float,
        decay: float = 0.0,
        stop: bool = False,
    ) -> StepResult:
        scalars = (
            Tensor(rate, ms.float32),
            Tensor(decay, ms.float32),
            Tensor([float(stop)], ms.float32),
        )
        if statistics is not None:
            keep()
        result = compute(images, loc_targets, labels, scalars)
        if statistics is not None and not result.applied:
            restore()
        return result

    return step
