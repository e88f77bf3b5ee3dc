"""What the stages of the pipeline cost, and how many cores feed a device: numbers and a conclusion
in words.

The seconds are counted by `worker_buffers.py: StageClock`; the trainer's log and
`benchmarks/pipeline.py` print this.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import ceil

import numpy as np
from numpy.typing import NDArray

from data_tools.pipeline.batches import STAGES, TrainBatch

STAGE_WORDS = {
    "read": "read the row from its shard",
    "choose": "draw window, mirror and colours, cut the boxes",
    "decode": "decode the image",
    "render": "crop, resize, colour, mirror, lay out",
    "encode": "match boxes with anchors, encode them",
}
"""What each stage does."""


class StageSum:
    """Seconds of each stage, added up over batches."""

    def __init__(self) -> None:
        self._seconds, self._images = np.zeros(len(STAGES)), 0

    def add(self, stage_seconds: NDArray[np.float64], images: int) -> None:
        """Add a batch: its (5,) seconds and how many images it has."""
        self._seconds += stage_seconds
        self._images += images

    def costs(self) -> StageCosts:
        """Average over the images so far; zeros if there were none."""
        average = self._seconds / max(self._images, 1)
        return StageCosts(dict(zip(STAGES, average.tolist(), strict=True)))


@dataclass(frozen=True)
class StageCosts:
    """What the pipeline costs for one image on one core.

    Args:
        seconds: Stage to seconds.
    """

    seconds: dict[str, float]

    @classmethod
    def of(cls, batches: Iterable[TrainBatch]) -> StageCosts:
        """Average over the images of some batches."""
        total = StageSum()
        for batch in batches:
            total.add(batch.stage_seconds, len(batch.image_ids))
        return total.costs()

    @property
    def milliseconds(self) -> dict[str, float]:
        """Stage to milliseconds, for a log."""
        return {stage: round(1e3 * seconds, 4) for stage, seconds in self.seconds.items()}

    @property
    def per_image(self) -> float:
        """Seconds of one core for one image."""
        return sum(self.seconds.values())

    @property
    def slowest_stage(self) -> str:
        """The stage that costs most."""
        return max(self.seconds, key=lambda stage: self.seconds[stage])

    def cores_for(self, step_seconds: float, batch_size: int) -> float:
        """Cores that make a batch in the time that a device takes for a step."""
        return self.per_image * batch_size / step_seconds

    def table(self) -> list[tuple[str, float, float, str]]:
        """Stage, milliseconds an image, percent of all, and what it does; in the order of the
        stages.
        """
        return [
            (stage, 1e3 * seconds, 100 * seconds / (self.per_image or 1.0), STAGE_WORDS[stage])
            for stage, seconds in self.seconds.items()
        ]


def describe_stage_costs(
    costs: StageCosts, step_seconds: float, batch_size: int, cores: int
) -> str:
    """Say in words whether the pipeline keeps a device busy.

    Args:
        costs: What an image costs.
        step_seconds: What a step of the device takes.
        batch_size: Images per step.
        cores: Cores that the pipeline of this device has.

    Returns:
        One sentence, two if the device starves.
    """
    needed = costs.cores_for(step_seconds, batch_size)
    share = 100 * costs.seconds[costs.slowest_stage] / (costs.per_image or 1.0)
    text = (
        f"{1e3 * costs.per_image:.2f} ms of a core for an image: a device that takes "
        f"{1e3 * step_seconds:.1f} ms for a batch of {batch_size} needs {needed:.1f} cores "
        f"(so {max(1, ceil(needed))}), and has {cores}"
    )
    if needed <= cores:
        return f"{text}: it is fed."
    waiting = 100 * (1 - cores / needed)
    return (
        f"{text}: it waits {waiting:.0f} % of the time. The slowest stage is {costs.slowest_stage} "
        f"({share:.0f} %): give it more cores (workers)"
        + (
            ", or convert with a longest side near the network's input, which makes decoding "
            "cheaper."
            if costs.slowest_stage == "decode"
            else "."
        )
    )
