"""A detector in three lines of Python: `Detector.load(path).predict(image)`.

Files are opened in `open_model.py`, many images at a time are `predict.py`'s matter.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from data_tools.augment.render import network_input
from data_tools.core.errors import SettingError
from data_tools.core.sample import ClassInfo
from data_tools.images.draw import draw_boxes
from training.boxes.postprocess import Detections, Protocol, detect
from training.evaluation.predict_fn import PredictFn
from training.evaluation.settings import ONE_NAME_IOU, THRESHOLD
from training.inference.class_thresholds import AUTO, require_thresholds, thresholds_by_label
from training.inference.engine import load_engine
from training.inference.image_source import read_image
from training.inference.open_model import open_model_file
from training.inference.settings import PredictCommand
from training.process.runtime import prepare_environment

Image = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Prediction:
    """What was found on one image, best first.

    Args:
        boxes_yxyx_px: (K, 4) float64 corners `[y1, x1, y2, x2]` in pixels of the image as shown
            (EXIF orientation applied), 0 <= y1 <= y2 <= height.
        scores: (K,) float32 in 0..1.
        labels: (K,) int32, 1..C.
        names: K class names.
        category_ids: K ids of the classes in the data set that the detector was trained on.
        height: Rows of the image.
        width: Columns of the image.
    """

    boxes_yxyx_px: npt.NDArray[np.float64]
    scores: npt.NDArray[np.float32]
    labels: npt.NDArray[np.int32]
    names: tuple[str, ...]
    category_ids: tuple[int, ...]
    height: int
    width: int

    def __len__(self) -> int:
        return len(self.scores)

    def draw(self, image_bgr: Image) -> Image:
        """Return a copy of the image (H, W, 3) BGR with boxes, names and scores on it."""
        order = np.arange(len(self))[::-1]  # the best is drawn last, on top
        return draw_boxes(
            image_bgr,
            self.boxes_yxyx_px[order],
            self.labels[order],
            [self.names[k] for k in order],
            self.scores[order],
        )


@dataclass(frozen=True)
class Choice:
    """Which detections are wanted.

    Args:
        threshold: Lowest score, 0..1.
        top_k: Most detections per image.
        nms_iou: Overlap above which the lower score of a class goes.
        labels: Labels to keep; None for all.
        by_label: (C,) lowest score of each label, in place of `threshold`; empty for none.
        one_name_iou: Overlap above which two boxes are one object with one name; None lets each
            class have its own box of an object, as in metrics.
    """

    threshold: float = THRESHOLD
    top_k: int = PredictCommand.top_k
    nms_iou: float = PredictCommand.nms_iou
    labels: frozenset[int] | None = None
    by_label: tuple[float, ...] = ()
    one_name_iou: float | None = ONE_NAME_IOU


class Detector:
    """A detector that is ready to run.

    >>> prediction = Detector.load("best.ckpt").predict("street.jpg")  # doctest: +SKIP

    Args:
        predict_fn: Pixels to boxes and scores.
        image_size: Height and width that it takes.
        classes: Its classes by label, 1..C.
        batch_size: Images per call.
        thresholds: (C,) best threshold of each class, empty if unknown.
        path: The file, for messages.
        network: Name of its network, if known.
    """

    def __init__(
        self,
        predict_fn: PredictFn,
        image_size: tuple[int, int],
        classes: Sequence[ClassInfo],
        batch_size: int = 1,
        thresholds: tuple[float, ...] = (),
        path: str | Path = "the detector",
        network: str = "",
    ) -> None:
        self.thresholds, self.path, self.network = thresholds, path, network
        self.predict_fn, self.image_size, self.batch_size = predict_fn, image_size, batch_size
        self.classes = tuple(classes)

    @staticmethod
    def load(
        path: str | Path,
        *,
        device: str = "CPU",
        batch_size: int = 1,
        class_names: str = "",
        model: str | None = None,
        engine: str = "auto",
    ) -> Detector:
        """Load a detector, and print which engine computes it.

        Args:
            path: Checkpoint (.ckpt, .safetensors, .pth), exported file (.onnx, .mindir), or
                `hub:NAME`.
            device: CPU or Ascend.
            batch_size: Images that go through the network together.
            class_names: For a checkpoint without a card: text file with a name a line, or converted
                set.
            model: For a checkpoint without a card: file of `conf/model`; None finds it.
            engine: What computes a checkpoint: `mindspore`, `onnxruntime`, or `auto`, see
                `load_engine`.

        Raises:
            CheckpointError: If the file is missing, damaged, or of no kind we know.
            SettingError: If the engine is unknown, or cannot run the file.
        """
        prepare_environment()
        file = open_model_file(path, model)
        classes = file.named_classes(class_names)
        predict_fn, ready = load_engine(file, batch_size, engine, device)
        print(ready.line)
        return Detector(
            predict_fn,
            file.image_size,
            classes,
            batch_size,
            thresholds_by_label(file.thresholds, file.classes),
            file.path,
            file.model.name,
        )

    def choice(
        self,
        threshold: float | str,
        top_k: int,
        nms_iou: float,
        classes: Collection[str],
        one_name_iou: float | None = ONE_NAME_IOU,
    ) -> Choice:
        """Return which detections are wanted.

        Args:
            threshold: Lowest score, 0..1, or `auto` for the best of each class.
            top_k: Most detections per image.
            nms_iou: Overlap above which the lower score of a class goes.
            classes: Names of the classes to keep; all if empty.
            one_name_iou: Overlap above which boxes of any classes are one object; None lets them
                be.

        Raises:
            SettingError: If a name is unknown, or `auto` is wanted and no evaluation told
                thresholds.
        """
        labels = self.labels_of(classes)
        if threshold == AUTO:
            by_label = require_thresholds(self.thresholds, self.path)
            return Choice(min(by_label), top_k, nms_iou, labels, by_label, one_name_iou)
        return Choice(float(threshold), top_k, nms_iou, labels, (), one_name_iou)

    def labels_of(self, names: Collection[str]) -> frozenset[int] | None:
        """Return the labels of class names; None for no names, which means all.

        Raises:
            SettingError: If a name is not one of the detector's classes.
        """
        known = {c.name: c.label for c in self.classes}
        for name in names:
            if name not in known:
                raise SettingError(
                    f"classes: {name!r} is not among the detector's: {', '.join(known)}"
                )
        return frozenset(known[name] for name in names) or None

    def predict(
        self,
        image: str | Path | bytes | Image,
        *,
        threshold: float | str = Choice.threshold,
        top_k: int = Choice.top_k,
        nms_iou: float = Choice.nms_iou,
        classes: Collection[str] = (),
        one_name_iou: float | None = ONE_NAME_IOU,
    ) -> Prediction:
        """Find objects on one image of any size.

        Args:
            image: Path of a file, its bytes, or pixels (H, W, 3) uint8 RGB.
            threshold: Lowest score, 0..1, or `auto`: the best of each class, found by evaluation.
            top_k: Most detections.
            nms_iou: Overlap above which the lower score of a class goes.
            classes: Names of the classes to keep; all if empty.
            one_name_iou: Overlap above which boxes of any classes are one object, of which the best
                stays; None lets each class have its own box, as in metrics.

        Raises:
            DataError: If the image cannot be read.
        """
        if isinstance(image, np.ndarray):
            if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
                raise SettingError(
                    f"image: an array of {image.dtype} {image.shape}; expected uint8 (H, W, 3) RGB."
                )
            pixels = np.ascontiguousarray(image[:, :, ::-1])
        else:
            pixels = read_image(image)
        choice = self.choice(threshold, top_k, nms_iou, classes, one_name_iou)
        return self.predict_batch([pixels], choice)[0]

    def predict_batch(self, images_bgr: Sequence[Image], choice: Choice) -> list[Prediction]:
        """Find objects on several images (H, W, 3) BGR, each of its own size."""
        batch = np.stack([self.prepare(image) for image in images_bgr])
        return self.predict_prepared(batch, [image.shape[:2] for image in images_bgr], choice)

    def prepare(self, image_bgr: Image) -> Image:
        """Return what the network sees of an image: (3, H, W) uint8 RGB at its own size."""
        return np.ascontiguousarray(network_input(image_bgr, self.image_size))

    def predict_prepared(
        self, batch: Image, sizes: Sequence[tuple[int, ...]], choice: Choice
    ) -> list[Prediction]:
        """Find objects on images that `prepare` has prepared.

        Args:
            batch: (N, 3, H, W) uint8 RGB.
            sizes: Height and width of each original image.
            choice: Which detections are wanted.
        """
        return self.detections(*self.predict_fn(batch), sizes, choice)

    def detections(
        self,
        boxes: npt.NDArray[np.float32],
        scores: npt.NDArray[np.float32],
        sizes: Sequence[tuple[int, ...]],
        choice: Choice,
    ) -> list[Prediction]:
        """Make detections of what the network says of images.

        Args:
            boxes: (N, A, 4) `[y1, x1, y2, x2]`, relative to the image, clipped to 0..1.
            scores: (N, A, C + 1), column 0 is background.
            sizes: Height and width of each original image.
            choice: Which detections are wanted.
        """
        if choice.by_label:
            # Before suppression, which is class by class: a box too faint can only remove fainter
            # ones.
            lowest = np.array((np.inf, *choice.by_label), np.float32)  # background never counts
            scores = np.where(scores >= lowest, scores, np.float32(0))
        # The floor is exclusive, a threshold is not.
        floor = float(np.nextafter(np.float32(choice.threshold), np.float32(-1)))
        protocol = Protocol(
            "predict",
            floor,
            choice.nms_iou,
            max_per_image=None if choice.labels else choice.top_k,
            one_name_iou=choice.one_name_iou,
        )
        predictions = []
        for k, (height, width) in enumerate(sizes):
            detections = detect(boxes[k], scores[k], height, width, protocol)
            if choice.labels:
                # After suppression: what is a dog first is no cat because only cats are asked for.
                detections = detections.of(choice.labels, choice.top_k)
            predictions.append(self._named(detections, height, width))
        return predictions

    def _named(self, detections: Detections, height: int, width: int) -> Prediction:
        classes = [self.classes[label - 1] for label in detections.labels]
        return Prediction(
            detections.boxes_yxyx_px,
            detections.scores,
            detections.labels,
            tuple(c.name for c in classes),
            tuple(c.category_id for c in classes),
            height,
            width,
        )
