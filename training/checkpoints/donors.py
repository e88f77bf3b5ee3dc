"""Weights of other houses under our names: backbones from image classifiers, and torchvision's two
detectors.

Where other houses put their layers is in `classifier_names.py` and `torchvision_detectors.py`.
Into the network they are put in `backbone_weights.py` and `weights.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from training.checkpoints.classifier_names import ROWS

Arrays = Mapping[str, npt.NDArray[np.generic]]

TORCH_LEAVES = {
    "gamma": "weight",
    "beta": "bias",
    "moving_mean": "running_mean",
    "moving_variance": "running_var",
}
"""What torch calls the parameters of a batch norm; those of a convolution bear the same names."""

COUNTER = ".num_batches_tracked"
"""Steps that a batch norm of torch has seen; of no use to us."""

HOUSES = ("torchvision", "timm", "mindcv")
_EPS = {("torchvision", "mobilenet_v3_large"): 1e-3}
_DEFAULT_EPS = 1e-5
"""Added to the variance in batch norms of all three houses, but for the exception above."""


@dataclass(frozen=True)
class Donor:
    """A classifier's way of naming a backbone.

    Attributes:
        house: `torchvision`, `timm`, `mindcv`, or `mindspore`, whose names are ours.
        names: Layer name in classifiers of MindSpore to the house's; empty for `mindspore`.
        eps: What its batch norms add to the variance; None = what ours add.
    """

    house: str
    names: Mapping[str, str]
    eps: float | None = None

    def name_of(self, classifier_name: str) -> str:
        """What the house calls a parameter that MindSpore's classifiers call `classifier_name`."""
        if self.house == "mindspore":
            return classifier_name
        layer, _, leaf = classifier_name.rpartition(".")
        leaf = leaf if self.house == "mindcv" else TORCH_LEAVES.get(leaf, leaf)
        return f"{self.names.get(layer, layer)}.{leaf}"

    @property
    def layers(self) -> frozenset[str]:
        """The house's names of the backbone's layers."""
        return frozenset(self.names.values())


def houses_of(backbone: str, weights: Arrays) -> tuple[str, ...]:
    """Say which houses name a backbone as some weights are named; ResNet-50 and VGG-16 torchvision
    and timm alike.

    Args:
        backbone: As for `find_donor`.
        weights: As for `find_donor`.
    """
    donor = find_donor(backbone, weights)
    if donor.house not in ("torchvision", "timm"):
        return (donor.house,)
    rows = list(ROWS[backbone]())
    names = {house: {row[0]: row[1 + k] for row in rows} for k, house in enumerate(HOUSES)}
    return tuple(h for h in ("torchvision", "timm") if names[h] == names[donor.house])


def find_donor(backbone: str, weights: Arrays) -> Donor:
    """Say whose names the weights of a classifier bear.

    Args:
        backbone: A key of `classifier_names.ROWS`, or another backbone, which only MindSpore names.
        weights: As `weight_files.read_weights` returns them.

    Returns:
        The house most of whose names are there; `mindspore` if none has any.
    """
    rows = list(ROWS[backbone]()) if backbone in ROWS else []
    best, most = Donor("mindspore", {row[0]: row[0] for row in rows}), 0
    for order, house in enumerate(("mindspore", *HOUSES)):
        names = {row[0]: theirs for row in rows if (theirs := row[order]) is not None}
        # torch has running_var or, without batch norm, biases; MindSpore has gamma, or nothing but
        # weights.
        torch = house in ("torchvision", "timm")
        leaves = ("weight", "running_var", "bias") if torch else ("weight", "gamma")
        matches = sum(f"{theirs}.{leaf}" in weights for theirs in names.values() for leaf in leaves)
        matches += house == "mindcv" and not any(f"{t}.bias" in weights for t in names.values())
        if matches > most:
            eps = None if house == "mindspore" else _EPS.get((house, backbone), _DEFAULT_EPS)
            best, most = Donor(house, names, eps), matches
    return best
