"""What is in a fetched file: weights, all finite, of the network that its entry names, or a reason
to refuse it.

Formats are read in `training/checkpoints/`; hashes are compared in `fetch.py`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from data_tools.core.errors import CheckpointError
from data_tools.core.json_dataclass import shown
from training.checkpoints.backbone_fit import misfit, of_backbone
from training.checkpoints.classifier_names import ROWS
from training.checkpoints.donors import Arrays, find_donor, libraries_of
from training.checkpoints.identify import identify
from training.checkpoints.weight_files import Weights, read_weights
from training.weights.entry import Entry


def check_content(file: Path, entry: Entry, suffix: str) -> None:
    """Refuse a file that does not hold the weights that its entry promises.

    Args:
        file: The file, whatever it is called.
        entry: What it should be.
        suffix: The ending of its proper name, which says how to read it.

    Raises:
        CheckpointError: Saying what it is instead.
    """
    with _named(file, suffix) as path:
        try:
            weights = read_weights(path)
        except CheckpointError as error:
            raise CheckpointError(str(error).replace(str(path), "the file")) from error
    if entry.kind == "detector":
        require_finite(weights)
        network, classes = identify(weights)
        if (network, classes) != (entry.network, entry.classes):
            raise CheckpointError(
                f"these are weights of {network} with {classes} classes, expected {entry.network} "
                f"with {entry.classes}"
            )
    else:
        _check_backbone(weights, entry)


def _check_backbone(weights: Weights, entry: Entry) -> None:
    """Every layer of the classifier's backbone must be there, under its donor's names."""
    if entry.network not in ROWS:
        raise CheckpointError(f"{entry.network} is no backbone we know: {', '.join(ROWS)}")
    problem, libraries = misfit(entry.network, weights), libraries_of(entry.network, weights)
    if not problem and entry.donor not in libraries:
        problem = f"they are named as {' or '.join(libraries)} does"
    if problem:
        raise CheckpointError(
            f"these are no weights of {entry.network} as {entry.donor} names them: {problem}"
        )
    # What is behind the backbone nobody loads; torchvision fills it with NaN in one of its files.
    require_finite(of_backbone(find_donor(entry.network, weights), weights))


def require_finite(weights: Arrays) -> None:
    """Refuse weights that are not numbers, or without end.

    Raises:
        CheckpointError: Naming the first.
    """
    for name, value in weights.items():
        if value.dtype.kind == "f" and not np.isfinite(value).all():
            raise CheckpointError(f"weight {shown(name)} is not finite: the file is of no use")


@contextmanager
def _named(file: Path, suffix: str) -> Iterator[Path]:
    """Give a file a second name with the ending that readers go by."""
    if file.suffix == suffix:
        yield file
        return
    path = file.with_name(f".check.{os.getpid()}{suffix}")
    path.unlink(missing_ok=True)
    os.link(file, path)
    try:
        yield path
    finally:
        path.unlink(missing_ok=True)
