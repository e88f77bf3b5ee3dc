"""What the classes count for in the loss of scores: a factor for every default box by its label.

The losses themselves are `losses.py`; how often images are shown is the sampler's matter.
"""

from __future__ import annotations

from collections.abc import Sequence

import mindspore as ms
import numpy as np
from mindspore import Tensor, nn, ops


class ClassWeights(nn.Cell):
    """Weighs the loss of each default box by the class that it should say.

    Args:
        weights: (C,) factor of label 1, 2, ...; empty leaves the loss, and its graph, as it is.
    """

    def __init__(self, weights: Sequence[float]) -> None:
        super().__init__()
        self.active = bool(weights)
        # A constant, no parameter. Background, and what does not count, keep 1.
        self.table = Tensor(np.array([1.0, *weights], np.float32), ms.float32)

    def construct(self, per_anchor: Tensor, labels: Tensor) -> Tensor:
        """(N, A) losses and (N, A) int32 labels -> (N, A)."""
        if not self.active:
            return per_anchor
        return per_anchor * ops.gather(self.table, ops.relu(labels), 0)
