"""Do two predict functions compute the same? The largest difference over a few drawn scenes.

The parity report of an exported file, with detections and AP, is `exporting/parity.py`'s matter.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from data_tools.augment.render import network_input
from data_tools.images.decode import decode_bgr
from data_tools.sources.shapes import shape_samples
from training.evaluation.predict_fn import PredictFn
from training.inference.settings import TOLERANCE

IMAGES = 4


@dataclass(frozen=True)
class Agreement:
    """How far two predict functions are apart.

    Args:
        images: Number of images compared.
        box_difference: Largest difference of a box coordinate, relative to the image; infinite if
            one of them gave no number.
        score_difference: The same of a score.
        tolerance: Largest difference allowed.
    """

    images: int
    box_difference: float
    score_difference: float
    tolerance: float = TOLERANCE

    @property
    def largest(self) -> float:
        """The larger of the two differences."""
        return max(self.box_difference, self.score_difference)

    @property
    def holds(self) -> bool:
        """Whether they agree."""
        return self.largest <= self.tolerance


def scenes(image_size: tuple[int, int], count: int = IMAGES) -> npt.NDArray[np.uint8]:
    """Draw scenes, the same ones every time: (count, 3, H, W) uint8 RGB."""
    prepared = [network_input(image, image_size) for _, image in drawn_images(count)]
    return np.ascontiguousarray(np.stack(prepared))


def drawn_images(count: int) -> Iterator[tuple[int, npt.NDArray[np.uint8]]]:
    """Yield ids and images (H, W, 3) uint8 BGR of drawn scenes, the same ones every time."""
    for sample in shape_samples(0, "parity", count):
        assert sample.image is not None
        image = decode_bgr(np.frombuffer(sample.image, np.uint8))
        assert image is not None, "drawn images decode"
        yield sample.image_id, image


def compare_outputs(
    reference: PredictFn, other: PredictFn, images: npt.NDArray[np.uint8]
) -> Agreement:
    """Compare what two predict functions say of the same images (N, 3, H, W) uint8 RGB."""
    boxes, scores = reference(images)
    other_boxes, other_scores = other(images)
    return Agreement(
        len(images),
        largest_difference(boxes, other_boxes),
        largest_difference(scores, other_scores),
    )


def largest_difference(a: npt.NDArray[np.float32], b: npt.NDArray[np.float32]) -> float:
    """Return the largest difference of two arrays; infinite for other shapes, or where one is no
    number.
    """
    if a.shape != b.shape:
        return float("inf")
    difference = float(np.abs(a - b).max(initial=0.0))
    return difference if np.isfinite(difference) else float("inf")
