"""The benchmark of growth: what counts as worse than linear, its data, and a run of it."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.growth import SERIES, exponent, judge
from benchmarks.growth_data import write_detections, write_raw
from benchmarks.growth_tasks import TASKS
from benchmarks.usage import Usage


def rows(times: list[float], memory: list[float]) -> list[dict[str, float | str]]:
    sizes = (10, 100, 1000, 10_000)
    return [
        {"stage": "x", "axis": "images", "size": n, "processor_s": s, "memory_mib": m}
        for n, s, m in zip(sizes, times, memory, strict=True)
    ]


@pytest.mark.parametrize(
    ("power", "steep"), [(0.0, []), (1.0, []), (1.3, ["processor_s"]), (2.0, ["processor_s"])]
)
def test_what_is_steeper_than_linear(power: float, steep: list[str]) -> None:
    times = [1e-4 * n**power for n in (10, 100, 1000, 10_000)]
    (line,) = judge(rows(times, [5.0, 5.5, 5.0, 6.0]))
    assert line["processor_s_exponent"] == pytest.approx(power)
    assert line["memory_mib_exponent"] == 0 and line["steeper_than_linear"] == steep


def test_memory_is_judged_as_time_is() -> None:
    (line,) = judge(rows([1.0] * 4, [1, 10, 1000, 100_000]))
    assert line["steeper_than_linear"] == ["memory_mib"]


def test_a_fixed_cost_does_not_hide_what_grows_at_the_end() -> None:
    assert exponent((1, 10, 100, 1000), (50, 50, 500, 50_000)) > 1.4


def test_every_series_rises_and_has_a_task() -> None:
    for series in SERIES:
        assert series.task in {*TASKS, "ranks"}
        for sizes in (series.sizes, series.quick):
            assert list(sizes) == sorted(set(sizes))


def test_no_two_pictures_are_equal(tmp_path: Path) -> None:
    write_raw(tmp_path, 30, 3, 4)
    files = sorted((tmp_path / "images").iterdir())
    assert len({hashlib.sha256(file.read_bytes()).hexdigest() for file in files}) == 30
    content = json.loads((tmp_path / "annotations.json").read_text())
    assert len(content["annotations"]) == 90 and len(content["categories"]) == 4
    write_detections(tmp_path / "found.json", 30, 5, 4)
    assert len(json.loads((tmp_path / "found.json").read_text())) == 150


def test_memory_that_was_given_back_counts() -> None:
    with Usage() as usage:
        block = bytearray(os.urandom(1)) * (64 << 20)
        del block
    assert 55 < usage.memory_mib < 120


@pytest.mark.slow
@pytest.mark.several_processes
def test_a_run_ends_with_the_line_of_all_benchmarks(repository: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.growth", "--quick", "--only", "gather"],
        capture_output=True, text=True, check=True, cwd=repository,
    )  # fmt: skip
    first, last = (json.loads(done.stdout.splitlines()[k]) for k in (0, -1))
    assert first["stage"] == "evaluation, joining" and first["size"] == 1
    assert {"name", "ours", "reference", "ratio", "machine"} <= set(last)
    assert last["growth"][0]["sizes"] == [1, 2]
