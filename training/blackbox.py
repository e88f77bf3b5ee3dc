"""The black box: what is written down when a step is not finite, enough to rebuild its batch.

Rebuilding and naming the culprit is `replay.py`.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from pathlib import Path
from typing import Any

from data_tools.errors import UserError
from data_tools.files import write_atomic
from data_tools.pipeline import TrainBatch
from training.assemble import Parts
from training.checkpoint import stem, write_arrays
from training.loss_scale import SCALE_FLOOR
from training.step import StepResult

FORMAT = "ssd-blackbox/1"


class NotFiniteError(UserError):
    """The loss or the gradient of a step was NaN or infinite."""


class BlackBox:
    """Writes `RUN/blackbox/step-N.json` and the weights of that moment.

    Args:
        parts: The run.
    """

    def __init__(self, parts: Parts) -> None:
        self.parts = parts

    def is_overflow(self, result: StepResult) -> bool:
        """True if half precision overflowed in the gradients only, which the loss scale mends."""
        scaler = self.parts.state.scaler
        finite_loss = abs(result.loss) < float("inf")
        return scaler.active and finite_loss and result.loss_scale > SCALE_FLOOR

    def write(self, step: int, batch: TrainBatch, result: StepResult) -> Path:
        """Record a step on all ranks; the main one writes.

        Args:
            step: The step, from 0; its update was not applied.
            batch: This rank's batch.
            result: What the step said.

        Returns:
            The file to give to `replay=`.
        """
        parts = self.parts
        mine = {"image_ids": batch.image_ids.tolist(), "sha256": digest(batch)}
        ranks: list[dict[str, Any]] = parts.world.gather(mine)
        folder = parts.output / "blackbox"
        path = folder / f"{stem(step + 1)}.json"
        if parts.world.is_main:
            folder.mkdir(parents=True, exist_ok=True)
            weights = folder / f"{stem(step + 1)}.ckpt"
            state = parts.state
            live = {f"network.{p.name}": p.asnumpy() for p in state.network.get_parameters()}
            write_arrays(live, weights)
            content = {
                "format": FORMAT,
                "step": step,
                "world_size": parts.world.size,
                "result": {k: str(v) for k, v in dataclasses.asdict(result).items()},
                "ranks": ranks,
                "data_fingerprint": parts.split.fingerprint,
                "num_classes": parts.split.num_classes,
                "weights": weights.name,
                "settings": dataclasses.asdict(parts.settings),
            }
            write_atomic(path, json.dumps(content, indent=1) + "\n")
        return path

    def error(self, step: int, result: StepResult, path: Path) -> NotFiniteError:
        """Return the error that ends the run."""
        what = "loss" if not abs(result.loss) < float("inf") else "gradient"
        return NotFiniteError(
            f"step {step + 1}: the {what} is not finite (loss {result.loss}, gradient norm "
            f"{result.grad_norm}); the weights were not changed. The batch is recorded in {path}; "
            f"rebuild it and find the image with: python train.py replay={path}\n"
            "If no image is to blame, lower optim.lr, lengthen the warm-up, or set optim.clip_norm; "
            "runtime.nonfinite=skip leaves such steps out."
        )


def digest(batch: TrainBatch) -> str:
    """Return the sha256 of everything in a batch that the step sees."""
    found = hashlib.sha256()
    for array in (batch.images, batch.loc_targets, batch.labels, batch.image_ids):
        found.update(str((array.dtype, array.shape)).encode())
        found.update(array.tobytes())
    return found.hexdigest()
