"""Training batches as a `mindspore.dataset`: the front of the pipeline that the trainer and users
see.

What is in a batch is decided in `batches.py` and `order.py`, and made side by side in `workers.py`;
this module only hands finished batches to MindSpore's data engine, which feeds the device and can
be sunk.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from data_tools.pipeline.batches import TrainBatch
from data_tools.pipeline.sink import SinkSource

COLUMNS = ("step", "images", "loc_targets", "labels", "image_ids", "stage_seconds")
"""Columns of a row, which is a whole batch of one device: see `TrainBatch` for shapes and
dtypes."""

PREFETCH = 2
"""Batches the engine holds ready; its own default of 16 would take gigabytes at 640 pixels."""


class BatchSource:
    """What the engine iterates over: the batches of a range of global steps, as tuples of arrays.

    An error is kept as well as raised, because the engine passes on its text only.

    Args:
        make: Yields the batches of steps start .. stop - 1, given start and stop.
        start_step: First global step.
        stop_step: Step after the last.
    """

    def __init__(
        self, make: Callable[[int, int], Iterator[TrainBatch]], start_step: int, stop_step: int
    ) -> None:
        self._make, self._steps = make, range(start_step, stop_step)
        self.error: BaseException | None = None

    columns = COLUMNS

    def __len__(self) -> int:
        return len(self._steps)

    def __iter__(self) -> Iterator[tuple[Any, ...]]:
        try:
            for batch in self._make(self._steps.start, self._steps.stop):
                arrays = (getattr(batch, name) for name in COLUMNS[1:])
                yield np.array(batch.step, np.int64), *arrays
        except Exception as error:
            self.error = error
            raise


def build_dataset(source: BatchSource | SinkSource) -> Any:
    """Return a `mindspore.dataset.GeneratorDataset` over a source: a row is a batch, or a step's
    row.

    It can be iterated once; its order is the source's, whatever the engine's own settings.
    """
    from mindspore.dataset import GeneratorDataset

    return GeneratorDataset(source, list(source.columns), num_parallel_workers=1, shuffle=False)


def iterate(source: BatchSource) -> Generator[TrainBatch, None, None]:
    """Yield the batches of a source after they went through the data engine.

    Raises:
        DataError: As the source raised it, when a row cannot be read or decoded.
    """
    dataset = build_dataset(source)
    with prefetch():
        rows = dataset.create_dict_iterator(num_epochs=1, output_numpy=True)
    try:
        while (row := _next_row(rows, source)) is not None:
            yield TrainBatch(int(row.pop("step")), **row)
    finally:
        rows.stop()


def _next_row(rows: Any, source: BatchSource) -> dict[str, Any] | None:
    try:
        row: dict[str, Any] | None = next(rows, None)
    except RuntimeError:
        if source.error is not None:
            raise source.error from None
        raise
    return row


@contextmanager
def prefetch() -> Iterator[None]:
    """Let iterators and queues that start meanwhile hold `PREFETCH` rows ready."""
    # The engine reads this setting when an iterator starts, and has no other place for it.
    from mindspore.dataset import config

    before = config.get_prefetch_size()
    config.set_prefetch_size(PREFETCH)
    try:
        yield
    finally:
        config.set_prefetch_size(before)
