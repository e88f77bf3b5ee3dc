"""Boxes as distributions: each side's distance from the cell's centre is the mean of a softmax over
bins.

The head that gives the logits is the network's (`zoo/ssd_light.py`), the loss of the distributions
`training/learning/box_losses.py`'s.
"""

from __future__ import annotations

import mindspore as ms
import numpy as np
from mindspore import Tensor, nn, ops

from training.nets.anchors import default_boxes, levels
from training.nets.settings import ModelSettings

SHORTEST = 1e-3
"""Least height and width of a box, in steps: a logarithm is taken of it."""


class BoxBins(nn.Cell):
    """Logits of bins to boxes, or to the plain regression of the same boxes.

    The regression of generalised focal loss (arXiv:2006.04388, section 3.2): a bin k stands for k
    steps of the level, a side's distance is the sum of k times its probability. Sides are top,
    left, bottom, right, so that boxes come out as yxyx.

    Args:
        model: The network's settings, with `box_bins` > 0.
    """

    def __init__(self, model: ModelSettings) -> None:
        super().__init__(auto_prefix=False)
        height, width = model.image_size
        anchors = default_boxes(model)
        steps = [
            np.full((level.num_boxes, 2), (level.step_y / height, level.step_x / width))
            for level in levels(model)
        ]
        self.bins, self.count = model.box_bins, len(anchors)
        self.numbers = Tensor(np.arange(model.box_bins, dtype=np.float32))
        self.centres, self.sizes = Tensor(anchors[None, :, :2]), Tensor(anchors[None, :, 2:])
        self.steps = Tensor(np.concatenate(steps)[None].astype(np.float32))
        self.centre_scale, self.size_scale = (float(value) for value in model.prior_scaling)

    def construct(self, loc: Tensor) -> Tensor:
        """Logits (N, A, 4 * bins) -> boxes (N, A, 4) float32 yxyx, relative, not clipped."""
        low, high = self.reach(loc)
        return ops.concat((self.centres - low, self.centres + high), -1)

    def logits(self, loc: Tensor) -> Tensor:
        """(N, A, 4 * bins) -> (N, A, 4, bins)."""
        return loc.reshape((loc.shape[0], self.count, 4, self.bins))

    def reach(self, loc: Tensor) -> tuple[Tensor, Tensor]:
        """Distances of a box's upper left and lower right corner from its cell's centre: two
        (N, A, 2), relative to the image.
        """
        logits = self.logits(loc)
        # Not `softmax`: of the same bits wherever in the tensor a row is, as the losses.
        shares = ops.exp(logits - ops.stop_gradient(ops.amax(logits, -1, True)))
        distances = (shares * self.numbers).sum(-1) / shares.sum(-1)
        return distances[:, :, :2] * self.steps, distances[:, :, 2:] * self.steps

    def offsets(self, loc: Tensor) -> Tensor:
        """Logits (N, A, 4 * bins) -> the regression (N, A, 4) of the same boxes, as other networks
        give it.
        """
        low, high = self.reach(loc)
        centre = 0.5 * (high - low) / (self.sizes * self.centre_scale)
        size = ops.maximum(low + high, self.steps * SHORTEST)
        # `log`, as MindSpore's ONNX has no `log1p`; what evaluates takes the boxes themselves.
        return ops.concat((centre, ops.log(size / self.sizes) / self.size_scale), -1)

    def targets(self, boxes: Tensor) -> Tensor:
        """Boxes (N, A, 4) yxyx relative -> distances (N, A, 4) in steps, within the bins."""
        low = (self.centres - boxes[:, :, :2]) / self.steps
        high = (boxes[:, :, 2:] - self.centres) / self.steps
        most = Tensor(self.bins - 1.0, ms.float32)
        return ops.minimum(ops.relu(ops.concat((low, high), -1)), most)
