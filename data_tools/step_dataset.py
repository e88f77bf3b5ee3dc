"""The training pipeline as a `mindspore.dataset`, for code that wants one, such as data sinking.

The batches are those of `pipeline.py`, bit for bit; the project's own trainer takes them from there
directly, which saves a copy of each.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from data_tools.pipeline import TrainPipeline

if TYPE_CHECKING:
    from mindspore.dataset import GeneratorDataset

COLUMNS = ("images", "loc_targets", "labels", "image_ids")
"""The columns of a row, which is a whole batch; shapes and dtypes as in `batches.TrainBatch`."""


class StepSource:
    """Whole batches by their place in a range of steps: what `GeneratorDataset` reads from.

    Args:
        pipeline: Makes the batches.
        start_step: Global step of place 0.
        stop_step: Step after the last.
    """

    def __init__(self, pipeline: TrainPipeline, start_step: int, stop_step: int) -> None:
        self._pipeline = pipeline
        self._steps = range(start_step, stop_step)

    def __len__(self) -> int:
        return len(self._steps)

    def __getitem__(self, place: int) -> tuple[Any, ...]:
        batch = self._pipeline.batch_at(self._steps[place])
        return tuple(getattr(batch, column) for column in COLUMNS)


def step_dataset(
    pipeline: TrainPipeline, start_step: int, stop_step: int, workers: int = 0
) -> GeneratorDataset:
    """Return a MindSpore data set whose rows are the batches of global steps, in order.

    Args:
        pipeline: Makes the batches.
        start_step: First global step.
        stop_step: Step after the last.
        workers: MindSpore's threads that make batches; 0 takes the pipeline's number.

    Returns:
        A data set of `stop_step - start_step` rows with the columns `COLUMNS`; do not batch or shuffle it.
    """
    from mindspore.dataset import GeneratorDataset

    count = min(workers or pipeline.num_workers, os.cpu_count() or 1)  # MindSpore refuses more
    return GeneratorDataset(
        StepSource(pipeline, start_step, stop_step),
        list(COLUMNS),
        shuffle=False,
        num_parallel_workers=count,
        python_multiprocessing=False,
    )
