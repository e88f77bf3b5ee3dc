"""A detector ready to run: network, normalisation and decoding in one compiled graph.

Weights are read in `checkpoints/weights.py`; scores become detections in `boxes/postprocess.py`;
`detector.py` puts all
of it behind `Detector.load(path).predict(image)`. Exported files run through `exported.py`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from training.nets.anchors import default_boxes
from training.nets.settings import ModelSettings


class Predictor:
    """A network that takes pixels and gives boxes and scores, compiled for one batch size.

    Smaller batches are padded, larger ones are cut, so there is one graph only. The weights are
    those of `network` at the time of the call, as long as they are changed by `ops.assign`.

    Args:
        network: A detector of `training.nets` in inference mode.
        batch_size: Images per call of the graph.
    """

    def __init__(self, network: Any, batch_size: int) -> None:
        import mindspore as ms

        self.model: ModelSettings = network.model
        self.num_classes: int = network.num_classes
        self.image_size = self.model.height_width
        self.batch_size = batch_size
        cell = detection_cell(network)

        @ms.jit
        def run(images: ms.Tensor) -> Any:
            return cell(images)

        self._run = run

    def __call__(
        self, images: npt.NDArray[np.uint8]
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        """Predict.

        Args:
            images: (N, 3, H, W) uint8 RGB, any N >= 1, already of the network's size.

        Returns:
            boxes (N, A, 4) float32 `[y1, x1, y2, x2]`, relative to the image and clipped to 0..1,
            and scores (N, A, C + 1) float32.
        """
        import mindspore as ms

        parts = []
        for start in range(0, len(images), self.batch_size):
            chunk = images[start : start + self.batch_size]
            boxes, scores = self._run(ms.Tensor(pad_batch(chunk, self.batch_size)))
            parts.append((boxes.asnumpy()[: len(chunk)], scores.asnumpy()[: len(chunk)]))
        if len(parts) == 1:
            return parts[0]
        return np.concatenate([p[0] for p in parts]), np.concatenate([p[1] for p in parts])


def build_predictor(network: Any, batch_size: int) -> Predictor:
    """Return the predict function of a network, see `Predictor`."""
    return Predictor(network, batch_size)


def pad_batch(images: npt.NDArray[np.uint8], size: int) -> npt.NDArray[np.uint8]:
    """Fill a batch of (N, 3, H, W) up to `size` images with zeros; contiguous."""
    if len(images) == size:
        return np.ascontiguousarray(images)
    full = np.zeros((size, *images.shape[1:]), images.dtype)
    full[: len(images)] = images
    return full


def detection_cell(network: Any, *, decode: bool = True, keeps_raw: bool = False) -> Any:
    """Wrap a network with normalisation before and decoding behind it.

    Args:
        network: A detector of `training.nets`.
        decode: Return boxes `[y1, x1, y2, x2]` relative and clipped instead of raw regression.
        keeps_raw: Return the raw regression and the logits as well, behind boxes and scores.

    Returns:
        A Cell in inference mode: (N, 3, H, W) pixels in 0..255, uint8 or float -> (N, A, 4) and
        (N, A, C + 1) float32. Its parameters keep the network's names.
    """
    from training.inference.detection_cell import DetectionCell

    model: ModelSettings = network.model
    anchors = default_boxes(model) if decode else None
    return DetectionCell(network, model, anchors, keeps_raw).set_train(False)
