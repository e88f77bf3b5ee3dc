"""What a batch holds, and how the batch of a number is made: the part that workers run.

Which workers, and in what order batches come out, is `pipeline.py`'s and `workers.py`'s matter.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from time import perf_counter
from typing import Any, Protocol, cast

import numpy as np
import numpy.typing as npt

from data_tools.augment.apply import (
    Augmentation,
    UndecodableImage,
    choose_view,
    render_augmented,
    truths_in_views,
)
from data_tools.augment.boxes_in_view import Truth
from data_tools.augment.render import Scratch, resize
from data_tools.augment.settings import AugmentSettings
from data_tools.core.reusable_memory import Arrays, ByteArena, Layout
from data_tools.images.decode import decode_bgr, size_of
from data_tools.pipeline.order import TrainOrder, generator
from data_tools.pipeline.settings import PipelineSettings
from data_tools.shards.reader import Row, RowReader

_IMAGES_AT_ONCE = 16

STAGES = ("read", "choose", "decode", "render", "encode")
"""What a training image goes through, in this order; `TrainBatch.stage_seconds` has one number for each."""


class Encoder(Protocol):
    """Boxes to targets; `training.boxes.codec.BoxEncoder` is one."""

    @property
    def num_anchors(self) -> int:
        """A, the number of anchors."""

    def encode_batch(
        self,
        boxes_yxyx_rel: npt.NDArray[np.float32],
        labels: npt.NDArray[np.int32],
        iscrowd: npt.NDArray[np.bool_],
        images: npt.NDArray[np.intp],
        loc_targets: npt.NDArray[np.float32],
        anchor_labels: npt.NDArray[np.int32],
    ) -> None:
        """Write targets (B, A, 4) and labels (B, A) for boxes (N, 4), given the image of each (N,)."""


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


class WorkerBuffers:
    """The memory of one worker, kept from batch to batch."""

    def __init__(self, image_size: tuple[int, int]) -> None:
        self.arena = ByteArena()
        self.scratch = Scratch(image_size)


@dataclass
class TrainBatchBuilder:
    rows: RowReader
    order: TrainOrder
    settings: PipelineSettings
    augmentation: AugmentSettings
    image_size: tuple[int, int]
    encoder: Encoder
    _benches: list[WorkerBuffers] = field(default_factory=list, init=False, repr=False)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_benches": []}

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
        try:
            bench = self._benches.pop()
        except IndexError:  # all are in use by other threads
            bench = WorkerBuffers(self.image_size)
        try:
            self._fill(number, arrays, bench)
        finally:
            bench.arena.reset()
            self._benches.append(bench)

    def _fill(self, number: int, arrays: Arrays, bench: WorkerBuffers) -> None:
        # Stage by stage for some images at a time: so the interpreter's code stays in the core's cache,
        # which every decoded image sweeps, and so do the images' bytes. (Measured: one image at a time,
        # what is not decoding takes twice as long.)
        clock = _Clock(cast(Any, arrays["stage_seconds"]))
        indices = self.order.rows(number).tolist()
        before = self.order.occurrences(number).tolist()
        truths: list[Truth] = []
        views: list[Augmentation] = []
        for start in range(0, len(indices), _IMAGES_AT_ONCE):
            bench.arena.reset()
            part = indices[start : start + _IMAGES_AT_ONCE]
            rows = [self.rows.read(index, bench.arena) for index in part]
            arrays["image_ids"][start : start + len(part)] = [row.image_id for row in rows]
            clock.lap("read")
            sizes = [self._size(index, row) for index, row in zip(part, rows, strict=True)]
            found = [Truth(row.boxes_yxyx_px, row.labels, row.iscrowd) for row in rows]
            came = before[start : start + len(part)]
            chosen = self._views(number, part, came, sizes, found)
            truths += found
            views += chosen
            clock.lap("choose")
            images = arrays["images"][start : start + len(part)]
            self._show(part, rows, sizes, chosen, images, bench.scratch, clock)
        seen, image_of = truths_in_views(truths, views)
        clock.lap("choose")
        self.encoder.encode_batch(
            seen.boxes_yxyx,
            seen.labels,
            seen.iscrowd,
            image_of,
            cast(Any, arrays["loc_targets"]),
            cast(Any, arrays["labels"]),
        )
        clock.lap("encode")

    def _show(
        self,
        indices: list[int],
        rows: list[Row],
        sizes: list[tuple[int, int]],
        views: list[Augmentation],
        images: npt.NDArray[Any],
        scratch: Scratch,
        clock: _Clock,
    ) -> None:
        fill, scaled = self.augmentation.expand_fill, self.settings.scaled_decode
        for index, row, (height, width), view, out in zip(
            indices, rows, sizes, views, images, strict=True
        ):
            try:
                render_augmented(
                    row.image, height, width, view, fill, out, scaled, clock.lap, scratch
                )
            except UndecodableImage as error:
                raise self.rows.damaged(index, str(error)) from error

    def _size(self, index: int, row: Row) -> tuple[int, int]:
        if row.height and row.width:
            return row.height, row.width
        size = size_of(row.image)  # the published tools' shards do not say
        if size is None:
            raise self.rows.damaged(index, f"its {row.image.size} bytes do not decode")
        return size

    def _views(
        self,
        number: int,
        indices: list[int],
        before: list[int],
        sizes: list[tuple[int, int]],
        truths: list[Truth],
    ) -> list[Augmentation]:
        seed, epoch = self.order.seed, self.order.epoch_of(number)
        return [
            choose_view(*size, truth, self.augmentation, generator(seed, epoch, index, came))
            for index, came, size, truth in zip(indices, before, sizes, truths, strict=True)
        ]


class _Clock:
    """Adds up the seconds of each stage."""

    def __init__(self, seconds: npt.NDArray[np.float64]) -> None:
        self._seconds = seconds
        self._seconds.fill(0)
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
