"""The sum of gradients over all ranks, inside the compiled step, in few large messages.

What the host sums and gathers is in `training/process/world.py`; both go through
`training/collective.py`.
"""

from __future__ import annotations

from collections.abc import Sequence

from mindspore import Tensor, nn, ops

from training.collective import sum_in_graph
from training.learning.flat import Layout


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
        world_size: Number of ranks; 1 sums nothing.
        bucket_mb: Size of a bucket in megabytes; the loss sums ride in the first one.
    """

    def __init__(
        self, shapes: Sequence[tuple[int, ...]], world_size: int, bucket_mb: float
    ) -> None:
        super().__init__()
        self.layout = Layout(shapes)
        self.buckets = tuple(bucket_slices(self.layout.sizes, bucket_mb * 2**20))
        self.alone = world_size == 1
        if not self.alone:
            self.all_reduce = sum_in_graph()

    def construct(self, sums: Tensor, gradients: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
        """Return the loss sums, and the gradients end to end as one vector, summed over all
        ranks.
        """
        if self.alone:
            return sums, self.layout.join(gradients)
        first = self.buckets[0]
        total, flat = self.reduce_bucket(sums, gradients, first)
        parts: tuple[Tensor, ...] = (flat,)
        for bucket in self.buckets[1:]:
            _, more = self.reduce_bucket(sums[:1], gradients, bucket)
            parts = parts + (more,)
        return total, ops.concat(parts) if len(self.buckets) > 1 else flat

    def reduce_bucket(
        self, head: Tensor, gradients: tuple[Tensor, ...], bucket: tuple[int, int]
    ) -> tuple[Tensor, Tensor]:
        """All-reduce the gradients of a bucket, and `head` with them, as one flat vector."""
        first, end = bucket
        flat = self.all_reduce(ops.concat((head, self.layout.join(gradients[first:end]))))
        size = head.shape[0]
        return flat[:size], flat[size:]
