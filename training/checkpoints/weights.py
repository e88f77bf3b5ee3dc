"""Weights into networks: every one accounted for, and a message that says what does not fit.

Files of weights are read and written in `weight_files.py`.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from data_tools.core.errors import CheckpointError
from training.checkpoints.identify import identify

if TYPE_CHECKING:
    from mindspore import Parameter

    from training.nets.ssd import SSD


@dataclass(frozen=True)
class LoadReport:
    """What became of every weight.

    Attributes:
        loaded: Parameters that now hold the file's values.
        skipped: Weights of the file that were left out, on purpose: the old class head.
        missing: Parameters that keep their own values: the new class head.
        reasons: Why each skipped weight was left out, by name.
    """

    loaded: tuple[str, ...]
    skipped: tuple[str, ...]
    missing: tuple[str, ...]
    reasons: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        text = f"{len(self.loaded)} weights loaded"
        if self.skipped or self.missing:
            text += f", {len(self.skipped)} left out, {len(self.missing)} start afresh"
        return text

    def lines(self) -> list[str]:
        """Return every name under what became of it, a skipped one with the reason, ready to
        print.
        """
        lines = []
        for what, names in (("loaded", self.loaded), ("missing", self.missing)):
            if names:
                lines.append(f"  {what} ({len(names)}):")
                lines += textwrap.wrap(
                    " ".join(in_braces(names)), 110,
                    initial_indent="    ", subsequent_indent="    ",
                    break_long_words=False, break_on_hyphens=False,
                )  # fmt: skip
        if self.skipped:
            # A line each: the reason differs from name to name.
            reasons = [f"    {name}: {self.reasons.get(name, 'left out')}" for name in self.skipped]
            lines += [f"  skipped ({len(reasons)}):", *reasons]
        return lines


def in_braces(names: Iterable[str]) -> list[str]:
    """Write names that differ in their last part as one, as a shell would expand it.

    >>> in_braces(["a.bn.gamma", "a.bn.beta", "a.conv.weight", "bias"])
    ['a.bn.{gamma,beta}', 'a.conv.weight', 'bias']
    """
    groups: dict[str, list[str]] = {}
    for name in names:
        parent, dot, last = name.rpartition(".")
        groups.setdefault(parent + dot, []).append(last)
    words = []
    for head, ends in groups.items():
        # Without a common head braces would only hide the names.
        words += (
            [f"{head}{{{','.join(ends)}}}"] if head and len(ends) > 1 else [head + e for e in ends]
        )
    return words


def load_weights(
    network: SSD, weights: Mapping[str, npt.NDArray[np.generic]], *, head: str = "strict"
) -> LoadReport:
    """Put weights into a network, every one accounted for. Works before and after compilation.

    Args:
        network: The detector.
        weights: As `weight_files.read_weights` returns them.
        head: `strict`: names and shapes must be the same. `new`: the class head keeps its own
            values (another data set, another class count); everything else must fit.

    Returns:
        What was loaded, left out, and kept.

    Raises:
        CheckpointError: If a weight is missing, unknown, of another shape or not finite. The
            message says which model the weights are of. Nothing is loaded then.
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
                f"weight {name} of the checkpoint is not finite: it is of no use. Take an earlier "
                "one."
            )
    for name in loaded:
        # set_data and load_param_into_net are silently ignored by graphs already compiled.
        ops.assign(parameters[name], ms.Tensor(weights[name].astype(np.float32)))
    skipped = tuple(n for n in weights if afresh(n))
    return LoadReport(
        tuple(loaded),
        skipped,
        tuple(n for n in parameters if afresh(n)),
        {name: _difference(weights[name], parameters.get(name)) for name in skipped},
    )


def _difference(weight: npt.NDArray[np.generic], parameter: Parameter | None) -> str:
    if parameter is None:
        return f"shape {weight.shape}, of a class head that the network does not have"
    if tuple(parameter.shape) == weight.shape:
        return f"shape {weight.shape} fits, but the class head starts afresh (init.head=new)"
    return f"shape {weight.shape} in the file, {tuple(parameter.shape)} in the network"


def _misfit(
    network: SSD,
    weights: Mapping[str, npt.NDArray[np.generic]],
    missing: list[str],
    unknown: list[str],
    misfits: list[str],
) -> str:
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
        if classes != network.num_classes:
            message += " Its class head has other classes: add init.head=new."
    return message
