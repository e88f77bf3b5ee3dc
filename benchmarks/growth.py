"""How processor time and memory grow with images, boxes, classes, anchors, workers and ranks.

    python -m benchmarks.growth [--quick] [--only TEXT]

One line of JSON for each size that was measured; then a table with the exponent of the growth over
the three largest sizes: 0 is flat, 1 is linear, and what is above 1.1 is marked. The data are made
in `growth_data.py`, the work is in `growth_tasks.py`.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import growth_tasks
from benchmarks.common import Result, at_least, median, parser, print_table
from benchmarks.growth_data import write_detections, write_raw
from training.command_line.error_words import clear_errors

STEEPEST = 1.1
"""Exponent above which growth counts as worse than linear; the rest is noise."""

FLAT_MIB = 8.0
"""Growth of memory over all sizes that counts as none: buffers and the allocator's slack."""

MODELS = {1917: "ssd300", 8732: "ssd300_vgg16", 51150: "ssd_mobilenet_v1_fpn"}
"""Anchors to a network that has them."""

Sizes = tuple[int, ...]


@dataclass(frozen=True)
class Series:
    """One kind of work over several sizes.

    Args:
        task: Of `growth_tasks`, or `ranks`.
        axis: What grows.
        sizes: Sizes, rising.
        quick: Those with `--quick`.
        fixed: What else the task takes; `images`, `boxes` and `classes` are those of its data.
    """

    task: str
    axis: str
    sizes: Sizes
    quick: Sizes
    fixed: dict[str, Any]


IMAGES, QUICK_IMAGES = (1000, 8000, 40_000, 118_287), (200, 400, 800)
BOXES, CLASSES, ANCHORS = (1, 20, 100, 500), (1, 20, 200, 1200), (1917, 8732, 24_000, 51_150)
DATA = {"images": 1000, "boxes": 7, "classes": 80}
SERIES = (
    Series("convert", "images", IMAGES, QUICK_IMAGES, DATA),
    Series("convert", "boxes", BOXES, (1, 16), DATA),
    Series("convert", "classes", CLASSES, (), DATA),
    Series("convert", "workers", (1, 2, 4, 8), (1, 2), {**DATA, "images": 8000, "shards": 8}),
    Series("first_batch", "images", IMAGES, QUICK_IMAGES, DATA),
    Series("first_batch", "boxes", BOXES, (), DATA),
    Series("first_batch", "classes", CLASSES, (), DATA),
    Series("first_batch", "anchors", tuple(MODELS), (), DATA),
    Series("first_batch", "workers", (1, 2, 4), (), DATA),
    Series("first_batch", "processes", (1, 2, 4), (), {**DATA, "kind": "processes"}),
    Series("first_batch", "ranks", (1, 2, 4, 8), (), DATA),
    Series("step", "classes", CLASSES, (), {}),
    Series("loss", "anchors", ANCHORS, (), {}),
    Series("loss", "classes", CLASSES, (), {"anchors": 1917}),
    Series("ranks", "ranks", (1, 2, 4), (), {}),
    Series("detect", "anchors", ANCHORS, (500, 1917), {"classes": 80}),
    Series("detect", "classes", CLASSES, (), {"anchors": 1917}),
    Series("evaluate", "images", IMAGES, QUICK_IMAGES[::2], {**DATA, "each": 10}),
    Series("evaluate", "boxes", BOXES, (), {**DATA, "each": 100}),
    Series("evaluate", "classes", CLASSES, (), {**DATA, "images": 4000, "each": 10}),
    Series("gather", "ranks", (1, 2, 4, 8), (1, 2), {"images": 5000, "each": 100}),
)


class Rig:
    """Runs tasks, and keeps the data that several of them take.

    Args:
        folder: An empty folder.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def run(self, series: Series, size: int) -> dict[str, dict[str, float]]:
        """Measure one size; returns processor seconds and MiB by stage."""
        given = {**series.fixed, series.axis: size}
        if series.task == "ranks":
            return _ranks(size)
        if series.task in ("convert", "first_batch", "evaluate"):
            given = self._with_data(series.task, given)
        return _start(series.task, given)

    def _with_data(self, task: str, given: dict[str, Any]) -> dict[str, Any]:
        """Put the folders of the data in place of what they are made of."""
        shape = tuple(int(given.pop(key)) for key in ("images", "boxes", "classes"))
        raw = self._folder / "raw-{}-{}-{}".format(*shape)
        if not raw.is_dir():
            write_raw(raw, *shape)
        if task == "convert":
            with tempfile.TemporaryDirectory(dir=self._folder) as out:
                return {"workers": 1, **given, "raw": str(raw), "out": f"{out}-converted"}
        data = self._folder / "set-{}-{}-{}".format(*shape)
        if not data.is_dir():
            _start("convert", {"raw": str(raw), "out": str(data), "workers": 1})
        if task == "evaluate":
            results = self._folder / "detections.json"
            write_detections(results, shape[0], int(given.pop("each")), shape[2])
            given |= {"detections": str(results), "output": str(self._folder / "evaluation")}
        if "anchors" in given:
            given["model"] = MODELS[given.pop("anchors")]
        if "processes" in given:
            given["workers"] = given.pop("processes")
        return {**given, "data": str(data)}


def _start(task: str, arguments: dict[str, Any]) -> dict[str, dict[str, float]]:
    command = [sys.executable, "-m", "benchmarks.growth", "--task", task]
    done = subprocess.run(
        [*command, "--arguments", json.dumps(arguments)],
        env={**os.environ, "GLOG_v": "3", "OMP_NUM_THREADS": "1"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        raise SystemExit(f"error: {task} {arguments} failed:\n{done.stderr[-2000:]}")
    stages: dict[str, dict[str, float]] = json.loads(done.stdout.splitlines()[-1])
    return stages


def _ranks(ranks: int) -> dict[str, dict[str, float]]:
    from benchmarks.scaling import run_ranks

    options = argparse.Namespace(model="ssd_tiny", batch=8, steps=5)
    return {"step, of a rank": {"processor_s": run_ranks(ranks, options)["processor"]}}


def exponent(sizes: Sequence[float], values: Sequence[float]) -> float:
    """Return the slope of log(value) over log(size) through the three largest sizes.

    Args:
        sizes: Rising.
        values: Above 0.

    >>> round(exponent([1, 10, 100, 1000], [5, 5, 50, 500]), 3)
    1.0
    """
    points = [
        (math.log(size), math.log(max(value, 1e-9)))
        for size, value in zip(sizes, values, strict=True)
    ][-3:]
    mean_x, mean_y = (sum(axis) / len(points) for axis in zip(*points, strict=True))
    spread = sum((x - mean_x) ** 2 for x, _ in points)
    return sum((x - mean_x) * (y - mean_y) for x, y in points) / spread


def measure(rig: Rig, series: Series, sizes: Sizes, repeats: int) -> Iterator[dict[str, Any]]:
    """Measure a series; yields a row for each stage and size."""
    for size in sizes:
        runs = [rig.run(series, size) for _ in range(repeats)]
        for stage, first in runs[0].items():
            figures = {key: median([run[stage][key] for run in runs]) for key in first}
            yield {"stage": stage, "axis": series.axis, "size": size, **figures}


def judge(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return a line for each stage and axis: its ends, exponents, and whether one is too steep."""
    groups: dict[tuple[str, str], list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        groups[row["stage"], row["axis"]].append(row)
    lines = []
    for (stage, axis), group in groups.items():
        sizes = [row["size"] for row in group]
        line: dict[str, Any] = {"stage": stage, "axis": axis, "sizes": sizes}
        steep = []
        for key in ("processor_s", "memory_mib"):
            values = [row[key] for row in group if key in row]
            if not values:
                continue
            flat = key == "memory_mib" and max(values) - min(values) < FLAT_MIB
            slope = 0.0 if flat else exponent(sizes, values)
            line |= {f"{key}_first": values[0], f"{key}_last": values[-1]}
            line[f"{key}_exponent"] = slope
            if slope > STEEPEST:
                steep.append(key)
        lines.append({**line, "steeper_than_linear": steep})
    return lines


@clear_errors()
def main() -> None:
    """Run the benchmark, or one of its tasks."""
    options = parser(str(__doc__).splitlines()[0])
    options.add_argument("--only", default="", help="series whose task or axis is this")
    options.add_argument(
        "--repeats", type=at_least(1), default=1, help="runs of each; the median (1)"
    )
    for hidden in ("task", "arguments"):
        options.add_argument(f"--{hidden}", help="(for its own processes)")
    chosen = options.parse_args()
    if chosen.task:
        growth_tasks.main(chosen.task, json.loads(chosen.arguments))
        return
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(prefix="growth-benchmark-") as folder:
        rig = Rig(Path(folder))
        for series in SERIES:
            if chosen.only in ("", series.task, series.axis):
                sizes = series.quick if chosen.quick else series.sizes  # some have no quick ones
                for row in measure(rig, series, sizes, chosen.repeats):
                    rows.append(row)
                    print(json.dumps({"name": "growth", **row}), flush=True)
    lines = judge(rows)
    print_lines(lines)
    steepest = max((line["processor_s_exponent"] for line in lines), default=0.0)
    Result(
        "growth",
        1 / max(steepest, 0.1),
        1.0,
        {"unit": "1 / the steepest exponent of time; linear is 1", "growth": lines},
    ).print()


def print_lines(lines: Sequence[dict[str, Any]]) -> None:
    """Print the table."""
    print_table(
        "Growth: exponents of processor seconds and memory; 0 is flat, 1 linear",
        ["", "grows", "from", "to", "s", "s", "exponent", "MiB", "MiB", "exponent", ""],
        [
            [
                line["stage"], line["axis"], line["sizes"][0], line["sizes"][-1],
                *(line.get(f"{key}_{what}", "") for key in ("processor_s", "memory_mib")
                  for what in ("first", "last", "exponent")),
                "STEEP" if line["steeper_than_linear"] else "",
            ]
            for line in lines
        ],
    )  # fmt: skip


if __name__ == "__main__":
    main()
