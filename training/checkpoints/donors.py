"""Weights of other libraries under our names: backbones from image classifiers, and torchvision's
two detectors.

Where other libraries put their layers is in `classifier_names.py` and `torchvision_detectors.py`.
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

LIBRARIES = ("torchvision", "timm", "mindcv")
_EPS = {("torchvision", "mobilenet_v3_large"): 1e-3}
_DEFAULT_EPS = 1e-5
"""Added to the variance in batch norms of all three libraries, but for the exception above."""


@dataclass(frozen=True)
class Donor:
    """A classifier's way of naming a backbone.

    Attributes:
        library: `torchvision`, `timm`, `mindcv`, or `mindspore`, whose names are ours.
        names: Layer name in classifiers of MindSpore to the library's; empty for `mindspore`.
        eps: What its batch norms add to the variance; None = what ours add.
    """

    library: str
    names: Mapping[str, str]
    eps: float | None = None

    def name_of(self, classifier_name: str) -> str:
        """The library's name of a parameter that MindSpore's classifiers call `classifier_name`."""
        if self.library == "mindspore":
            return classifier_name
        layer, _, leaf = classifier_name.rpartition(".")
        leaf = leaf if self.library == "mindcv" else TORCH_LEAVES.get(leaf, leaf)
        return f"{self.names.get(layer, layer)}.{leaf}"

    @property
    def layers(self) -> frozenset[str]:
        """The library's names of the backbone's layers."""
        return frozenset(self.names.values())


def libraries_of(backbone: str, weights: Arrays) -> tuple[str, ...]:
    """Say which libraries name a backbone as some weights are named; ResNet-50 and VGG-16
    torchvision and timm alike.

    Args:
        backbone: As for `find_donor`.
        weights: As for `find_donor`.
    """
    donor = find_donor(backbone, weights)
    if donor.library not in ("torchvision", "timm"):
        return (donor.library,)
    rows = list(ROWS[backbone]())
    names = {library: {row[0]: row[1 + k] for row in rows} for k, library in enumerate(LIBRARIES)}
    return tuple(h for h in ("torchvision", "timm") if names[h] == names[donor.library])


def find_donor(backbone: str, weights: Arrays) -> Donor:
    """Say whose names the weights of a classifier bear.

    Args:
        backbone: A key of `classifier_names.ROWS`, or another backbone, which only MindSpore names.
        weights: As `weight_files.read_weights` returns them.

    Returns:
        The library most of whose names are there; `mindspore` if none has any.
    """
    rows = list(ROWS[backbone]()) if backbone in ROWS else []
    best, most = Donor("mindspore", {row[0]: row[0] for row in rows}), 0
    for order, library in enumerate(("mindspore", *LIBRARIES)):
        names = {row[0]: theirs for row in rows if (theirs := row[order]) is not None}
        # torch has running_var or, without batch norm, biases; MindSpore has gamma, or nothing but
        # weights.
        torch = library in ("torchvision", "timm")
        leaves = ("weight", "running_var", "bias") if torch else ("weight", "gamma")
        matches = sum(f"{theirs}.{leaf}" in weights for theirs in names.values() for leaf in leaves)
        matches += library == "mindcv" and not any(f"{t}.bias" in weights for t in names.values())
        if matches > most:
            eps = None if library == "mindspore" else _EPS.get((library, backbone), _DEFAULT_EPS)
            best, most = Donor(library, names, eps), matches
    return best
