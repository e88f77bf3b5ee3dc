"""The black box: what is written down when a step is not finite, enough to rebuild its batch.

Rebuilding and naming the culprit is `replay.py`.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from data_tools.core.errors import UserError
from data_tools.core.files import write_atomic
from data_tools.pipeline.batches import TrainBatch
from training.checkpoints.checkpoint import stem, write_arrays
from training.learning.assemble import RunComponents
from training.learning.loss_scale import SCALE_FLOOR
from training.learning.step_result import StepResult
from training.process.disk_errors import disk_errors
from training.settings import TrainSettings

FORMAT = "ssd-blackbox/1"


class NotFiniteError(UserError):
    """The loss or the gradient of a step was NaN or infinite."""


@dataclass(frozen=True)
class RankRecord:
    """One rank's batch: its images, and the sha256 of everything in it that the step sees."""

    image_ids: tuple[int, ...]
    sha256: str


@dataclass(frozen=True)
class Record:
    """What a black box holds.

    Attributes:
        step: The step, from 0; its update was not applied.
        world_size: Number of ranks.
        result: What the step said, as text: JSON has no infinity.
        ranks: Every rank's batch.
        data_fingerprint: Fingerprint of the training split.
        num_classes: Classes with background.
        weights: Name of the file next to it with the weights of that moment.
        settings: All settings of the run.
        format: Version of this layout.
    """

    step: int
    world_size: int
    result: dict[str, str]
    ranks: tuple[RankRecord, ...]
    data_fingerprint: str
    num_classes: int
    weights: str
    settings: TrainSettings
    format: str = FORMAT


class BlackBox:
    """Writes `RUN/blackbox/step-N.json` and the weights of that moment.

    Args:
        components: The run.
    """

    def __init__(self, components: RunComponents) -> None:
        self.components = components

    def is_overflow(self, result: StepResult) -> bool:
        """True if half precision overflowed in the gradients only, which the loss scale mends."""
        scaler = self.components.state.scaler
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

        Raises:
            DiskError: If the disk is full or fails.
        """
        components = self.components
        mine = dataclasses.asdict(RankRecord(tuple(batch.image_ids.tolist()), digest(batch)))
        ranks: list[dict[str, Any]] = components.world.gather(mine)
        folder = components.output / "blackbox"
        path = folder / f"{stem(step + 1)}.json"
        if components.world.is_main:
            state = components.state
            live = {f"network.{p.name}": p.asnumpy() for p in state.network.get_parameters()}
            record = Record(
                step=step,
                world_size=components.world.size,
                result={k: str(v) for k, v in dataclasses.asdict(result).items()},
                ranks=tuple(RankRecord(**entry) for entry in ranks),
                data_fingerprint=components.split.fingerprint,
                num_classes=components.split.num_classes,
                weights=f"{stem(step + 1)}.ckpt",
                settings=components.settings,
            )
            with disk_errors(path):
                folder.mkdir(parents=True, exist_ok=True)
                write_arrays(live, folder / record.weights)
                write_atomic(path, json.dumps(dataclasses.asdict(record), indent=1) + "\n")
        return path

    def error(self, step: int, result: StepResult, path: Path, in_a_row: int) -> NotFiniteError:
        """Return the error that ends the run.

        Args:
            step: The step, from 0.
            result: What it said.
            path: Where its batch is recorded.
            in_a_row: Such steps one after the other, this one among them.
        """
        runtime = self.components.settings.runtime
        if runtime.nonfinite == "skip":
            skipping = (
                f"It is number {in_a_row} in a row; runtime.max_skips={runtime.max_skips} is the "
                "most that runtime.nonfinite=skip leaves out."
            )
        else:
            skipping = "runtime.nonfinite=skip leaves such steps out."
        what = "loss" if not abs(result.loss) < float("inf") else "gradient"
        return NotFiniteError(
            f"step {step + 1}: the {what} is not finite (loss {result.loss}, gradient norm "
            f"{result.grad_norm}); the weights were not changed. The batch is recorded in {path}; "
            f"rebuild it and find the image with: python train.py replay={path}\n"
            "If no image is to blame, lower optim.lr, lengthen the warm-up, or set "
            f"optim.clip_norm. {skipping}"
        )


def digest(batch: TrainBatch) -> str:
    """Return the sha256 of everything in a batch that the step sees."""
    sha256 = hashlib.sha256()
    for array in (batch.images, batch.loc_targets, batch.labels, batch.image_ids):
        sha256.update(str((array.dtype, array.shape)).encode())
        sha256.update(array.tobytes())
    return sha256.hexdigest()
