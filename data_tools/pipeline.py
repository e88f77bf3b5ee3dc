"""Batches for training and evaluation, made from the shards: the same bits for any worker count.

The order is `order.py`, one image is `augment/apply.py`, side by side is `workers.py`; targets come from
the encoder that the caller brings, since anchors belong to the model.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from time import perf_counter
from typing import Any, Protocol, cast

import numpy as np
import numpy.typing as npt

from data_tools.augment.apply import UndecodableImage, augment
from data_tools.augment.render import resize
from data_tools.augment.truth import Truth
from data_tools.decode import decode_bgr
from data_tools.manifest import ConvertedSplit
from data_tools.order import TrainOrder, evaluation_rows, generator
from data_tools.pipeline_settings import AugmentSettings, PipelineSettings
from data_tools.rows import CheckedRows
from data_tools.workers import Arrays, Layout, Workers, build_workers

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


class TrainPipeline:
    """Training batches of one device, for any range of global steps.

    A batch is a pure function of (data, seed, augmentation, global batch, step): the number and kind of
    workers, the step that was started at, and the number of devices change nothing in it. The batch of
    rank r is the r-th part of the global batch.

    Args:
        split: The converted split.
        pipeline: How batches are made.
        augment: How images are varied.
        image_size: (H, W) of the network's input.
        encode: Boxes to targets.
        seed: The run's seed.
        batch_size: Images per device.
        rank: This device.
        world_size: Number of devices.

    Raises:
        SettingError: If the split has fewer images than a global batch takes, see `TrainOrder`.
        DataError: With `pipeline.verify`, if a shard's hash is not the manifest's.
    """

    def __init__(
        self,
        split: ConvertedSplit,
        pipeline: PipelineSettings,
        augment: AugmentSettings,
        image_size: tuple[int, int],
        encode: Encoder,
        *,
        seed: int,
        batch_size: int,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        self.order = TrainOrder(
            split.num_images, seed, batch_size, rank, world_size, pipeline.last_batch
        )
        rows = CheckedRows(split)
        if pipeline.verify:
            rows.verify_shards()
        self._maker = _TrainMaker(rows, self.order, pipeline, augment, image_size, encode)
        self._settings = pipeline
        self._workers: Workers | None = None

    @property
    def steps_per_epoch(self) -> int:
        """Steps in an epoch."""
        return self.order.steps_per_epoch

    def batches(self, start_step: int, stop_step: int) -> Iterator[TrainBatch]:
        """Yield the batches of global steps start_step .. stop_step - 1, epoch after epoch.

        Nothing that belongs to earlier steps is read.

        Args:
            start_step: First global step, from 0.
            stop_step: Step after the last.

        Raises:
            DataError: When a row cannot be read or decoded; the message names the shard and the image.
        """
        if self._workers is None:
            settings = self._settings
            self._workers = build_workers(
                self._maker, settings.worker_kind, settings.workers, settings.prefetch
            )
        steps = range(start_step, stop_step)
        for step, arrays in zip(steps, self._workers.run(steps), strict=True):
            yield TrainBatch(step, **cast(dict[str, Any], arrays))

    def batch_at(self, step: int) -> TrainBatch:
        """Make the batch of one global step here and now, bit for bit that of `batches`."""
        arrays = {n: np.empty(shape, dtype) for n, (shape, dtype) in self._maker.layout.items()}
        self._maker.fill(step, arrays)
        return TrainBatch(step, **cast(dict[str, Any], arrays))

    def close(self) -> None:
        """End the workers. May be called twice; `batches` starts them again."""
        if self._workers is not None:
            self._workers.close()
            self._workers = None


@dataclass
class _TrainMaker:
    rows: CheckedRows
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


class EvalPipeline:
    """Every image of a split exactly once over all ranks, resized as published, in full batches.

    Args:
        split: The converted split.
        image_size: (H, W) of the network's input.
        batch_size: Images per device.
        rank: This device.
        world_size: Number of devices; all have the same number of batches.
        workers: Batches made at the same time, in threads; 0 takes one for each core.
    """

    def __init__(
        self,
        split: ConvertedSplit,
        image_size: tuple[int, int],
        batch_size: int,
        *,
        rank: int = 0,
        world_size: int = 1,
        workers: int = 2,
    ) -> None:
        rows = evaluation_rows(split.num_images, batch_size, rank, world_size)
        self._maker = _EvalMaker(CheckedRows(split), rows, image_size)
        self._count = workers
        self._workers: Workers | None = None

    @property
    def num_batches(self) -> int:
        """Batches that `batches` yields."""
        return len(self._maker.batches)

    def batches(self) -> Iterator[EvalBatch]:
        """Yield the batches; the workers end with the last.

        Raises:
            DataError: When a row cannot be read or decoded; the message names the shard and the image.
        """
        workers = build_workers(self._maker, "threads", self._count, prefetch=2)
        try:
            for arrays in workers.run(range(self.num_batches)):
                yield EvalBatch(**cast(dict[str, Any], arrays))
        finally:
            workers.close()


@dataclass
class _EvalMaker:
    rows: CheckedRows
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
