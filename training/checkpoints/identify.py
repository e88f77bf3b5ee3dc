"""Which published model some weights are of, and for how many classes: from names and shapes alone.

Published file names and cards are not to be trusted: several name the wrong model.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from data_tools.core.errors import CheckpointError
from data_tools.core.json_dataclass import shown
from training.checkpoints.signatures import signature
from training.nets.settings import zoo_names

PUBLISHED = ("ssd300", "ssd_mobilenet_v1", "ssd_vgg16", "ssd_mobilenet_v1_fpn", "ssd_resnet50_fpn")
"""The five models of the Hub."""


def identify(weights: Mapping[str, npt.NDArray[np.generic]]) -> tuple[str, int]:
    """Say which model weights belong to.

    Args:
        weights: Parameter name, without the leading `network.`, to value.

    Returns:
        The model's name, as in `model=NAME`, and the number of classes including background.

    Raises:
        CheckpointError: If they fit no model; the message names the nearest and the first misfit.
    """
    names = sorted(zoo_names(), key=lambda n: (n not in PUBLISHED, n))
    for name in names:
        classes = signature(name).classes_of(weights)
        if classes is not None:
            return name, classes
    nearest = max(names, key=lambda n: len(weights.keys() & signature(n).shapes.keys()))
    shapes = signature(nearest).shapes
    shared = weights.keys() & shapes.keys()
    if not shared:
        raise CheckpointError(
            f"These {len(weights)} weights ({shown(', '.join(list(weights)[:3]))}, ...) are of "
            f"none of our models: {', '.join(names)}. Give a checkpoint of one of those."
        )
    lacking = [n for n in shapes if n not in weights]
    surplus = [n for n in weights if n not in shapes]
    details = [
        f"{len(group)} weights {words}, the first {group[0]}"
        for words, group in (("missing", lacking), ("unknown", surplus))
        if group
    ]
    raise CheckpointError(
        f"These weights are nearest to {nearest} ({len(shared)} names agree), but are not it: "
        + ("; ".join(details) or "their shapes differ")
        + ". The file may belong to a changed model, or be cut short."
    )
