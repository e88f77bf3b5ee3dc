"""As a `mindspore.dataset` the batches are the pipeline's own, bit for bit, for any number of threads."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from small_sets import drawn_split
from test_pipeline import build

from data_tools.step_dataset import COLUMNS, step_dataset


@pytest.mark.parametrize("workers", [1, 2])
def test_rows_are_the_pipelines_batches(tmp_path: Path, workers: int) -> None:
    pipeline = build(drawn_split(tmp_path, 24), batch_size=4)
    dataset = step_dataset(pipeline, 3, 11, workers)
    assert dataset.get_dataset_size() == 8
    rows = list(dataset.create_dict_iterator(num_epochs=1, output_numpy=True))
    assert len(rows) == 8
    for row, batch in zip(rows, pipeline.batches(3, 11), strict=True):
        for column in COLUMNS:
            np.testing.assert_array_equal(row[column], getattr(batch, column))
    pipeline.close()
