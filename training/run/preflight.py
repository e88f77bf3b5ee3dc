"""Preflight: before compiling, all ranks compare notes, so that a mismatch is an error, not a hang.

What each rank does with the agreed settings is `trainer.py`.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from data_tools.core.errors import SettingError
from training.learning.assemble import RunComponents
from training.learning.state import flatten
from training.process.runtime import versions
from training.process.world import World

ALONE = ("pipeline.workers", "log", "data", "init.checkpoint", "init.backbone")
"""Settings that ranks may differ in, groups included. Machines may keep the same files in other
folders: what was read from them is compared by its fingerprint."""


def notes(components: RunComponents, step: int, evaluation: str) -> dict[str, str]:
    """Return what a rank knows of the run, each fact as a short text to compare."""
    settings = dataclasses.asdict(components.settings)
    weights = flatten([p.asnumpy() for p in components.state.network.get_parameters()])
    facts = {
        "data fingerprint": components.split.fingerprint,
        "evaluation data fingerprint": evaluation,
        "rows": str(components.split.num_images),
        "steps per epoch": str(components.steps_per_epoch),
        "first step": str(step),
        "seed": str(components.settings.seed),
        "first weights": hashlib.sha256(weights.tobytes()).hexdigest(),
    }
    facts |= {f"version of {name}": version for name, version in versions().items()}
    facts |= {
        f"setting {key}": json.dumps(value, sort_keys=True)
        for key, value in _leaves(settings)
        if not may_differ(key)
    }
    return facts


def may_differ(key: str) -> bool:
    """True for a setting that every rank may have in its own way.

    >>> may_differ("log.every_steps"), may_differ("init.backbone"), may_differ("init.head")
    (True, True, False)
    """
    return any(f"{key}.".startswith(f"{name}.") for name in ALONE)


def preflight(components: RunComponents, step: int, evaluation: str = "") -> str:
    """Compare notes between all ranks and try a small all-reduce.

    Args:
        components: The run.
        step: Steps done before.
        evaluation: Fingerprint of the evaluation split, empty if there is none.

    Returns:
        A line for the log.

    Raises:
        SettingError: On every rank, if ranks disagree; the odd ranks and their values are named.
    """
    world = components.world
    with deadline(components.settings.runtime.preflight_seconds, world):
        gathered: list[dict[str, str]] = world.gather(notes(components, step, evaluation))
        total = float(world.sum(np.full(1, world.rank + 1, np.float32))[0])
    problems = disagreements(gathered)
    expected = world.size * (world.size + 1) / 2
    if total != expected:
        problems.append(f"all-reduce of 1..{world.size} gave {total}, not {expected}")
    if problems:
        listed = "\n".join(f"  {line}" for line in problems)
        raise SettingError(
            f"preflight: the ranks of this job do not agree:\n{listed}\nGive every machine the "
            "same settings, code and data."
        )
    return f"preflight: {world.size} ranks agree on {len(gathered[0])} facts; all-reduce works"


def disagreements(gathered: list[dict[str, str]]) -> list[str]:
    """Name the ranks whose facts differ from those of most ranks.

    >>> disagreements([{"seed": "1"}, {"seed": "2"}, {"seed": "1"}])
    ['rank 1: seed is 2, on the other ranks 1']
    """
    problems = []
    for key in sorted({key for facts in gathered for key in facts}):
        values = [facts.get(key, "absent") for facts in gathered]
        # Of equally frequent values the first rank's counts as the norm.
        usual = Counter(values).most_common(1)[0][0]
        for rank, value in enumerate(values):
            if value != usual:
                problems.append(f"rank {rank}: {key} is {value}, on the other ranks {usual}")
    return problems


@contextmanager
def deadline(seconds: float, world: World) -> Iterator[None]:
    """End the process if the block takes too long: a waiting collective cannot be interrupted."""

    def give_up() -> None:
        print(
            f"error: preflight: rank {world.rank} waited {seconds:g} s for the other ranks. One of "
            "them did not start or is stuck: see the files in ranks/.",
            file=sys.stderr,
            flush=True,
        )
        os._exit(1)

    timer = threading.Timer(seconds, give_up)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _leaves(value: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict) and value:
        for key, inner in value.items():
            yield from _leaves(inner, f"{prefix}.{key}" if prefix else str(key))
    else:
        yield prefix, value
