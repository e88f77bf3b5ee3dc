"""What a batch holds, and how the batch of a number is made: the part that workers run.

Which workers, and in what order batches come out, is `pipeline.py`'s and `workers.py`'s matter.
"""

from __future__ import annotations

from dataclasses import dataclass
from time import perf_counter
from typing import Any, Protocol, cast

import numpy as np
import numpy.typing as npt

from data_tools.augment.apply import UndecodableImage, augment
from data_tools.augment.render import Scratch, resize
from data_tools.augment.truth import Truth
from data_tools.decode import decode_bgr
from data_tools.order import TrainOrder, generator
from data_tools.pipeline_settings import AugmentSettings, PipelineSettings
from data_tools.records import RowReader
from data_tools.workers import Arrays, Layout

STAGES = ("read", "choose", "decode", "render", "encode")
"""What a training image goes through, in this order; `TrainBatch.stage_seconds` has one number for each."""


class Encoder(Protocol):
    """Boxes of one image to targets; `training.codec.BoxEncoder` is one."""

    @property
    def num_anchors(self) -> int:
        """A, the number of anchors."""

    def encode_into(
        self,
        boxes_yxyx_rel: npt.NDArray[np.float32],
        labels: npt.NDArray[np.int32],
        iscrowd: npt.NDArray[np.bool_],
        loc_targets: npt.NDArray[np.float32],
        anchor_labels: npt.NDArray[np.int32],
    ) -> None:
        """Write (A, 4) targets and (A,) labels into arrays of zeros."""


@dataclass(frozen=True)
class TrainBatch:
    """One device's batch of a training step.

    Args:
        step: The global step, from 0.
        images: (N, 3, H, W) uint8 RGB.
        loc_targets: (N, A, 4) float32, 0 but for positives.
        labels: (N, A) int32: 0 background, 1..C positive, -1 not counted in the loss.
        image_ids: (N,) int64.
        stage_seconds: (5,) float64, seconds spent on each of `STAGES`, summed over the images.
    """

    step: int
    images: npt.NDArray[np.uint8]
    loc_targets: npt.NDArray[np.float32]
    labels: npt.NDArray[np.int32]
    image_ids: npt.NDArray[np.int64]
    stage_seconds: npt.NDArray[np.float64]


@dataclass(frozen=True)
class EvalBatch:
    """One device's batch of an evaluation, always of full size.

    Args:
        images: (N, 3, H, W) uint8 RGB, zeros where padded.
        image_ids: (N,) int64, -1 where padded.
        heights: (N,) int32, the stored image's rows, 0 where padded.
        widths: (N,) int32, the stored image's columns, 0 where padded.
    """

    images: npt.NDArray[np.uint8]
    image_ids: npt.NDArray[np.int64]
    heights: npt.NDArray[np.int32]
    widths: npt.NDArray[np.int32]


@dataclass
class TrainMaker:
    rows: RowReader
    order: TrainOrder
    settings: PipelineSettings
    augmentation: AugmentSettings
    image_size: tuple[int, int]
    encoder: Encoder

    @property
    def layout(self) -> Layout:
        count, anchors = self.order.batch_size, self.encoder.num_anchors
        return {
            "images": ((count, 3, *self.image_size), "uint8"),
            "loc_targets": ((count, anchors, 4), "float32"),
            "labels": ((count, anchors), "int32"),
            "image_ids": ((count,), "int64"),
            "stage_seconds": ((len(STAGES),), "float64"),
        }

    def describe(self, number: int) -> str:
        return f"the batch of step {number}, rows {self.order.rows(number).tolist()}"

    def fill(self, number: int, arrays: Arrays) -> None:
        epoch = self.order.epoch_of(number)
        images, ids = cast(Any, arrays["images"]), arrays["image_ids"]
        targets, labels = cast(Any, arrays["loc_targets"]), cast(Any, arrays["labels"])
        targets.fill(0)
        labels.fill(0)
        scratch = Scratch(self.image_size)
        clock = _Clock(cast(Any, arrays["stage_seconds"]))
        for place, index in enumerate(self.order.rows(number).tolist()):
            clock.start()
            row = self.rows[index]
            clock.lap("read")
            truth = Truth(row.boxes_yxyx_px, row.labels, row.iscrowd)
            try:
                truth = augment(
                    row.image,
                    row.height,
                    row.width,
                    truth,
                    self.augmentation,
                    generator(self.order.seed, epoch, index),
                    images[place],
                    self.settings.scaled_decode,
                    clock.lap,
                    scratch,
                )
            except UndecodableImage as error:
                raise self.rows.damaged(index, str(error)) from error
            self.encoder.encode_into(
                truth.boxes_yxyx, truth.labels, truth.iscrowd, targets[place], labels[place]
            )
            clock.lap("encode")
            ids[place] = row.image_id


class _Clock:
    """Adds up the seconds of each stage."""

    def __init__(self, seconds: npt.NDArray[np.float64]) -> None:
        self._seconds = seconds
        self._seconds.fill(0)
        self._last = 0.0

    def start(self) -> None:
        self._last = perf_counter()

    def lap(self, stage: str) -> None:
        now = perf_counter()
        self._seconds[STAGES.index(stage)] += now - self._last
        self._last = now


@dataclass
class EvalMaker:
    rows: RowReader
    batches: npt.NDArray[np.int64]
    image_size: tuple[int, int]

    @property
    def layout(self) -> Layout:
        count = self.batches.shape[1]
        return {
            "images": ((count, 3, *self.image_size), "uint8"),
            "image_ids": ((count,), "int64"),
            "heights": ((count,), "int32"),
            "widths": ((count,), "int32"),
        }

    def describe(self, number: int) -> str:
        return f"evaluation batch {number}, rows {self.batches[number].tolist()}"

    def fill(self, number: int, arrays: Arrays) -> None:
        for name, padding in (("images", 0), ("image_ids", -1), ("heights", 0), ("widths", 0)):
            cast(Any, arrays[name]).fill(padding)
        for place, index in enumerate(self.batches[number].tolist()):
            if index < 0:
                continue
            row = self.rows[index]
            image = decode_bgr(row.image)
            if image is None:
                raise self.rows.damaged(index, "its bytes do not decode")
            resized = resize(image, self.image_size)
            arrays["images"][place] = resized[:, :, ::-1].transpose(2, 0, 1)
            arrays["image_ids"][place] = row.image_id
            arrays["heights"][place], arrays["widths"][place] = image.shape[:2]
