"""Batch normalisation in its three forms: local, sync (statistics over all devices), frozen.

All three have the same parameters under the same names, so a checkpoint fits each of them.
"""

from __future__ import annotations

from collections.abc import Callable

import mindspore as ms
from mindspore import Tensor, nn, ops

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
        if mode == "sync" and _world_size() > 1:
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

    Each device contributes the mean, the variance and the squared mean of each channel in one
    all-reduce of 3 C numbers. The devices must hold equally many values, which they do: the batch
    size is per device. Differentiation goes through the all-reduce, so gradients are those of one
    device with the whole batch. (`nn.SyncBatchNorm` exists for Ascend only.)
    """

    def __init__(self, channels: int, eps: float, momentum: float) -> None:
        super().__init__(channels, eps=eps, momentum=momentum)
        self.world_size = _world_size()
        self.all_reduce = ops.AllReduce()
        self.keep = momentum

    def construct(self, x: Tensor) -> Tensor:
        """Normalise (N, C, H, W) float32; in training also update the moving statistics."""
        if not self.training:
            return super().construct(x)
        mean = x.mean((0, 2, 3))
        var = ops.square(x - mean.reshape(1, -1, 1, 1)).mean((0, 2, 3))
        shared = self.all_reduce(ops.concat((mean, var, ops.square(mean)))) / self.world_size
        all_mean, inner, square = ops.chunk(shared, 3)
        all_var = inner + ops.maximum(square - ops.square(all_mean), ms.Tensor(0.0, ms.float32))
        count = x.shape[0] * x.shape[2] * x.shape[3] * self.world_size
        unbiased = all_var * (count / max(count - 1, 1))
        ops.assign(self.moving_mean, self.moving_mean * self.keep + all_mean * (1 - self.keep))
        ops.assign(
            self.moving_variance, self.moving_variance * self.keep + unbiased * (1 - self.keep)
        )
        scale = self.gamma * ops.rsqrt(all_var + self.eps)
        shift = self.beta - all_mean * scale
        return x * scale.reshape(1, -1, 1, 1) + shift.reshape(1, -1, 1, 1)


def _world_size() -> int:
    """Devices that train together; 1 when communication was not started."""
    from mindspore.communication import GlobalComm, get_group_size

    return get_group_size() if GlobalComm.INITED else 1
