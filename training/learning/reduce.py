"""The sum of gradients over all ranks, inside the compiled step, in few large messages.

What the host sums and gathers is in `training/process/world.py`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from mindspore import Tensor, nn, ops


def bucket_slices(sizes: Sequence[int], bucket_bytes: float) -> list[tuple[int, int]]:
    """Cut consecutive tensors into buckets of at least `bucket_bytes` (the last may be smaller).

    Args:
        sizes: Elements of each float32 tensor.
        bucket_bytes: Size at which a bucket is full; 0 puts every tensor into its own.

    Returns:
        (first, last + 1) tensor positions of each bucket.

    >>> bucket_slices([1, 2, 3, 4], 12), bucket_slices([1, 2], 0)
    ([(0, 2), (2, 3), (3, 4)], [(0, 1), (1, 2)])
    """
    buckets, first, filled = [], 0, 0
    for i, size in enumerate(sizes):
        filled += size * 4
        if filled >= bucket_bytes:
            buckets.append((first, i + 1))
            first, filled = i + 1, 0
    if first < len(sizes):
        buckets.append((first, len(sizes)))
    return buckets


class Reduce(nn.Cell):
    """Sum gradients and loss sums over all ranks, in few large all-reduces.

    Args:
        shapes: Shapes of the gradients.
        world_size: Number of ranks; 1 passes everything through.
        bucket_mb: Size of a bucket in megabytes; the loss sums ride in the first one.
    """

    def __init__(
        self, shapes: Sequence[tuple[int, ...]], world_size: int, bucket_mb: float
    ) -> None:
        super().__init__()
        self.sizes = tuple(int(np.prod(shape)) for shape in shapes)
        self.each = ops.HyperMap()
        self.buckets = tuple(bucket_slices(self.sizes, bucket_mb * 2**20))
        # Where each gradient starts within its bucket.
        self.starts = tuple(
            sum(self.sizes[first:i]) for first, end in self.buckets for i in range(first, end)
        )
        self.alone = world_size == 1
        if not self.alone:
            self.all_reduce = ops.AllReduce()

    def construct(
        self, sums: Tensor, gradients: tuple[Tensor, ...]
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Return the same values summed over all ranks."""
        if self.alone:
            return sums, gradients
        first = self.buckets[0]
        total, reduced = self.reduce_bucket(sums, gradients, first)
        for bucket in self.buckets[1:]:
            _, more = self.reduce_bucket(sums[:1], gradients, bucket)
            reduced = reduced + more
        return total, reduced

    def reduce_bucket(
        self, head: Tensor, gradients: tuple[Tensor, ...], bucket: tuple[int, int]
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """All-reduce the gradients of a bucket, and `head` with them, as one flat vector."""
        first, end = bucket
        members = gradients[first:end]
        flat = self.all_reduce(ops.concat((head, *self.each(flatten, members))))
        size = head.shape[0]
        # Not `ops.split`: its loop counts as calls within calls, and for SSD300 they become too many.
        starts, sizes = self.starts[first:end], self.sizes[first:end]
        return flat[:size], self.each(ops.partial(cut, flat[size:]), starts, sizes, members)


def flatten(gradient: Tensor) -> Tensor:
    """Lay a gradient out as a vector."""
    return gradient.reshape((-1,))


def cut(flat: Tensor, start: int, size: int, gradient: Tensor) -> Tensor:
    """Cut a stretch out of a vector and give it the shape of a gradient."""
    return ops.slice(flat, (start,), (size,)).reshape(gradient.shape)
