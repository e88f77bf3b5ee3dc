"""A detector's weights alone as a safetensors file, under our names or torchvision's.

With our names the file carries settings and classes, so that it opens as a checkpoint with a card
does (`inference/open_model.py`). Graphs are exported in `export.py`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file

from data_tools.core.errors import SettingError
from training.checkpoints.torchvision_detectors import (
    ORIGINALS,
    SETTINGS,
    our_names,
    to_torchvision,
)
from training.checkpoints.weight_files import PREFIX, read_weights
from training.exporting.settings import ExportCommand
from training.inference.model_file import ModelFile
from training.nets.settings import model_settings


def write_safetensors(
    network: Any, file: ModelFile, command: ExportCommand, metadata: dict[str, str], path: Path
) -> None:
    """Write a network's weights, with the metadata in the header.

    Raises:
        SettingError: If torchvision has no such network, or its network would compute something
            else.
    """
    weights = weights_of(network)
    if command.names == "torchvision":
        require_torchvisions(file)
        values = to_torchvision(file.model.name, weights)
        metadata = {"checkpoint_sha256": file.sha256}
    else:
        values = {PREFIX + name: value for name, value in weights.items()}
    save_file({n: np.ascontiguousarray(v) for n, v in values.items()}, path, metadata)


def require_torchvisions(file: ModelFile) -> None:
    """Refuse a network that torchvision does not have, or has with other settings.

    Raises:
        SettingError: Naming the first setting that differs.
    """
    name = file.model.name
    if name not in SETTINGS:
        raise SettingError(
            f"names=torchvision: torchvision has no {name}; it has {', '.join(ORIGINALS)}."
        )
    theirs = model_settings(SETTINGS[name])
    for key in (
        "padding",
        "tail",
        "image_size",
        "anchors",
        "prior_scaling",
        "scores",
        "mean",
        "std",
    ):
        ours = getattr(file.model, key)
        if ours != getattr(theirs, key):
            raise SettingError(
                f"names=torchvision: this network has model.{key}={ours}, torchvision's computes "
                f"with {getattr(theirs, key)}: with these weights it would detect something else."
            )


def compare_weights(network: Any, path: Path) -> dict[str, Any]:
    """Read the written file back and compare every weight, bit by bit.

    Returns:
        The report: `passed`, the number of weights, and the largest difference of one.
    """
    written, weights = read_weights(path), weights_of(network)
    same = written.keys() == weights.keys() and all(
        written[n].dtype == v.dtype and written[n].tobytes() == v.tobytes()
        for n, v in weights.items()
    )
    shared = [n for n in weights if n in written and written[n].shape == weights[n].shape]
    largest = max(
        (float(np.abs(written[n] - weights[n]).max(initial=0)) for n in shared), default=0.0
    )
    return {
        "format": "safetensors",
        "weights": len(written),
        "max_weight_difference": largest,
        "passed": bool(same),
    }


def weights_of(network: Any) -> dict[str, np.ndarray]:
    """All parameters of a network by name."""
    return {p.name: p.asnumpy() for p in network.get_parameters()}


def donor_names(network: Any, command: ExportCommand, library: str) -> dict[str, str]:
    """Name in the exported file to name in the checkpoint, for the ledger."""
    names = [p.name for p in network.get_parameters()]
    theirs = our_names(network.model.name) if "torchvision" in (command.names, library) else {}
    source = {n: theirs[n] if library == "torchvision" else PREFIX + n for n in names}
    result = {n: theirs[n] if command.names == "torchvision" else PREFIX + n for n in names}
    return {result[n]: source[n] for n in names}
