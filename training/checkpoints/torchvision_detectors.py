"""torchvision's SSDlite320 and SSD300 under our names, and ours under theirs: bit for bit, both
ways.

The files are read in `weight_files.py`; what is exported is written by `training/exporting/`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping

import numpy as np
import numpy.typing as npt

from data_tools.core.errors import CheckpointError
from training.checkpoints.classifier_names import mobilenet_v3_rows, vgg16_rows
from training.checkpoints.donors import COUNTER, TORCH_LEAVES
from training.nets.backbone_tables import VGG16_BLOCKS

Weights = dict[str, npt.NDArray[np.generic]]

SETTINGS = {"ssdlite_mobilenet_v3": "ssdlite320_torchvision", "ssd300_vgg16": "ssd300_vgg16"}
"""Our network to the file of `conf/model` with torchvision's padding, default boxes and
normalisation."""

ORIGINALS = {
    "ssdlite_mobilenet_v3": "ssdlite320_mobilenet_v3_large",
    "ssd300_vgg16": "ssd300_vgg16",
}
"""Our network to torchvision's name of it."""

_MARKS = {
    "ssdlite_mobilenet_v3": "head.regression_head.module_list.0.0.0.weight",
    "ssd300_vgg16": "backbone.scale_weight",
}
_LEVELS = 6
_YXHW_OF_XYWH = [1, 0, 3, 2]
"""Which of torchvision's four regressions is the k-th of ours; the same list leads back."""


def network_of(names: Iterable[str]) -> str | None:
    """Our network that weights with these names belong to; None if they are not torchvision's."""
    known = set(names)
    return next((network for network, mark in _MARKS.items() if mark in known), None)


def from_torchvision(network: str, weights: Mapping[str, npt.NDArray[np.generic]]) -> Weights:
    """Rename the weights of a torchvision detector, and turn its regressions to `[cy, cx, h, w]`.

    Args:
        network: Our network, as `network_of` says.
        weights: All tensors of the file; the counters of batch norms are left out.

    Returns:
        Our names to values, in our order; what has no counterpart here keeps its own name, for the
        report of whoever loads them.

    Raises:
        CheckpointError: If a weight is missing.
    """
    names = our_names(network)
    rest = {n: v for n, v in weights.items() if not n.endswith(COUNTER)}
    missing = [theirs for theirs in names.values() if theirs not in rest]
    if missing:
        raise CheckpointError(
            f"these are weights of torchvision's {ORIGINALS[network]}, but {len(missing)} are "
            f"missing, the first {missing[0]}. The file is of a changed model, or cut short."
        )
    ours_by_name = {ours: turned(ours, rest.pop(theirs)) for ours, theirs in names.items()}
    return {**ours_by_name, **rest}


def to_torchvision(network: str, weights: Mapping[str, npt.NDArray[np.generic]]) -> Weights:
    """Rename our weights as torchvision does; what `from_torchvision` did, back.

    Raises:
        CheckpointError: If torchvision has no such network.
    """
    if network not in _MARKS:
        raise CheckpointError(
            f"torchvision has no {network}; names=torchvision is for {', '.join(ORIGINALS)}."
        )
    return {
        theirs: np.ascontiguousarray(turned(ours, weights[ours]))
        for ours, theirs in our_names(network).items()
    }


def turned(name: str, values: npt.NDArray[np.generic]) -> npt.NDArray[np.generic]:
    """Exchange x and y, width and height, in a layer that regresses boxes; others stay.

    Args:
        name: Our name.
        values: (4 K, ...) for K boxes of a cell.
    """
    parts = [*name.split("."), "", "", ""]
    regresses = parts[1] == "loc_layers" or (parts[1] == "multi_loc_layers" and parts[3] == "3")
    if regresses and values.shape[0] % 4 == 0:
        boxes = values.reshape(-1, 4, *values.shape[1:])
        return boxes[:, _YXHW_OF_XYWH].reshape(values.shape)
    return values


def our_names(network: str) -> dict[str, str]:
    """Our parameter names to torchvision's, in our order."""
    return dict(_TABLES[network]())


def _ssdlite() -> Iterator[tuple[str, str]]:
    for ours, torchvision, _, _ in mobilenet_v3_rows():
        assert torchvision is not None
        parts = torchvision.split(".")
        number, rest = int(parts[1]), parts[2:]
        # Their extractor is cut within block 13, whose widening is the last layer of the first
        # half.
        if number < 13:
            theirs = ["0", str(number), *rest]
        elif number > 13:
            theirs = ["1", str(number - 13), *rest]
        elif rest[1] == "0":
            theirs = ["0", "13", *rest[2:]]
        else:
            theirs = ["1", "0", *rest[1:]]
        yield from _layer(f"backbone.{ours}", "backbone.features." + ".".join(theirs))
    for i in range(_LEVELS - 2):
        ours, theirs_extra = f"multi_residual.{i}.conv", f"backbone.extra.{i}"
        for k in (0, 1):
            yield from _layer(f"{ours}.{k}.features.0", f"{theirs_extra}.{k}.0")
            yield from _layer(f"{ours}.{k}.features.1", f"{theirs_extra}.{k}.1")
            yield from _layer(f"{ours}.{2 + k}", f"{theirs_extra}.2.{k}")
    for head, theirs_head in (("loc", "regression"), ("cls", "classification")):
        for level in range(_LEVELS):
            ours = f"multi_box.multi_{head}_layers.{level}"
            base = f"head.{theirs_head}_head.module_list.{level}"
            for own, other in ((".0", ".0.0"), (".1", ".0.1"), (".3", ".1")):
                yield from _layer(ours + own, base + other, biases=own == ".3")


def _ssd300() -> Iterator[tuple[str, str]]:
    layers = [row[0].rpartition(".")[2] for row in vgg16_rows()]
    layer_names = [
        f"backbone.b{b}.{2 * k}" for b, w in enumerate(VGG16_BLOCKS, 1) for k in range(len(w))
    ]
    fifth = len(layers) - len(VGG16_BLOCKS[-1])
    pairs = [
        (
            ours,
            f"backbone.features.{row}" if k < fifth else f"backbone.extra.0.{2 * (k - fifth) + 1}",
        )
        for k, (ours, row) in enumerate(zip(layer_names, layers, strict=True))
    ]
    pairs += [("fc6", "backbone.extra.0.7.1"), ("fc7", "backbone.extra.0.7.3")]
    for i in range(_LEVELS - 2):
        pairs += [(f"extras.{i}.{k}", f"backbone.extra.{i + 1}.{k}") for k in (0, 2)]
    for head, theirs in (("loc", "regression"), ("cls", "classification")):
        for level in range(_LEVELS):
            base = f"head.{theirs}_head.module_list.{level}"
            pairs.append((f"multi_box.{head}_layers.{level}", base))
    for ours, other in pairs:
        yield from _layer(ours, other, biases=True)
    yield "l2_norm.gamma", "backbone.scale_weight"


_TABLES: dict[str, Callable[[], Iterator[tuple[str, str]]]] = {
    "ssdlite_mobilenet_v3": _ssdlite,
    "ssd300_vgg16": _ssd300,
}


def _layer(ours: str, theirs: str, *, biases: bool = False) -> Iterator[tuple[str, str]]:
    """The parameters of one layer: a batch norm's four, or a convolution's one or two."""
    last = theirs.rpartition(".")[2]
    if last in ("fc1", "fc2") or biases:
        leaves = {"weight": "weight", "bias": "bias"}
    else:
        leaves = TORCH_LEAVES if last == "1" else {"weight": "weight"}
    yield from ((f"{ours}.{own}", f"{theirs}.{other}") for own, other in leaves.items())
