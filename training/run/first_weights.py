"""First weights from a file: a detector's checkpoint or a backbone's, with a report of what fitted.

Which network they are of is told here too. Files are read in `checkpoints/weight_files.py`, names
matched in `checkpoints/weights.py`; going on with a run is `checkpoints/resume.py`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from data_tools.core.errors import CheckpointError
from training.checkpoints.backbone_weights import load_backbone
from training.learning.assemble import RunComponents
from training.settings import TrainSettings


def with_model_of_checkpoint(settings: TrainSettings) -> TrainSettings:
    """Return the settings with the network that `init.checkpoint` holds, if `init.model` asks for it.

    Raises:
        CheckpointError: If the file is missing or of no network we know.
    """
    if settings.init.model != "checkpoint":
        return settings
    from training.inference.model_file import EXPORTED
    from training.inference.open_model import open_model_file

    path = settings.init.checkpoint or ""
    if path.endswith(EXPORTED):
        raise CheckpointError(
            f"checkpoint={path}: an exported file cannot be trained on. Give the checkpoint that it was "
            "exported from."
        )
    return dataclasses.replace(settings, model=open_model_file(path).model)


def load_initial_weights(parts: RunComponents, say: Callable[[str], None]) -> None:
    """Load what `init.checkpoint` or `init.backbone` names, and list what was loaded, skipped and missing.

    Args:
        parts: The run; its network changes in place.
        say: Prints a line on the main rank.

    Raises:
        CheckpointError: If nothing fits, or not everything does with `init.head=strict`.
    """
    init = parts.settings.init
    if not init.checkpoint and not init.backbone:
        return
    from training.checkpoints.weight_files import read_weights
    from training.checkpoints.weights import load_weights

    network = parts.state.network
    path = init.checkpoint or init.backbone or ""
    weights = read_weights(path, sha256=init.sha256)
    if init.checkpoint:
        report = load_weights(network, weights, head=init.head)
    else:
        report = load_backbone(network, weights)
    say(f"first weights from {path}: {report}")
    for line in report.lines():
        say(line)
    restart_average(parts)


def restart_average(parts: RunComponents) -> None:
    """Let the moving average begin at the loaded weights."""
    average = parts.state.average
    if average is not None:
        from training.learning.state import assign

        for live, mean in zip(average.tracked, average.averages):
            assign(mean, live.asnumpy())
