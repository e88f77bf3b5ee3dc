"""Where the time of a training step goes: by part, by operator, and versus torch if it is there.

The parts are measured in `step_parts.py`; several devices in `scaling.py`.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable

from benchmarks.common import Result, at_least, median, parser, print_table, seconds_of
from benchmarks.step_parts import build, data_wait, measure_parts
from benchmarks.step_trace import MARKED_VARIABLE, measure_operators, trace_our_kernels
from benchmarks.torch_twin import LAYOUTS, Twin, is_here
from benchmarks.usage import highest_mib
from training.command_line.error_words import clear_errors

PUBLISHED_SECONDS = 9.2
"""The published definition's step at batch 32 with the oneDNN setting, measured outside on two
cores."""


@clear_errors()
def main() -> None:
    """Run the benchmark."""
    arguments = parser(__doc__ or "")
    arguments.add_argument("--model", default="ssd300", help="a file of conf/model (ssd300)")
    arguments.add_argument("--batch", type=at_least(1), default=32, help="images per step (32)")
    arguments.add_argument("--steps", type=at_least(1), default=5, help="timed steps (5)")
    arguments.add_argument("--isa", help="ONEDNN_MAX_CPU_ISA to try instead of ours")
    options = arguments.parse_args()
    if options.quick:
        options.batch, options.steps = min(options.batch, 8), 3
    if options.isa:
        os.environ["ONEDNN_MAX_CPU_ISA"] = options.isa
    from training.process.runtime import prepare_environment, start_device
    from training.process.settings import RuntimeSettings

    prepare_environment()
    if os.environ.get(MARKED_VARIABLE):
        start_device(RuntimeSettings())
        step_once(options)
        return
    # The trace is a process that needs gigabytes too, hence first.
    operators, covered = measure_operators(
        ["--model", options.model, "--batch", str(options.batch)]
    )
    start_device(RuntimeSettings())
    gradients, _, step, batch = build(options.model, options.batch)
    total, torch, memory = side_by_side(lambda: step(*batch, 0.001), options)
    parts = measure_parts(gradients, step, batch, options.steps)
    parts["data wait"] = data_wait(options, parts["whole step"])
    whole = parts["whole step"]
    rows = [(name, 1e3 * seconds, 100 * seconds / whole) for name, seconds in parts.items()]
    print_table(f"One step of {options.model}, batch {options.batch}", ["part", "ms", "%"], rows)
    print_table(
        "The ten slowest convolutions and norms of a step",
        ["operator", "implementation", "calls", "ms"],
        operators,
    )
    print(
        f"All of these together: {covered:.0f} ms. Norms and depthwise convolutions that are fused "
        "leave no trace."
    )
    if torch:
        print_table(
            f"The same network, loss and optimizer in torch; ours takes {1e3 * total:,.0f} ms "
            "next to it",
            ["layout", "ms", "speed, ours / theirs", "MiB at most", "ours / theirs"],
            [
                (name, 1e3 * took, took / total, memory[name], memory["ours"] / memory[name])
                for name, took in torch.items()
            ],
        )
    else:
        print("torch is not installed: no side by side.")
    reference, reference_is = reference_seconds(options, torch, total)
    Result(
        "step",
        options.batch / total,
        options.batch / reference,
        {
            "unit": "images/s",
            "model": options.model,
            "batch": options.batch,
            "milliseconds": {name: 1e3 * seconds for name, seconds in parts.items()},
            "operators_milliseconds": covered,
            "torch_seconds": torch,
            "memory_mib": memory,
            "reference_is": reference_is,
        },
    ).print()


def reference_seconds(
    options: argparse.Namespace, torch: dict[str, float], ours: float
) -> tuple[float, str]:
    """Return the seconds to compare with, and what they are."""
    if torch:
        fastest = min(torch, key=lambda layout: torch[layout])
        return torch[fastest], f"torch {fastest}, here"
    if options.model == "ssd300":
        return PUBLISHED_SECONDS * options.batch / 32, (
            "the published definition with the oneDNN setting: 9.2 s at batch 32, measured on "
            "another two-core machine"
        )
    return ours, "none for this model: our own figure"


def side_by_side(
    step: Callable[[], object], options: argparse.Namespace
) -> tuple[float, dict[str, float], dict[str, float]]:
    """Time our step and torch's in turn: a slow moment of the machine then meets both.

    Returns:
        Our seconds; torch's by memory layout, empty without torch or for another model; and the
        most memory that this process, `ours`, and each of theirs held at once, in MiB.
    """
    step()
    there = options.model == "ssd300" and is_here()
    twins = {layout: Twin(options.batch, layout) for layout in LAYOUTS if there}
    ours: list[float] = []
    theirs: dict[str, list[float]] = {layout: [] for layout in twins}
    for _ in range(options.steps):
        ours += seconds_of(step, repeats=1, warmups=0)
        for layout, twin in twins.items():
            theirs[layout].append(twin.step())
    memory = {"ours": highest_mib()}
    for layout, twin in twins.items():
        memory[layout] = twin.memory_mib()
        twin.close()
    return median(ours), {layout: median(seconds) for layout, seconds in theirs.items()}, memory


def step_once(options: argparse.Namespace) -> None:
    """Run three steps for their oneDNN trace; the last one is between two marks."""
    trace_our_kernels()
    _, _, step, batch = build(options.model, options.batch)
    for _ in range(2):
        step(*batch, 0.001)
    print("MARK begin", flush=True)
    step(*batch, 0.001)
    print("MARK end", flush=True)


if __name__ == "__main__":
    main()
