"""`make bench`: are the benchmarks' ratios still what they were? Ratios only, never seconds.

    python -m benchmarks.guard [NAME ...] [--update] [--runs N]

Each benchmark runs `--quick` in a process of its own; what it measures is its own matter. The
ratios that were are in `baseline.json` next to this file.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.common import at_least, machine, median, print_table, rounded

BASELINE = Path(__file__).with_name("baseline.json")

# `step` compares with torch, which is no dependency, and else with a constant; `ascend_host`
# compares parts of one step.
NAMES = ("convert", "archives", "pipeline", "postprocess", "inference", "scaling")

MARGIN = 0.25
"""Share of a ratio that may be lost: short runs on a machine that others use differ by that."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmarks; return 0 if no ratio fell by more than the margin, else 1."""
    options = parse(arguments)
    measured = {name: measure(name, options.runs) for name in options.names or NAMES}
    if options.update:
        known = read() if BASELINE.is_file() else {}
        BASELINE.write_text(json.dumps({**known, **measured}, indent=2, sort_keys=True) + "\n")
        print(f"{BASELINE}: written")
        return 0
    rows, fallen = compare(measured, read())
    print_table(
        f"Ratios, and what they were; at most {MARGIN:.0%} may be lost",
        ["benchmark", "was", "is", "of it", ""],
        rows,
    )
    for name in fallen:
        print(
            f"error: {name} is slower than it was: python -m benchmarks.{name} says where. If that "
            f"is meant: python -m benchmarks.guard {name} --update",
            file=sys.stderr,
        )
    return 1 if fallen else 0


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(NAMES)} (all)")
    parser.add_argument("--update", action="store_true", help="write what is measured as baseline")
    parser.add_argument("--runs", type=at_least(1), default=3, help="runs of each; the median (3)")
    options = parser.parse_args(arguments)
    for name in options.names:
        if name not in NAMES:
            parser.error(f"{name!r}: expected one of {', '.join(NAMES)}")
    return options


def measure(name: str, runs: int, run: Callable[[str], str] | None = None) -> dict[str, Any]:
    """Run a benchmark several times; return its median ratio and the machine.

    Args:
        name: The benchmark.
        runs: How often.
        run: Returns what the benchmark prints; starts it by default.
    """
    ratios = []
    for number in range(runs):
        print(f"{name}: run {number + 1} of {runs}", flush=True)
        line = json.loads((run or start)(name).splitlines()[-1])
        ratios.append(float(line["ratio"]))
    return {"ratio": rounded(median(ratios)), "machine": machine()}


def start(name: str) -> str:
    """Run a benchmark in a process of its own and return what it printed.

    Raises:
        SystemExit: If it fails, with its last lines.
    """
    command = [sys.executable, "-m", f"benchmarks.{name}", "--quick"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"error: {' '.join(command)} failed:\n{done.stderr[-2000:]}")
    return done.stdout


def read() -> dict[str, dict[str, Any]]:
    """Return the ratios that were.

    Raises:
        SystemExit: If there are none.
    """
    if not BASELINE.is_file():
        raise SystemExit(f"error: no {BASELINE}: python -m benchmarks.guard --update writes it")
    known: dict[str, dict[str, Any]] = json.loads(BASELINE.read_text())
    return known


def compare(
    measured: dict[str, dict[str, Any]], known: dict[str, dict[str, Any]]
) -> tuple[list[list[Any]], list[str]]:
    """Return the table's rows, and the names of what fell by more than the margin."""
    rows: list[list[Any]] = []
    fallen = []
    for name, now in measured.items():
        if name not in known:
            rows.append([name, "-", now["ratio"], "-", "no baseline: --update"])
            fallen.append(name)
            continue
        was = known[name]["ratio"]
        share = now["ratio"] / was
        slower = not share >= 1 - MARGIN
        if slower:
            fallen.append(name)
        rows.append([name, was, now["ratio"], share, "SLOWER" if slower else ""])
    return rows, fallen


if __name__ == "__main__":
    sys.exit(main())
