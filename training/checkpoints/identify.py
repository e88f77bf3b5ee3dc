"""Which published model some weights are of, and for how many classes: from names and shapes alone.

Published file names and cards are not to be trusted: several name the wrong model.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cache

import numpy as np
import numpy.typing as npt

from data_tools.core.errors import CheckpointError
from data_tools.core.json_dataclass import shown
from training.nets.settings import model_settings, zoo_names

PUBLISHED = ("ssd300", "ssd_mobilenet_v1", "ssd_vgg16", "ssd_mobilenet_v1_fpn", "ssd_resnet50_fpn")
"""The five models of the Hub."""


@dataclass(frozen=True)
class Signature:
    """The parameters of a model for one class count.

    Attributes:
        shapes: Parameter name to shape.
        class_head: Pattern of the parameters that depend on the class count.
        num_classes: The class count of `shapes`.
        classifier: The image classifier that the backbone is of, as in `SSD.classifier`; empty if
            of none.
    """

    shapes: dict[str, tuple[int, ...]]
    class_head: str
    num_classes: int
    classifier: str = ""

    def classes_of(self, weights: Mapping[str, npt.NDArray[np.generic]]) -> int | None:
        """The class count with which weights fit this model; None if they do not fit."""
        if weights.keys() != self.shapes.keys():
            return None
        counts = set()
        for name, shape in self.shapes.items():
            got = weights[name].shape
            if fnmatchcase(name, self.class_head):
                per_cell = shape[0] // self.num_classes
                if len(got) != len(shape) or got[1:] != shape[1:] or got[0] % per_cell:
                    return None
                counts.add(got[0] // per_cell)
            elif got != shape:
                return None
        return counts.pop() if len(counts) == 1 else None


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


@cache
def signature(name: str) -> Signature:
    """The parameters of a shipped model, found by building it without filling it."""
    from mindspore.nn.utils import no_init_parameters

    num_classes = 2
    module = importlib.import_module(f"training.nets.zoo.{name}")
    with no_init_parameters():
        network = module.build(model_settings(name), num_classes)
    shapes = {p.name: tuple(p.shape) for p in network.get_parameters()}
    return Signature(shapes, network.class_head, num_classes, network.classifier)
