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
        elif not (source.endswith(".bias") and donor.library in ("mindcv", "mindspore")):
            # Their VGG-16 has no biases, that of the others has.
            return f"{source} is missing"
    more = homeless(donor, used, weights)
    return f"{more[0]} is of no layer of {classifier}" if more else ""


def of_backbone(donor: Donor, weights: Arrays) -> Arrays:
    """The weights of a backbone, without those of a classifier's last layers.

    Args:
        donor: How the classifier names the backbone that we have.
        weights: Name to value.

    Returns:
        Those whose names begin as the backbone's do, of layers that ours lacks as well.
    """
    beginnings = {layer.partition(".")[0] for layer in donor.layers}
    return {n: value for n, value in weights.items() if n.partition(".")[0] in beginnings}


def homeless(donor: Donor, used: Container[str], weights: Arrays) -> list[str]:
    """The weights of a backbone that have no place in ours: of a deeper one, or of layers between.

    Args:
        donor: As for `of_backbone`.
        used: Names of the weights that have a place.
        weights: Name to value.
    """
    inside = of_backbone(donor, weights)
    return [n for n in inside if n not in used and not n.endswith(COUNTER)]
