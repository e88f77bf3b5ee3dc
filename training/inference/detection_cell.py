"""The graph of inference: pixels to boxes and scores. Needs MindSpore, so `predictor.py` imports it
late.

The network's layers are in `nets/`; NumPy's decoding of the same boxes is in `boxes/codec.py`.
"""

from __future__ import annotations

import mindspore as ms
import numpy as np
import numpy.typing as npt
from mindspore import Tensor, nn, ops

from training.nets.normalize import Normalize
from training.nets.settings import ModelSettings


class DetectionCell(nn.Cell):
    """Normalise, detect, decode.

    Args:
        network: The detector.
        model: Its settings.
        anchors_cyxhw_rel: (A, 4) default boxes; None returns the raw regression.
        keeps_raw: Return the raw regression and the logits as well, for a loss.
    """

    def __init__(
        self,
        network: nn.Cell,
        model: ModelSettings,
        anchors_cyxhw_rel: npt.NDArray[np.float32] | None,
        keeps_raw: bool = False,
    ) -> None:
        super().__init__(auto_prefix=False)
        self.network = network
        self.keeps_raw = keeps_raw
        self.has_bins = model.box_bins > 0
        self.normalize = Normalize(model.mean, model.std)
        self.decodes = anchors_cyxhw_rel is not None
        if anchors_cyxhw_rel is not None:
            centre, size = (float(value) for value in model.prior_scaling)
            anchors = np.asarray(anchors_cyxhw_rel, np.float32)[None]
            self.centres = Tensor(anchors[..., :2])
            self.sizes = Tensor(anchors[..., 2:])
            self.centre_scale = Tensor(anchors[..., 2:] * np.float32(centre))
            self.size_scale = size

    def construct(self, images: Tensor) -> tuple[Tensor, ...]:
        """(N, 3, H, W) pixels 0..255 -> boxes or regression (N, A, 4), scores (N, A, C + 1)."""
        images = self.normalize(images)
        if self.keeps_raw:
            loc, logits = self.network.raw(images)
            return (*self.decode(loc, self.network.scores_of(logits)), loc, logits)
        if self.has_bins:
            loc, logits = self.network.raw(images)
            return self.decode(loc, self.network.scores_of(logits))
        loc, scores = self.network(images)
        return self.decode(loc, scores)

    def decode(self, loc: Tensor, scores: Tensor) -> tuple[Tensor, Tensor]:
        """Regression to boxes, unless the raw one is wanted; both float32.

        Args:
            loc: (N, A, 4) regression; of a network with bins (N, A, 4 * bins).
            scores: (N, A, C + 1).

        Returns:
            (N, A, 4) yxyx relative to the image, clipped, or the regression, and the scores.
        """
        loc = ops.cast(loc, ms.float32)
        scores = ops.cast(scores, ms.float32)
        if not self.decodes:
            if self.has_bins:
                loc = self.network.regression_of(loc)
            return loc, scores
        if self.has_bins:
            return ops.clamp(self.network.bins(loc), 0.0, 1.0), scores
        centres = self.centres + loc[:, :, :2] * self.centre_scale
        half = self.sizes * ops.exp(loc[:, :, 2:] * self.size_scale) * 0.5
        corners = ops.concat((centres - half, centres + half), -1)
        return ops.clamp(corners, 0.0, 1.0), scores
