"""Batches for training and evaluation, made from the shards: the same bits for any worker count.

The order is `order.py`, a batch is made in `batches.py`, side by side is `workers.py`; targets come
from the encoder that the caller brings, since anchors belong to the model.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from typing import Any, cast

import numpy as np

from data_tools.augment.settings import AugmentSettings
from data_tools.core.errors import DataError
from data_tools.core.files import sha256_of_file
from data_tools.pipeline.batches import TrainBatch, TrainBatchBuilder
from data_tools.pipeline.dataset import BatchSource, build_dataset, iterate
from data_tools.pipeline.encoder import Encoder
from data_tools.pipeline.eval_batches import EvalBatch, EvalBatchBuilder
from data_tools.pipeline.order import TrainOrder, evaluation_rows
from data_tools.pipeline.process_workers import ProcessWorkers
from data_tools.pipeline.sampler import image_weights
from data_tools.pipeline.settings import PipelineSettings
from data_tools.pipeline.sizes import Size, StepSizes
from data_tools.pipeline.thread_workers import ThreadWorkers
from data_tools.pipeline.workers import BatchBuilder, Workers, worker_count
from data_tools.shards.manifest import ConvertedSplit
from data_tools.shards.reader import RowReader


class TrainPipeline:
    """Training batches of one device, for any range of global steps.

    A batch is a pure function of (data, seed, augmentation, global batch, step): the number and
    kind of workers, the step that was started at, and the number of devices change nothing in it.
    The batch of rank r is the r-th part of the global batch.

    Args:
        split: The converted split.
        pipeline: How batches are made.
        augment: How images are varied.
        image_size: (H, W) of the network's input; with `augment.sizes`, that of closing epochs.
        encode: Boxes to targets.
        seed: The run's seed.
        batch_size: Images per device.
        rank: This device.
        world_size: Number of devices.
        epochs: The run's length, for `augment.closing_epochs`; None for no end.

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
        epochs: float | None = None,
    ) -> None:
        self.order = train_order(split, pipeline, seed, batch_size, rank, world_size)
        if pipeline.verify:
            verify_shards(split)
        drawn = tuple((int(height), int(width)) for height, width in augment.sizes)
        sizes = StepSizes(seed, image_size, drawn)
        self._builder = TrainBatchBuilder(
            RowReader(split), self.order, pipeline, augment, sizes, encode, epochs
        )
        self._settings = pipeline
        self._workers: Workers | None = None
        self._live: Generator[TrainBatch, None, None] | None = None

    @property
    def steps_per_epoch(self) -> int:
        """Steps in an epoch."""
        return self.order.steps_per_epoch

    def dataset(self, start_step: int, stop_step: int) -> Any:
        """Return a `mindspore.dataset` of the batches of global steps start_step .. stop_step - 1.

        A row is a batch, columns `dataset.COLUMNS`; nothing that belongs to earlier steps is read.
        It can be iterated once, for instance by `create_tuple_iterator(num_epochs=1)`.
        """
        return build_dataset(BatchSource(self.make_batches, start_step, stop_step))

    @property
    def encoder(self) -> Encoder:
        """Boxes to targets."""
        return self._builder.encoder

    @property
    def num_workers(self) -> int:
        """Batches that are made at the same time."""
        return worker_count(self._settings.workers)

    def batches(self, start_step: int, stop_step: int) -> Iterator[TrainBatch]:
        """Yield the batches of global steps start_step .. stop_step - 1 out of `dataset`.

        Args:
            start_step: First global step, from 0.
            stop_step: Step after the last.

        Raises:
            DataError: When a row cannot be read or decoded; the message names the shard and the
                image.
        """
        self._live = iterate(BatchSource(self.make_batches, start_step, stop_step))
        return self._live

    def make_batches(self, start_step: int, stop_step: int) -> Iterator[TrainBatch]:
        """Yield the same batches straight from the workers, epoch after epoch."""
        if self._workers is None:
            settings = self._settings
            self._workers = build_workers(
                self._builder, settings.worker_kind, settings.workers, settings.prefetch
            )
        steps = range(start_step, stop_step)
        for step, arrays in zip(steps, self._workers.run(steps), strict=True):
            yield TrainBatch(step, **cast(dict[str, Any], self._builder.shaped(step, arrays)))

    def size(self, step: int) -> Size:
        """Return the (H, W) of a global step's images."""
        return self._builder.size(step)

    def batch_at(self, step: int) -> TrainBatch:
        """Make the batch of one global step here and now, bit for bit that of `batches`."""
        arrays = {n: np.empty(shape, dtype) for n, (shape, dtype) in self._builder.layout.items()}
        self._builder.fill(step, arrays)
        return TrainBatch(step, **cast(dict[str, Any], self._builder.shaped(step, arrays)))

    def close(self) -> None:
        """End the workers. May be called twice; `batches` starts them again."""
        if self._live is not None:
            self._live.close()
            self._live = None
        if self._workers is not None:
            self._workers.close()
            self._workers = None


class EvalPipeline:
    """Every image of a split exactly once over all ranks, resized as published, in full batches.

    Args:
        split: The converted split.
        image_size: (H, W) of the network's input.
        batch_size: Images per device.
        rank: This device.
        world_size: Number of devices; all have the same number of batches.
        workers: Batches made at the same time, in threads; 0 takes one for each core.
        encode: Boxes to targets, which batches then have as well; None leaves them out.
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
        encode: Encoder | None = None,
    ) -> None:
        rows = evaluation_rows(split.num_images, batch_size, rank, world_size)
        self._builder = EvalBatchBuilder(RowReader(split), rows, image_size, encode)
        self._count = workers
        self._workers: Workers | None = None

    @property
    def num_batches(self) -> int:
        """Batches that `batches` yields."""
        return len(self._builder.batches)

    def batches(self) -> Iterator[EvalBatch]:
        """Yield the batches; the workers end with the last.

        Raises:
            DataError: When a row cannot be read or decoded; the message names the shard and the
                image.
        """
        workers = build_workers(self._builder, "threads", self._count, prefetch=2)
        try:
            for arrays in workers.run(range(self.num_batches)):
                yield EvalBatch(**cast(dict[str, Any], arrays))
        finally:
            workers.close()


def train_order(
    split: ConvertedSplit,
    pipeline: PipelineSettings,
    seed: int,
    batch_size: int,
    rank: int = 0,
    world_size: int = 1,
) -> TrainOrder:
    """Return the order in which a rank takes the rows of a split; see `TrainPipeline` for the
    arguments.

    Raises:
        DataError: With a sampler, if the labels of a row cannot be read.
    """
    weights = None
    if pipeline.sampler != "uniform":
        presence = RowReader(split).presence(len(split.classes))
        weights = image_weights(presence, pipeline.sampler, pipeline.repeat_threshold)
    return TrainOrder(
        split.num_images, seed, batch_size, rank, world_size, pipeline.last_batch, weights
    )


def verify_shards(split: ConvertedSplit) -> None:
    """Compare the hash of every shard and index with the manifest's.

    Raises:
        DataError: Names the first file that differs, and the images in it.
    """
    for shard in split.manifest.shards:
        for name, expected in shard.digests.items():
            if sha256_of_file(split.folder / name) != expected:
                raise DataError(
                    f"{split.folder / name}: its sha256 is not the manifest's. It holds the images "
                    f"{shard.first_image_id} to {shard.last_image_id}. Copy or convert the set "
                    "again."
                )


def build_workers(builder: BatchBuilder, kind: str, workers: int, prefetch: int) -> Workers:
    """Start workers.

    Args:
        builder: What makes the batches; pickled where `kind` is `processes`.
        kind: `threads` or `processes`.
        workers: How many; 0 takes one for each core this process may use.
        prefetch: Finished batches to keep beyond those being made.
    """
    count = worker_count(workers)
    if kind == "threads":
        return ThreadWorkers(builder, count, prefetch)
    return ProcessWorkers(builder, count, prefetch)
