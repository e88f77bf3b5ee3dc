"""The loss on held-out images, out of the same pass over them that gives the AP.

What the loss is, is `learning/losses.py`'s matter; when evaluations are made, the trainer's.
"""

from __future__ import annotations

import json
from math import fsum
from typing import Any

import mindspore as ms
import numpy as np
import numpy.typing as npt
from mindspore import Tensor, nn, ops

from data_tools.pipeline.encoder import Encoder
from data_tools.pipeline.eval_batches import EvalBatch
from training.inference.predictor import detection_cell
from training.process.world import World


class LossAndDetections:
    """A network that tells boxes and scores of a batch, and keeps the loss of each image.

    The loss is that of training: the same targets, divided by the positives of all images. Images
    are whole and not varied, batch norm uses its stored statistics, and with `optim.ema` the
    weights are the averages.

    Args:
        network: The detector, in inference mode; its weights may change by `ops.assign`.
        loss: See `build_loss`.
        encoder: Boxes to targets, as in training.
    """

    def __init__(self, network: Any, loss: nn.Cell, encoder: Encoder) -> None:
        self.encoder = encoder
        self.sums: list[tuple[int, float, float]] = []
        cell = detection_cell(network, keeps_raw=True)

        @ms.jit
        def detect(images: Tensor) -> Any:
            return cell(images)

        @ms.jit
        def compare(loc: Tensor, logits: Tensor, loc_targets: Tensor, labels: Tensor) -> Tensor:
            return ops.stack(loss(loc, logits, loc_targets, labels))

        self._detect, self._compare = detect, compare

    def __call__(self, batch: EvalBatch) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        """Return boxes (N, A, 4) and scores (N, A, C + 1) of a batch with targets, and keep its
        losses.
        """
        boxes, scores, loc, logits = (out.asnumpy() for out in self._detect(Tensor(batch.images)))
        # One image at a time: so its digits do not depend on which others are in its batch, hence
        # not on ranks.
        for index in np.flatnonzero(batch.image_ids >= 0):
            part = slice(index, index + 1)
            assert batch.loc_targets is not None and batch.labels is not None
            arrays = (loc, logits, batch.loc_targets, batch.labels)
            overlaps = self._compare(*(Tensor(array[part]) for array in arrays)).asnumpy()
            self.sums.append((int(batch.image_ids[index]), float(overlaps[0]), float(overlaps[1])))
        return boxes, scores

    def take(self, world: World) -> float:
        """Return the loss over the images since the last call, of all ranks; the same on every
        rank.

        Returns:
            The sum of the losses over the sum of the positives (at least 1); NaN if one is not
            finite.
        """
        mine, self.sums = self.sums, []
        parts = world.gather_bytes(json.dumps(mine).encode())
        everything = sorted(tuple(entry) for part in parts for entry in json.loads(part))
        values = np.array([entry[1:] for entry in everything], np.float64).reshape(-1, 2)
        if not np.isfinite(values).all():
            return float("nan")
        return fsum(values[:, 0]) / max(fsum(values[:, 1]), 1.0)
