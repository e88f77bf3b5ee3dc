"""What a batch holds, and how the batch of a number is made: the part that workers run.

Which workers, and in what order batches come out, is `pipeline.py`'s and `workers.py`'s matter.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from data_tools.augment.apply import (
    Augmentation,
    UndecodableImage,
    boxes_in_views,
    choose_view,
    render_augmented,
)
from data_tools.augment.boxes_in_view import ImageBoxes
from data_tools.augment.compose import UndecodableSource, compose
from data_tools.augment.mix import choose_mix
from data_tools.augment.render import Scratch
from data_tools.augment.settings import AugmentSettings
from data_tools.augment.sources import Source, joined
from data_tools.core.reusable_memory import Arrays, Layout
from data_tools.images.decode import size_of
from data_tools.pipeline.encoder import Encoder, target_layout
from data_tools.pipeline.order import TrainOrder, generator
from data_tools.pipeline.settings import PipelineSettings
from data_tools.pipeline.sizes import Size, StepSizes
from data_tools.pipeline.worker_buffers import STAGES, StageClock, WorkerBuffers
from data_tools.shards.reader import Row, RowReader

_IMAGES_AT_ONCE = 16
_MIX_STREAM = (
    1  # of an image's random numbers: what it is mixed with; the streams above are its partners'
)


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


@dataclass
class TrainBatchBuilder:
    """Makes training batches.

    Args:
        rows: The split.
        order: Which rows a step takes.
        settings: How they are read.
        augmentation: How they are varied.
        sizes: (H, W) of the network's input, by step.
        encoder: Boxes to targets; with several sizes, one whose targets do not depend on it.
        epochs: The run's length, for what its last epochs leave out; None for no end.
    """

    rows: RowReader
    order: TrainOrder
    settings: PipelineSettings
    augmentation: AugmentSettings
    sizes: StepSizes
    encoder: Encoder
    epochs: float | None = None
    _buffers: list[WorkerBuffers] = field(default_factory=list, init=False, repr=False)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_buffers": []}

    @property
    def layout(self) -> Layout:
        count = self.order.batch_size
        height, width = self.sizes.largest
        # Memory for the largest size; `shaped` cuts out of it what a step has.
        shape = (count * 3 * height * width,) if self.sizes.drawn else (count, 3, height, width)
        return {
            "images": (shape, "uint8"),
            **target_layout(count, self.encoder),
            "image_ids": ((count,), "int64"),
            "stage_seconds": ((len(STAGES),), "float64"),
        }

    def size(self, number: int) -> Size:
        """Return the (H, W) of a step's images."""
        return self.sizes.own if self._closes(number) else self.sizes.of(number)

    def shaped(self, number: int, arrays: Arrays) -> Arrays:
        """Return a batch's arrays with its images as (N, 3, H, W), a view."""
        if not self.sizes.drawn:
            return arrays
        shape = (self.order.batch_size, 3, *self.size(number))
        return {**arrays, "images": arrays["images"][: int(np.prod(shape))].reshape(shape)}

    def describe(self, number: int) -> str:
        return f"the batch of step {number}, rows {self.order.rows(number).tolist()}"

    def fill(self, number: int, arrays: Arrays) -> None:
        try:
            buffers = self._buffers.pop()
        except IndexError:  # all are in use by other threads
            buffers = WorkerBuffers(self.sizes.largest)
        try:
            buffers.fit(self.size(number))
            self._fill(number, self.shaped(number, arrays), buffers)
        finally:
            buffers.arena.reset()
            self._buffers.append(buffers)

    def _fill(self, number: int, arrays: Arrays, buffers: WorkerBuffers) -> None:
        # Stage by stage for some images at a time: so the interpreter's code stays in the core's
        # cache, which every decoded image sweeps, and so do the images' bytes. (Measured: one image
        # at a time, what is not decoding takes twice as long.)
        clock = StageClock(cast(Any, arrays["stage_seconds"]))
        indices = self.order.rows(number).tolist()
        before = self.order.occurrences(number).tolist()
        if self._mixes(number):
            truths_seen = [
                self._mixed(number, slot, index, came, arrays, buffers, clock)
                for slot, (index, came) in enumerate(zip(indices, before, strict=True))
            ]
            counts = [len(truth) for truth in truths_seen]
            self._encode(joined(truths_seen), np.repeat(np.arange(len(counts)), counts), arrays)
            clock.lap("encode")
            return
        truths: list[ImageBoxes] = []
        views: list[Augmentation] = []
        for start in range(0, len(indices), _IMAGES_AT_ONCE):
            buffers.arena.reset()
            part = indices[start : start + _IMAGES_AT_ONCE]
            rows = [self.rows.read(index, buffers.arena) for index in part]
            arrays["image_ids"][start : start + len(part)] = [row.image_id for row in rows]
            clock.lap("read")
            sizes = [self._size(index, row) for index, row in zip(part, rows, strict=True)]
            shown = [ImageBoxes(row.boxes_yxyx_px, row.labels, row.iscrowd) for row in rows]
            came = before[start : start + len(part)]
            chosen = self._views(number, part, came, sizes, shown)
            truths += shown
            views += chosen
            clock.lap("choose")
            images = arrays["images"][start : start + len(part)]
            self._show(part, rows, sizes, chosen, images, buffers.scratch, clock)
        seen, image_of = boxes_in_views(truths, views)
        clock.lap("choose")
        self._encode(seen, image_of, arrays)
        clock.lap("encode")

    def _encode(self, seen: ImageBoxes, image_of: npt.NDArray[np.intp], arrays: Arrays) -> None:
        self.encoder.encode_batch(
            seen.boxes_yxyx,
            seen.labels,
            seen.iscrowd,
            image_of,
            cast(Any, arrays["loc_targets"]),
            cast(Any, arrays["labels"]),
        )

    def _mixes(self, number: int) -> bool:
        """Whether the images of a step may be mixed with others; those of the closing epochs are
        not.
        """
        return self.augmentation.mixes and not self._closes(number)

    def _closes(self, number: int) -> bool:
        """Whether a step is in the closing epochs."""
        closing = self.augmentation.closing_epochs
        if self.epochs is None or not closing:
            return False
        return self.order.epoch_of(number) >= self.epochs - closing

    def _mixed(
        self,
        number: int,
        slot: int,
        index: int,
        before: int,
        arrays: Arrays,
        buffers: WorkerBuffers,
        clock: StageClock,
    ) -> ImageBoxes:
        """Make one image of a step that mixes, and return its boxes; see `augment/compose.py`."""
        buffers.arena.reset()
        epoch = self.order.epoch_of(number)
        rng = partial(generator, self.order.seed, epoch, index, before)
        draws = rng(stream=_MIX_STREAM)
        mix = choose_mix(self.augmentation, draws)
        partners = self.order.at(epoch, draws.random(mix.partners)).tolist()
        clock.lap("choose")
        sources = []
        for k, row_index in enumerate([index, *partners]):
            row = self.rows.read(row_index, buffers.arena)
            if k == 0:
                arrays["image_ids"][slot] = row.image_id
            truth = ImageBoxes(row.boxes_yxyx_px, row.labels, row.iscrowd)
            # The image itself draws as it would alone.
            own = rng() if k == 0 else rng(stream=_MIX_STREAM + k)
            sources.append(Source(row.image, *self._size(row_index, row), truth, own))
        clock.lap("read")
        try:
            return compose(
                sources, mix, self.augmentation, cast(Any, arrays["images"][slot]),
                self.settings.scaled_decode, clock.lap, buffers.scratch,
            )  # fmt: skip
        except UndecodableSource as error:
            raise self.rows.damaged([index, *partners][error.index], str(error)) from error

    def _show(
        self,
        indices: list[int],
        rows: list[Row],
        sizes: list[tuple[int, int]],
        views: list[Augmentation],
        images: npt.NDArray[Any],
        scratch: Scratch,
        clock: StageClock,
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
        truths: list[ImageBoxes],
    ) -> list[Augmentation]:
        seed, epoch = self.order.seed, self.order.epoch_of(number)
        return [
            choose_view(*size, truth, self.augmentation, generator(seed, epoch, index, came))
            for index, came, size, truth in zip(indices, before, sizes, truths, strict=True)
        ]
