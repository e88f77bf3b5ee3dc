"""What a training step says of itself: eight numbers on the device, and their names.

The step that makes them is `step.py`; what is logged of them is in `training/watching/`.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

RESULT_SIZE = 8
"""Numbers that a step says of itself, see `Apply.construct`."""


@dataclass(frozen=True)
class StepResult:
    """What one step says of itself; sums run over all ranks.

    Attributes:
        loss: Loss divided by the positives of the global batch.
        loc_loss: Its regression part.
        cls_loss: Its classification part.
        positives: Positive anchors in the global batch.
        grad_norm: Global gradient norm before clipping.
        applied: False if the update was left out because something was not finite.
        loss_scale: Loss scale this step used; 1 without mixed precision.
        stop: True if any rank asked to stop after this step.
        launch_seconds: What the host took to start its kernels; the rest of a step it waits for the
            device.
    """

    loss: float
    loc_loss: float
    cls_loss: float
    positives: float
    grad_norm: float
    applied: bool
    loss_scale: float
    stop: bool
    launch_seconds: float = field(default=0.0, compare=False)


def result_of(vector: NDArray[np.float32], launch_seconds: float = 0.0) -> StepResult:
    """Name the (8,) numbers that `Apply` returns, and what the host took to start the step."""
    values = vector.astype(np.float64).tolist()
    loss, loc, cls, positives, norm, scale, applied, votes = values
    return StepResult(
        loss, loc, cls, positives, norm, applied > 0, scale, votes > 0, launch_seconds
    )
