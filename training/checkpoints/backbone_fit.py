"""Whether weights are those of a classifier with one of our backbones: all of it, of its shapes,
and no layer more.

Into a network they are put by `backbone_weights.py`.
"""

from __future__ import annotations

from collections.abc import Container

from training.checkpoints.donors import COUNTER, Arrays, Donor, find_donor
from training.checkpoints.signatures import backbone_shapes


def misfit(classifier: str, weights: Arrays) -> str:
    """Say why weights are not those of a classifier; empty if they are.

    Args:
        classifier: A key of `classifier_names.ROWS`.
        weights: As `weight_files.read_weights` returns them.
    """
    donor = find_donor(classifier, weights)
    used = set()
    for name, shape in backbone_shapes(classifier).items():
        source = donor.name_of(name)
        if source in weights:
            used.add(source)
            if weights[source].shape != shape:
                return f"{source} has shape {weights[source].shape}, expected {shape}"
        elif not (source.endswith(".bias") and donor.house in ("mindcv", "mindspore")):
            # Their VGG-16 has no biases, that of the others has.
            return f"{source} is missing"
    more = homeless(donor, used, weights)
    return f"{more[0]} is of no layer of {classifier}" if more else ""


def homeless(donor: Donor, used: Container[str], weights: Arrays) -> list[str]:
    """The weights of a backbone that have no place in ours: of a deeper one, or of layers between.

    Args:
        donor: How the classifier names the backbone that we have.
        used: Names of the weights that have a place.
        weights: Name to value.

    Returns:
        Names that begin as those of the backbone do, not as those of a classifier's last layers.
    """
    beginnings = {layer.partition(".")[0] for layer in donor.layers}
    return [
        name
        for name in weights
        if name not in used and not name.endswith(COUNTER) and name.partition(".")[0] in beginnings
    ]
