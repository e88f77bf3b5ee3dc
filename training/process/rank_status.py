"""What launcher and ranks agree on: variables of the environment, and the file in which a rank says
how far it is.

The ranks write it; `launch/watch.py` reads it and decides who has failed.
"""

from __future__ import annotations

import json
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

JOB_VARIABLE = "SSD_JOB"
"""Every process of a job carries the job's id in its environment."""

STATUS_VARIABLE = "SSD_RANK_STATUS"
"""The folder of the status files; unset without a launcher."""

LOCAL_RANKS_VARIABLE = "SSD_LOCAL_RANKS"
"""How many ranks of the job run on this machine."""

BOUND_VARIABLE = "SSD_BOUND_RANKS"
"""1 if each rank of the job is bound to cores of its own."""

FINISHED = "finished"
"""What a rank says it is doing once it has nothing left to do."""


class RankStatus:
    """A small file that tells the launcher how far this rank is; off without a launcher.

    Args:
        rank: Number of this rank.
    """

    def __init__(self, rank: int) -> None:
        folder = os.environ.get(STATUS_VARIABLE)
        self.path = _status_file(Path(folder), rank) if folder else None

    def tell(self, step: int, doing: str, patience: float = 0.0) -> None:
        """Say which step is being worked on and what is being done.

        Args:
            step: Number of the step, from 1.
            doing: In words, for instance `waiting for data`.
            patience: Seconds this may take on top of the launcher's limit.
        """
        if self.path is not None:
            content = {
                "pid": os.getpid(),
                "step": step,
                "doing": doing,
                "patience": patience,
                "told": time.monotonic(),
            }
            temporary = self.path.with_suffix(".tmp")
            temporary.write_text(json.dumps(content))
            temporary.replace(self.path)


@dataclass(frozen=True)
class ReadStatus:
    """What a rank last said.

    Attributes:
        step: The step it works on.
        doing: What it does, in words.
        patience: Seconds this may take on top of the launcher's limit.
        written_at: `time.monotonic()` when it wrote so: one clock for all processes of a machine,
            and none that jumps.
    """

    step: int
    doing: str
    patience: float
    written_at: float


def read_status(folder: Path, rank: int) -> ReadStatus | None:
    """Read the status file of a rank; None if there is none that can be read."""
    path = _status_file(folder, rank)
    try:
        content: dict[str, Any] = json.loads(path.read_text())
        return ReadStatus(content["step"], content["doing"], content["patience"], content["told"])
    except (OSError, ValueError, KeyError):
        return None


def _status_file(folder: Path, rank: int) -> Path:
    return folder / f"rank-{rank}.json"
