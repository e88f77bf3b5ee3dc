"""Start a detector's backbone from an image classifier's checkpoint (ImageNet, as the parent published).

Detector checkpoints are `weights.py`'s business; how a classifier names its layers, each network says.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from data_tools.core.errors import CheckpointError
from training.checkpoints.weights import LoadReport

if TYPE_CHECKING:
    from training.nets.ssd import SSD


def load_backbone(network: SSD, weights: Mapping[str, npt.NDArray[np.generic]]) -> LoadReport:
    """Put a classifier's weights into the backbone; everything else keeps its own.

    Args:
        network: The detector.
        weights: As `read_weights` returns them.

    Returns:
        What was loaded (the detector's names), left out (the classifier's, its last layers) and kept
        (the detector's, its head).

    Raises:
        CheckpointError: If the network has no such backbone, or a weight of it is missing or of another
            shape. Nothing is loaded then.
    """
    import mindspore as ms
    from mindspore import ops

    loaded: dict[str, str] = {}
    kept = []
    for parameter in network.get_parameters():
        source = network.classifier_name(parameter.name)
        if source is None:
            kept.append(parameter.name)
        elif source not in weights:
            raise CheckpointError(
                f"The backbone of {network.model.name} needs {source} for {parameter.name}, but the "
                f"checkpoint has {len(weights)} other weights, the first {next(iter(weights), '-')}. "
                "Give a classifier with this backbone."
            )
        elif weights[source].shape != tuple(parameter.shape):
            raise CheckpointError(
                f"{source} has shape {weights[source].shape}, {parameter.name} of "
                f"{network.model.name} {tuple(parameter.shape)}: this is another backbone. "
                "Give a classifier with the right one."
            )
        else:
            loaded[parameter.name] = source
    if not loaded:
        raise CheckpointError(
            f"{network.model.name} has no backbone that classifiers are known for. Leave "
            "init.backbone out, or start from a detector with checkpoint=FILE."
        )
    for parameter in network.get_parameters():
        if parameter.name in loaded:
            value = weights[loaded[parameter.name]].astype(np.float32)
            ops.assign(parameter, ms.Tensor(value))
    used = set(loaded.values())
    skipped = tuple(n for n in weights if n not in used)
    reasons = {
        n: f"shape {weights[n].shape}, nothing of the detector's backbone is made from it"
        for n in skipped
    }
    return LoadReport(tuple(loaded), skipped, tuple(kept), reasons)
