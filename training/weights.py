"""Weights into networks: every one accounted for, and a message that says what does not fit.

Files of weights are read and written in `weight_files.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from data_tools.errors import CheckpointError

if TYPE_CHECKING:
    from training.nets.ssd import SSD


@dataclass(frozen=True)
class LoadReport:
    """What became of every weight.

    Attributes:
        loaded: Parameters that now hold the file's values.
        skipped: Weights of the file that were left out, on purpose: the old class head.
        missing: Parameters that keep their own values: the new class head.
    """

    loaded: tuple[str, ...]
    skipped: tuple[str, ...]
    missing: tuple[str, ...]

    def __str__(self) -> str:
        text = f"{len(self.loaded)} weights loaded"
        if self.skipped or self.missing:
            text += f", {len(self.skipped)} left out, {len(self.missing)} start afresh"
        return text


def load_weights(
    network: SSD, weights: Mapping[str, npt.NDArray[np.generic]], *, head: str = "strict"
) -> LoadReport:
    """Put weights into a network, every one accounted for. Works before and after compilation.

    Args:
        network: The detector.
        weights: As `weight_files.read_weights` returns them.
        head: `strict`: names and shapes must be the same. `new`: the class head keeps its own values
            (another data set, another class count); everything else must fit.

    Returns:
        What was loaded, left out, and kept.

    Raises:
        CheckpointError: If a weight is missing, unknown, of another shape or not finite. The message
            says which model the weights are of. Nothing is loaded then.
    """
    import mindspore as ms
    from mindspore import ops

    parameters = {p.name: p for p in network.get_parameters()}

    def afresh(name: str) -> bool:
        return head == "new" and fnmatchcase(name, network.class_head)

    missing = [n for n in parameters if n not in weights and not afresh(n)]
    unknown = [n for n in weights if n not in parameters and not afresh(n)]
    loaded = [n for n in parameters if n in weights and not afresh(n)]
    misfits = [n for n in loaded if tuple(parameters[n].shape) != weights[n].shape]
    if missing or unknown or misfits or not loaded:
        raise CheckpointError(_misfit(network, weights, missing, unknown, misfits))
    for name in loaded:
        if not np.isfinite(weights[name]).all():
            raise CheckpointError(
                f"weight {name} of the checkpoint is not finite: it is of no use. Take an earlier one."
            )
    for name in loaded:
        # set_data and load_param_into_net are silently ignored by graphs already compiled.
        ops.assign(parameters[name], ms.Tensor(weights[name].astype(np.float32)))
    return LoadReport(
        tuple(loaded),
        tuple(n for n in weights if afresh(n)),
        tuple(n for n in parameters if afresh(n)),
    )


def _misfit(
    network: SSD,
    weights: Mapping[str, npt.NDArray[np.generic]],
    missing: list[str],
    unknown: list[str],
    misfits: list[str],
) -> str:
    from training.identify import identify

    try:
        name, classes = identify(weights)
        what = f"The checkpoint is of {name} with {classes} classes"
    except CheckpointError:
        name, classes, what = "", 0, "The checkpoint is of no model we know"
    message = f"{what}; the network is {network.model.name} with {network.num_classes}."
    for words, names in (("missing", missing), ("unknown", unknown), ("of another shape", misfits)):
        if names:
            message += f" {len(names)} weights {words}, the first {names[0]}."
    if name == network.model.name and classes != network.num_classes:
        message += " To keep everything but the class head, use init.head=new."
    elif name and name != network.model.name:
        message += f" Use model={name}."
    return message
