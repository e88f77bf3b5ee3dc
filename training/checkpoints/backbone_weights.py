"""Start a detector's backbone from an image classifier's checkpoint: MindSpore's, torchvision's,
timm's, mindcv's.

Detector checkpoints are `weights.py`'s business; how a classifier names its layers is in
`donors.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from data_tools.core.errors import CheckpointError
from training.checkpoints.backbone_fit import homeless
from training.checkpoints.donors import COUNTER, Donor, find_donor, libraries_of
from training.checkpoints.weights import LoadReport

if TYPE_CHECKING:
    from training.nets.ssd import SSD

Arrays = Mapping[str, npt.NDArray[np.generic]]


PADDING = {
    "mindspore": "same",
    "torchvision": "symmetric",
    "timm": "symmetric",
    "mindcv": "mindcv",
}
"""Library to the value of `model.padding` with which its backbones compute what they did there."""


@dataclass(frozen=True)
class BackboneReport(LoadReport):
    """What became of every weight, and what a user should know of where they come from.

    Attributes:
        library: Whose classifier it is, see `donors.Donor`.
        libraries: The same in words: all libraries that name this backbone as the file does.
        notes: Sentences, each about something that differs between donor and network.
        sources: The detector's name to the classifier's, of every weight that was taken over.
    """

    library: str = "mindspore"
    libraries: str = "mindspore"
    notes: tuple[str, ...] = ()
    sources: Mapping[str, str] = field(default_factory=dict)


def load_backbone(network: SSD, weights: Arrays) -> BackboneReport:
    """Put a classifier's weights into the backbone; everything else keeps its own.

    The features are then the donor's, to rounding, if the network pads and normalises as the donor
    does. Where batch norms add another number to the variance, their factors make up for it.

    Args:
        network: The detector.
        weights: As `read_weights` returns them.

    Returns:
        What was loaded (the detector's names), left out (the classifier's, its last layers) and
        kept (the detector's, its head).

    Raises:
        CheckpointError: If the network has no such backbone, or a weight of it is missing, of
            another shape, not finite, or fits nowhere in it. Nothing is loaded then.
    """
    import mindspore as ms
    from mindspore import ops

    if not network.classifier:
        raise CheckpointError(
            f"{network.model.name} has no backbone that classifiers are known for. Leave "
            "init.backbone out, or start from a detector with checkpoint=FILE."
        )
    donor = find_donor(network.classifier, weights)
    values: dict[str, npt.NDArray[np.float32]] = {}
    sources: dict[str, str] = {}
    kept, zeros = [], []
    for parameter in network.get_parameters():
        name = network.classifier_name(parameter.name)
        if name is None:
            kept.append(parameter.name)
            continue
        source, shape = donor.name_of(name), tuple(parameter.shape)
        if source not in weights and _may_lack(donor, source, weights):
            values[parameter.name] = np.zeros(shape, np.float32)
            zeros.append(parameter.name)
            continue
        _require_fit(network, parameter.name, shape, source, weights)
        values[parameter.name] = weights[source].astype(np.float32)
        sources[parameter.name] = source
    used = set(sources.values())
    _refuse_homeless(network, donor, used, weights)
    for name, gamma in _factors(network, donor, values).items():
        values[name] = gamma
    for parameter in network.get_parameters():
        if parameter.name in values:
            ops.assign(parameter, ms.Tensor(values[parameter.name]))
    skipped = tuple(n for n in weights if n not in used)
    return BackboneReport(
        tuple(values),
        skipped,
        tuple(kept),
        {n: _why_skipped(n, weights[n]) for n in skipped},
        donor.library,
        " or ".join(libraries_of(network.classifier, weights)),
        tuple(_notes(network, donor, zeros)),
        sources,
    )


def _require_fit(
    network: SSD, name: str, shape: tuple[int, ...], source: str, weights: Arrays
) -> None:
    if source not in weights:
        raise CheckpointError(
            f"The backbone of {network.model.name} needs {source} for {name}, but the "
            f"checkpoint has {len(weights)} other weights, the first {next(iter(weights), '-')}. "
            f"Give a classifier with this backbone ({network.classifier})."
        )
    if weights[source].shape != shape:
        hint = ""
        if network.classifier == "mobilenet_v3_large" and network.model.tail == "halved":
            hint = " Classifiers have the full tail: set model.tail=full."
        raise CheckpointError(
            f"{source} has shape {weights[source].shape}, {name} of {network.model.name} {shape}: "
            f"this is another backbone.{hint or ' Give a classifier with the right one.'}"
        )
    if not np.isfinite(weights[source]).all():
        raise CheckpointError(f"weight {source} of the checkpoint is not finite: it is of no use.")


def _may_lack(donor: Donor, source: str, weights: Arrays) -> bool:
    """A convolution without biases is one whose biases are 0."""
    layer, _, leaf = source.rpartition(".")
    return leaf == "bias" and donor.library == "mindcv" and f"{layer}.weight" in weights


def _refuse_homeless(network: SSD, donor: Donor, used: set[str], weights: Arrays) -> None:
    """Refuse weights of the backbone's layers that the network has no place for."""
    more = homeless(donor, used, weights)
    if more:
        hint = " Use model=ssd300_vgg16." if network.model.name == "ssd_vgg16" else ""
        raise CheckpointError(
            f"The backbone of {network.model.name} has no place for {len(more)} weights of the "
            f"checkpoint, the first {more[0]}: without them its features would not be the "
            f"donor's.{hint}"
        )


def _factors(
    network: SSD, donor: Donor, values: Mapping[str, npt.NDArray[np.float32]]
) -> dict[str, npt.NDArray[np.float32]]:
    """The gammas that make batch norms with our eps compute what the donor's compute with
    theirs.
    """
    factors: dict[str, npt.NDArray[np.float32]] = {}
    if donor.eps is None:
        return factors
    cells: dict[str, Any] = dict(network.cells_and_names())
    for name in values:
        layer, _, leaf = name.rpartition(".")
        if leaf == "gamma" and (eps := getattr(cells.get(layer), "eps", donor.eps)) != donor.eps:
            variance = values[f"{layer}.moving_variance"].astype(np.float64)
            factor = np.sqrt((variance + eps) / (variance + donor.eps))
            factors[name] = (values[name] * factor).astype(np.float32)
    return factors


def _why_skipped(name: str, value: npt.NDArray[np.generic]) -> str:
    if name.endswith(COUNTER):
        return "steps that a batch norm has seen; not needed"
    return f"shape {value.shape}, nothing of the detector's backbone is made from it"


def _notes(network: SSD, donor: Donor, zeros: list[str]) -> list[str]:
    notes = []
    model, library = network.model, donor.library
    for key, wanted, effect in (
        ("padding", PADDING[library], "the kernels lie a pixel apart at every stride of 2"),
        ("rectifier", _rectifier(network, library), "features above 6 are cut"),
    ):
        if getattr(model, key) != wanted:
            notes.append(
                f"{library}'s features are those of model.{key}={wanted}; here it is "
                f"{getattr(model, key)}: {effect}."
            )
    if zeros:
        notes.append(f"the donor has no biases: {len(zeros)} are 0.")
    return notes


def _rectifier(network: SSD, library: str) -> str:
    return "relu" if (network.classifier, library) == ("mobilenet_v1", "mindcv") else "relu6"
