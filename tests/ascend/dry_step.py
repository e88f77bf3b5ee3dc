"""One training step of a network, compiled in the dry run: the program that the tests start.

    python -m tests.ascend.dry_step MODEL [key=value ...]

It builds the step from the trainer's own parts, without data set and run folder, does it, and
prints a line of JSON. SSD_DRY_STEPS is how many steps are timed, SSD_DRY_PART what of a step
(`dry_parts.py`). A rank of a larger job (RANK_SIZE, RANK_ID) takes part alone: host and card
exchange nothing in a dry run.
"""

from __future__ import annotations

import dataclasses
import json
import os
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from training.command_line.configure import compose
from training.process.runtime import prepare_environment, start_device


def main() -> None:
    """Compile and schedule a step; print what it took."""
    prepare_environment()
    started = time.process_time()
    settings: Any = compose("train", "training.settings:TrainSettings", sys.argv[1:])
    start_device(settings.runtime)

    from tests.ascend import dry_parts
    from training import collective
    from training.learning import assemble
    from training.learning.step import build_step
    from training.process.world import World

    part = os.environ.get("SSD_DRY_PART", "step")
    if int(os.environ.get("RANK_SIZE", "1")) > 1:
        collective.join()
    world = World(*collective.rank_and_size())
    state, normalize, loss = assemble.build_state(settings, 81, world.size)
    dry_parts.prepare(part, state.network)
    parts: Any = SimpleNamespace(
        settings=settings, state=state, normalize=normalize, loss=loss, world=world
    )
    gradients, apply = assemble.build_phase_cells(
        parts, assemble.Phase(0, tuple(settings.optim.freeze))
    )
    # Without what puts statistics back: in a dry run every number is zero, so no step counts as
    # finite and that graph would be compiled for each network. The tests of the whole command
    # compile it.
    level = settings.runtime.jit_level
    step: Any = build_step(gradients, apply, settings.optim.accumulate, None, level)
    if part in ("gradients", "half"):
        step = dry_parts.gradients_alone(gradients, state.scaler.factor, level)
    size, (height, width) = settings.batch_size, settings.model.image_size
    anchors = state.network.num_anchors
    batch = (
        np.zeros((size, 3, height, width), np.uint8),
        np.zeros((size, anchors, 4), np.float32),
        np.zeros((size, anchors), np.int32),
    )
    step(*batch, 0.1)
    compiled = time.process_time() - started
    steps = int(os.environ.get("SSD_DRY_STEPS", "1"))
    seconds, launched = [], launch_seconds()
    for _ in range(steps):
        begun = time.perf_counter()
        step(*batch, 0.1)
        seconds.append(time.perf_counter() - begun)
    launched = (launch_seconds() - launched) / steps
    print(json.dumps({
        "model": settings.model.name,
        "runtime": dataclasses.asdict(settings.runtime),
        "compile_cpu_seconds": round(compiled, 2),
        "step_seconds": round(min(seconds), 4),
        "launch_seconds": round(launched, 4),
        "memory_mb": memory_mb(),
    }))  # fmt: skip


def thread_seconds() -> dict[int, tuple[str, float]]:
    """Return the name and the processor seconds of every thread of this process, by its id."""
    found = {}
    for folder in Path("/proc/self/task").iterdir():
        try:
            nanoseconds = int((folder / "schedstat").read_text().split()[0])
            found[int(folder.name)] = ((folder / "comm").read_text().strip(), nanoseconds / 1e9)
        except OSError:  # it has ended meanwhile
            continue
    return found


def launch_seconds() -> float:
    """Return the processor seconds of the thread that starts kernels."""
    return sum(seconds for name, seconds in thread_seconds().values() if name == "launch_queue")


def memory_mb() -> float:
    """Return MindSpore's estimate of the card's memory at its peak, in 2**20 bytes."""
    import mindspore as ms

    return round(float(ms.runtime.max_memory_allocated()) / 2**20, 1)


if __name__ == "__main__":
    main()
