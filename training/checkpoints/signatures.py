"""The parameters of the shipped networks and of classifiers' backbones: names and shapes, from a
table.

The table is written by `python -m training.checkpoints.signatures` after a network has changed, and
a test holds it to the networks. With it a file is known, or refused, without MindSpore, whose
import takes seconds. What is made of it is `identify.py`'s business.
"""

from __future__ import annotations

import importlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from data_tools.core.files import write_atomic
from training.nets.settings import model_settings, zoo_names

if TYPE_CHECKING:
    from training.nets.ssd import SSD

Shapes = dict[str, tuple[int, ...]]

TABLE = Path(__file__).with_name("signatures.json")
_NUM_CLASSES = 2
_BACKBONES = {
    "mobilenet_v1": ("ssd_mobilenet_v1", {}),
    "mobilenet_v2": ("ssd300", {}),
    "mobilenet_v3_large": ("ssdlite_mobilenet_v3", {"tail": "full"}),
    "resnet50": ("ssd_resnet50_fpn", {}),
    "vgg16": ("ssd300_vgg16", {}),
}
"""Classifier to the network, and its settings, that has all of its backbone."""


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


@cache
def signature(name: str) -> Signature:
    """The parameters of a shipped network; one that is not in the table is built for them."""
    known = _table()["networks"].get(name)
    if known is None:
        return built_signature(name)
    return Signature(
        _tuples(known["shapes"]), known["class_head"], _NUM_CLASSES, known["classifier"]
    )


@cache
def backbone_shapes(classifier: str) -> Shapes:
    """The parameters of a classifier's backbone as MindSpore's classifiers call them, VGG-16 with
    biases.

    Args:
        classifier: A key of `classifier_names.ROWS`.
    """
    return _tuples(_table()["backbones"][classifier])


def built_signature(name: str) -> Signature:
    """The same as `signature`, found by building the network without filling it."""
    network = _built(name)
    shapes = {p.name: tuple(p.shape) for p in network.get_parameters()}
    return Signature(shapes, network.class_head, _NUM_CLASSES, network.classifier)


def built_backbone_shapes(classifier: str) -> Shapes:
    """The same as `backbone_shapes`, found by building a network with that backbone."""
    name, settings = _BACKBONES[classifier]
    network = _built(name, **settings)
    return {
        theirs: tuple(p.shape)
        for p in network.get_parameters()
        if (theirs := network.classifier_name(p.name)) is not None
    }


def _built(name: str, **settings: Any) -> SSD:
    from mindspore.nn.utils import no_init_parameters

    module = importlib.import_module(f"training.nets.zoo.{name}")
    with no_init_parameters():
        network: SSD = module.build(model_settings(name, **settings), _NUM_CLASSES)
    return network


@cache
def _table() -> dict[str, Any]:
    table: dict[str, Any] = json.loads(TABLE.read_text(encoding="utf-8"))
    return table


def _tuples(shapes: Mapping[str, list[int]]) -> Shapes:
    return {name: tuple(shape) for name, shape in shapes.items()}


def _write_table() -> None:
    """Write the table anew: a line a network."""
    networks: dict[str, Any] = {}
    for name in zoo_names():
        built = built_signature(name)
        networks[name] = {
            "class_head": built.class_head,
            "classifier": built.classifier,
            "shapes": built.shapes,
        }
    groups = {
        "networks": networks,
        "backbones": {name: built_backbone_shapes(name) for name in _BACKBONES},
    }
    texts = []
    for key, group in groups.items():
        rows = (f'"{n}":{json.dumps(v, separators=(",", ":"))}' for n, v in group.items())
        texts.append(f'"{key}":{{\n' + ",\n".join(rows) + "\n}")
    write_atomic(TABLE, "{" + ",\n".join(texts) + "}\n")


if __name__ == "__main__":
    _write_table()
