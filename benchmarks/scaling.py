"""Images per second on 1 and 2 workers, the share of communication, and a model for 8 and 64
devices.

The workers are processes on one CPU, so 2 workers share the cores that 1 worker has alone: the
speed-up here says what the machinery costs, not what a second device brings. The model says the
latter.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median
from time import perf_counter, process_time
from typing import Any

from benchmarks.common import Result, at_least, parser, print_table
from training.command_line.error_words import clear_errors

REPOSITORY = Path(__file__).resolve().parent.parent
WORKER_VARIABLE = "SSD_SCALING_OUT"


@clear_errors()
def main() -> None:
    """Run the benchmark, or one of its workers."""
    arguments = parser(__doc__ or "")
    arguments.add_argument("--model", default="ssd300", help="a file of conf/model (ssd300)")
    arguments.add_argument("--batch", type=at_least(1), default=8, help="images per device (8)")
    arguments.add_argument("--steps", type=at_least(1), default=6, help="timed steps (6)")
    options = arguments.parse_args()
    if options.quick:
        options.model, options.batch, options.steps = "ssd_tiny", 8, 5
    if os.environ.get(WORKER_VARIABLE):
        worker(options.model, options.batch, options.steps)
        return
    measured = {ranks: run_ranks(ranks, options) for ranks in (1, 2)}
    rows = []
    for ranks, seconds in measured.items():
        rate = ranks * options.batch / seconds["step"]
        share = 100 * seconds["all_reduce"] / seconds["step"]
        rows.append((ranks, 1e3 * seconds["step"], rate, 1e3 * seconds["all_reduce"], share))
    headers = ["workers", "step ms", "images/s", "all-reduce ms", "% of step"]
    print_table(f"{options.model}, {options.batch} images a worker, on this CPU", headers, rows)
    alone, pair = measured[1], measured[2]
    extrapolated = {n: model(alone["step"], pair["all_reduce"], n) for n in (1, 2, 8, 64)}
    print_table(
        "A MODEL, not a measurement: devices that do not share cores",
        ["devices", "step ms", "images/s", "efficiency %"],
        [
            (n, 1e3 * step, n * options.batch / step, 100 * alone["step"] / step)
            for n, step in extrapolated.items()
        ],
    )
    print(
        "step(n) = step(1) + all_reduce(2) * 2 (n - 1) / n: a ring sends 2 (n - 1) / n of the "
        "gradients through every link, with links as fast as this machine's loopback, and hides "
        "none of it behind the backward pass. Cards with HCCL have both faster links and faster "
        "steps."
    )
    single = options.batch / alone["step"]
    Result(
        "scaling",
        2 * options.batch / pair["step"],
        single,
        {
            "unit": "images/s, 2 workers over 1 on the same cores",
            "model": options.model,
            "batch_per_worker": options.batch,
            "seconds": {str(ranks): seconds for ranks, seconds in measured.items()},
            "communication_share": pair["all_reduce"] / pair["step"],
            "modelled_efficiency": {
                str(n): alone["step"] / step for n, step in extrapolated.items()
            },
        },
    ).print()


def model(step_seconds: float, all_reduce_seconds: float, devices: int) -> float:
    """Return the modelled seconds of a step on a number of devices.

    Args:
        step_seconds: A step of one device alone.
        all_reduce_seconds: An all-reduce between two, which sends the gradients once over each
            link.
        devices: Number of devices.

    >>> model(1.0, 0.1, 1), round(model(1.0, 0.1, 2), 3), round(model(1.0, 0.1, 8), 3)
    (1.0, 1.1, 1.175)
    """
    return step_seconds + all_reduce_seconds * 2 * (devices - 1) / devices


def run_ranks(ranks: int, options: Any) -> dict[str, float]:
    """Run a number of workers; return rank 0's median seconds of a step and of an all-reduce."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "result.json"
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
        environment = {
            **os.environ, WORKER_VARIABLE: str(out), "PATH": path, "PYTHONPATH": str(REPOSITORY),
            "MS_NODE_TIMEOUT": "20",
        }  # fmt: skip
        script = [str(REPOSITORY / "benchmarks" / "scaling.py"), "--model", options.model,
                  "--batch", str(options.batch), "--steps", str(options.steps)]  # fmt: skip
        if ranks == 1:
            command = [sys.executable, *script]
        else:
            command = [
                shutil.which("msrun", path=path) or "msrun", f"--worker_num={ranks}",
                f"--local_worker_num={ranks}", f"--master_port={free_port()}",
                f"--log_dir={folder}/logs", "--join=True", *script,
            ]  # fmt: skip
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        if not out.is_file():
            raise SystemExit(f"the workers failed:\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}")
        seconds: dict[str, float] = json.loads(out.read_text())
        return seconds


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return int(server.getsockname()[1])


def worker(name: str, batch_size: int, steps: int) -> None:
    """Time the trainer's own step in one rank; rank 0 writes the result."""
    from training.process.runtime import prepare_environment, start_device
    from training.process.settings import RuntimeSettings

    prepare_environment()
    start_device(RuntimeSettings())
    from training.process.world import start_world

    world = start_world()
    import mindspore as ms
    import numpy as np

    from benchmarks.step_parts import build

    _, apply, step, batch = build(name, batch_size, world.size, world.rank)
    sums = ms.Tensor(np.zeros(4, np.float32))
    zeros = [ms.Tensor(np.zeros(p.shape, np.float32)) for p in apply.update.weights]

    # What the step does between ranks and nothing else: gathering into buckets, sending, cutting
    # up.
    @ms.jit
    def exchange(head: Any, *gradients: Any) -> Any:
        total, reduced = apply.reduce(head, gradients)
        return total.sum() + reduced[-1].sum()

    def timed(work: Any, clock: Any = perf_counter) -> float:
        times = []
        for _ in range(steps + 1):
            begun = clock()
            work()
            times.append(clock() - begun)
        return median(times[1:])

    seconds = {
        "step": timed(lambda: step(*batch, 0.0001)),
        "processor": timed(lambda: step(*batch, 0.0001), process_time),
        "all_reduce": timed(lambda: exchange(sums, *zeros).asnumpy()) if world.size > 1 else 0.0,
    }
    world.barrier()
    if world.is_main:
        Path(os.environ[WORKER_VARIABLE]).write_text(json.dumps(seconds))


if __name__ == "__main__":
    main()
