"""The pipeline's front is a real `mindspore.dataset`: same batches, same errors, nothing left
running.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator

import numpy as np
import pytest

from data_tools.core.errors import DataError
from data_tools.pipeline.batches import TrainBatch
from data_tools.pipeline.dataset import COLUMNS, PREFETCH, BatchSource, build_dataset, iterate


def batches(start: int, stop: int) -> Iterator[TrainBatch]:
    """Batch k is full of k."""
    for step in range(start, stop):
        yield TrainBatch(
            step=step,
            images=np.full((2, 3, 4, 5), step, np.uint8),
            loc_targets=np.full((2, 7, 4), step, np.float32),
            labels=np.full((2, 7), step, np.int32),
            image_ids=np.full(2, step, np.int64),
            stage_seconds=np.zeros(5),
        )


def test_batches_come_through_whole_and_in_order() -> None:
    got = list(iterate(BatchSource(batches, 3, 40)))
    assert [b.step for b in got] == list(range(3, 40))
    for one, want in zip(got, batches(3, 40), strict=True):
        for name in COLUMNS[1:]:
            a, b = getattr(one, name), getattr(want, name)
            assert a.dtype == b.dtype
            np.testing.assert_array_equal(a, b)


def test_it_is_a_dataset_that_users_can_iterate() -> None:
    dataset = build_dataset(BatchSource(batches, 0, 5))
    assert dataset.get_dataset_size() == 5
    assert dataset.get_col_names() == list(COLUMNS)
    rows = list(dataset.create_tuple_iterator(num_epochs=1, output_numpy=True))
    assert [int(row[0]) for row in rows] == [0, 1, 2, 3, 4]


def test_an_error_keeps_its_type_and_text() -> None:
    def broken(start: int, stop: int) -> Iterator[TrainBatch]:
        yield from batches(start, start + 2)
        raise DataError("shard a, image 7: cut short")

    seen = []
    with pytest.raises(DataError, match="image 7: cut short"):
        # The engine reads ahead, and says so as soon as it knows: batches before it may not come.
        seen.extend(batch.step for batch in iterate(BatchSource(broken, 0, 9)))
    assert seen in ([], [0], [0, 1])


def test_leaving_early_leaves_no_thread_and_no_setting_behind() -> None:
    from mindspore.dataset import config

    before, threads = config.get_prefetch_size(), threading.active_count()
    assert before != PREFETCH
    stream = iterate(BatchSource(batches, 0, 1000))
    next(stream)
    stream.close()
    assert config.get_prefetch_size() == before
    assert threading.active_count() <= threads + 1
