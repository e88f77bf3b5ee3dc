"""Do a detector's classes fit a data set's? Which of its scores are of them, and a predict function
of those alone.

What the classes of a file are is in `model_file.py`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from data_tools.core.errors import CheckpointError
from data_tools.shards.manifest import ConvertedSplit
from training.evaluation.predict_fn import PredictFn
from training.inference.model_file import ModelFile


def check_classes(file: ModelFile, split: ConvertedSplit, accept: bool) -> list[int] | None:
    """Refuse a detector whose classes are not those of the data set.

    A file that does not know its classes' names passes if their number agrees. One with more
    classes passes if all of the set's are among them, by id and name: torchvision's 90 for COCO's
    80.

    Returns:
        The columns of its scores that are the background and the set's classes; None if all are.

    Raises:
        CheckpointError: If they differ and `accept` is false, or their number differs.
    """
    if file.num_classes > split.num_classes:
        labels = {(c.category_id, c.name): c.label for c in file.classes}
        columns = [labels.get((c.category_id, c.name)) for c in split.classes]
        if all(column is not None for column in columns):
            return [0, *(column for column in columns if column is not None)]
    if file.num_classes != split.num_classes:
        raise CheckpointError(
            f"{file.path} has {file.num_classes - 1} classes, {split.folder} has "
            f"{split.num_classes - 1}: their scores cannot be compared. Choose the matching set."
        )
    names = [c.name for c in file.classes]
    expected = [c.name for c in split.classes]
    if not names or names == expected or accept:
        return None
    k = next(i for i, (a, b) in enumerate(zip(names, expected, strict=True)) if a != b)
    raise CheckpointError(
        f"label {k + 1} is {names[k]!r} in {file.path} and {expected[k]!r} in {split.folder}. If "
        "that is the same thing by another name, set accept_other_classes=true."
    )


def with_columns(predict: PredictFn, columns: list[int] | None) -> PredictFn:
    """Make a predict function give only some columns of its scores, in the order of `columns`."""
    if columns is None:
        return predict

    def chosen(images: Any) -> Any:
        boxes, scores = predict(images)
        return boxes, np.ascontiguousarray(scores[:, :, columns])

    return chosen
