"""Who this process is among the ranks of a job, and the few collectives the host needs.

Gradients are reduced inside the compiled step (`learning/step.py`); launching and watching is
`launch/__main__.py`.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.process.rank_status import BOUND_VARIABLE, LOCAL_RANKS_VARIABLE

_PR_SET_PDEATHSIG = 1


@dataclass(frozen=True)
class World:
    """One rank of a job. A single process is rank 0 of 1.

    Attributes:
        rank: Number of this process, 0 <= rank < size.
        size: Number of processes.
    """

    rank: int = 0
    size: int = 1

    @property
    def is_main(self) -> bool:
        """True on the rank that writes files and talks to the user."""
        return self.rank == 0

    def sum(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the sum of `values` (any shape, float32) over all ranks."""
        values = np.asarray(values, np.float32)
        if self.size == 1:
            return values
        from training.collective import sum_on_host

        return sum_on_host(values)

    def barrier(self) -> None:
        """Wait until every rank is here. CPU has no barrier operation: an all-reduce is one."""
        self.sum(np.ones(1, np.float32))

    def gather(self, value: Any) -> list[Any]:
        """Collect one JSON-like value from every rank, in rank order, on every rank.

        Args:
            value: Anything `json` writes; floats come back bit for bit. Tuples come back as lists.

        Returns:
            The values of ranks 0, 1, ...
        """
        if self.size == 1:
            return [value]
        parts = self.gather_bytes(json.dumps(value).encode())
        return [json.loads(part) for part in parts]

    def gather_bytes(self, payload: bytes) -> list[bytes]:
        """Collect a byte string of any length from every rank, in rank order, on every rank."""
        if self.size == 1:
            return [payload]
        lengths = self._all_gather(np.array([len(payload)], np.int32))[:, 0]
        # int32 is the one integer that both MCCL and HCCL gather.
        padded = np.zeros(-(-int(lengths.max()) // 4) * 4, np.uint8)
        padded[: len(payload)] = np.frombuffer(payload, np.uint8)
        rows = self._all_gather(padded.view(np.int32) if padded.size else np.zeros(1, np.int32))
        return [rows[rank].tobytes()[: int(length)] for rank, length in enumerate(lengths.tolist())]

    def broadcast(self, arrays: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Return rank 0's float32 arrays on every rank; names and shapes must agree."""
        if self.size == 1:
            return arrays
        from training.collective import broadcast_on_host

        flat = broadcast_on_host(
            np.concatenate([a.astype(np.float32).ravel() for a in arrays.values()])
        )
        ends = np.cumsum([a.size for a in arrays.values()])[:-1]
        parts = np.split(flat, ends)
        return {
            name: part.reshape(array.shape) for part, (name, array) in zip(parts, arrays.items())
        }

    def _all_gather(self, row: NDArray[np.int32]) -> NDArray[np.int32]:
        from training.collective import gather_on_host

        return gather_on_host(row)


def launched_ranks() -> int:
    """Return how many ranks the launcher started, read from the environment; 1 without a
    launcher.
    """
    if os.environ.get("MS_ROLE") == "MS_WORKER":
        return int(os.environ.get("MS_WORKER_NUM", "1"))
    return int(os.environ.get("RANK_SIZE", "1"))


def local_ranks() -> int:
    """Return how many ranks of the job run on this machine, as far as the launcher said; else 1."""
    return int(os.environ.get(LOCAL_RANKS_VARIABLE, "1"))


def is_bound() -> bool:
    """True if the launcher bound each rank to cores of its own."""
    return os.environ.get(BOUND_VARIABLE, "") == "1"


def is_scheduler() -> bool:
    """True in the extra process that msrun starts to keep count of the ranks."""
    return os.environ.get("MS_ROLE") == "MS_SCHED"


def end_with_parent() -> None:
    """Let Linux kill this process when its parent is gone, however that came about."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def start_world() -> World:
    """Join the job that a launcher started; without one, be alone.

    The device must be set before (`runtime.start_device`); on CPU the first operation is done by
    then, on a card none may be.
    In msrun's scheduler process this call blocks until all ranks are gone.
    """
    if launched_ranks() == 1 and not is_scheduler():
        return World()
    from training import collective

    collective.join()
    if is_scheduler():
        raise SystemExit(0)
    return World(*collective.rank_and_size())
