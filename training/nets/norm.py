"""Batch normalisation in its three forms: local, sync (statistics over all devices), frozen.

All three have the same parameters under the same names, so a checkpoint fits each of them.
"""

from __future__ import annotations

from collections.abc import Callable

import mindspore as ms
from mindspore import Tensor, nn, ops

from training.collective import rank_and_size, sum_in_graph

Norm = Callable[[int], nn.Cell]
"""Makes the normalisation layer for a number of channels."""


def make_norm(mode: str, eps: float = 1e-3, momentum: float = 0.97) -> Norm:
    """Choose the normalisation of a network.

    Args:
        mode: `local`, `sync` or `frozen`.
        eps: Added to the variance.
        momentum: Share of the old moving statistics that an update keeps.

    Returns:
        A function from channels to a layer with parameters gamma, beta, moving_mean and
        moving_variance.
    """

    def norm(channels: int) -> nn.Cell:
        if mode == "sync":
            return SyncBatchNorm2d(channels, eps=eps, momentum=momentum)
        return nn.BatchNorm2d(
            channels,
            eps=eps,
            momentum=momentum,
            use_batch_statistics=False if mode == "frozen" else None,
        )

    return norm


class SyncBatchNorm2d(nn.BatchNorm2d):
    """Batch normalisation whose statistics are those of the batch over all devices.

    Every image's mean and variance of each channel go to all devices, which then combine them in
    the same order: the statistics, and with them the whole forward pass, are bit for bit those of
    one device with the whole batch. (Statistics that differ in the last bit flip a ReLU here and
    there, and after ten steps the weights have little in common.) Differentiation goes through the
    exchange. (`nn.SyncBatchNorm` exists for Ascend only.)
    """

    def __init__(self, channels: int, eps: float, momentum: float) -> None:
        super().__init__(channels, eps=eps, momentum=momentum)
        self.rank, self.world_size = rank_and_size()
        if self.world_size > 1:
            self.all_reduce = sum_in_graph()
        self.keep = momentum

    def rows_of_all(self, rows: Tensor) -> Tensor:
        """(N, K) rows of this device -> (N * world_size, K) rows of all, on every device."""
        if self.world_size == 1:
            return rows
        # An all-reduce over zeros elsewhere: exact, and unlike a gather it has a gradient on CPU.
        count, width = rows.shape
        before = ops.zeros((self.rank * count, width), ms.float32)
        after = ops.zeros(((self.world_size - 1 - self.rank) * count, width), ms.float32)
        if self.rank == 0:
            return self.all_reduce(ops.concat((rows, after)))
        if self.rank == self.world_size - 1:
            return self.all_reduce(ops.concat((before, rows)))
        return self.all_reduce(ops.concat((before, rows, after)))

    def construct(self, x: Tensor) -> Tensor:
        """Normalise (N, C, H, W) float32; in training also update the moving statistics."""
        if not self.training:
            return super().construct(x)
        channels = x.shape[1]
        mean = x.mean((2, 3))
        var = ops.square(x - mean.reshape(-1, channels, 1, 1)).mean((2, 3))
        rows = self.rows_of_all(ops.concat((mean, var), 1))
        means, variances = rows[:, :channels], rows[:, channels:]
        all_mean = means.mean(0)
        all_var = variances.mean(0) + ops.square(means - all_mean).mean(0)
        count = x.shape[0] * x.shape[2] * x.shape[3] * self.world_size
        unbiased = all_var * (count / max(count - 1, 1))
        ops.assign(self.moving_mean, self.moving_mean * self.keep + all_mean * (1 - self.keep))
        ops.assign(
            self.moving_variance, self.moving_variance * self.keep + unbiased * (1 - self.keep)
        )
        scale = self.gamma * ops.rsqrt(all_var + self.eps)
        shift = self.beta - all_mean * scale
        return x * scale.reshape(1, -1, 1, 1) + shift.reshape(1, -1, 1, 1)
