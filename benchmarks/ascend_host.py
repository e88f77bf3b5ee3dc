"""What a card's host takes to start a step's kernels, and what it would take at least.

    python -m benchmarks.ascend_host [--quick] [--recipe coco] [--rounds 5]

Runs MindSpore's dry run of Ascend on the stand-ins of `tests/ascend`, one process at a time, the
parts in turn: the step as it is trained, its loss and gradients without an update, the same with
weights of half precision, and the step with fewer, larger kernels (`tests/ascend/dry_parts.py`).
Counts kernels and the processor seconds of the thread that starts them. Prints a table and, last,
one line of JSON: `ours` is steps per second of that thread, `reference` those of the least part.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from benchmarks.common import Result, at_least, median, parser, print_table
from tests.ascend.dry_parts import PARTS
from tests.ascend.stage import Stage
from tests.ascend.stand_ins.build import build
from training.command_line.error_words import clear_errors


@clear_errors()
def main() -> None:
    """Run the benchmark."""
    options = parser(__doc__ or "")
    options.add_argument("--recipe", default="coco", help="file of conf/experiment")
    options.add_argument("--rounds", type=at_least(1), default=5, help="processes of each part")
    arguments = options.parse_args()
    rounds, steps = (1, 5) if arguments.quick else (arguments.rounds, 20)
    kernels: dict[str, int] = {}
    milliseconds: dict[str, list[float]] = {part: [] for part in PARTS}
    with tempfile.TemporaryDirectory(prefix="ssd-ascend-") as folder:
        stand_ins, runs = Path(folder) / "stand-ins", Path(folder) / "runs"
        runs.mkdir()
        build(stand_ins)
        stage = Stage(stand_ins, runs)
        for _ in range(rounds):
            for part in PARTS:
                dry = stage.step(
                    f"+experiment={arguments.recipe}", "runtime=ascend",
                    SSD_DRY_PART=part, SSD_DRY_STEPS=str(steps),
                )  # fmt: skip
                assert dry.graphs is not None
                kernels[part] = dry.graphs.count
                milliseconds[part].append(dry.report()["launch_seconds"] * 1000)
                print(
                    f"{part}: {kernels[part]} kernels, {milliseconds[part][-1]:.1f} ms", flush=True
                )
    middle = {part: median(values) for part, values in milliseconds.items()}
    rows = [[part, kernels[part], middle[part], middle[part] / middle["step"]] for part in PARTS]
    print_table(
        "Starting the kernels of a step",
        ["part", "kernels", "ms of the starting thread", "of the step's"],
        rows,
    )
    least = min(middle.values())
    Result(
        "ascend_host",
        1000 / middle["step"],
        1000 / least,
        {"kernels": kernels, "milliseconds": middle, "unit": "steps/s of the starting thread"},
    ).print()


if __name__ == "__main__":
    main()
