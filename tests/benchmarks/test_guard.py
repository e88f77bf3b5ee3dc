"""The guard against slowness: what it takes for a fall, and what it does then."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks import guard


def told(ratio: float) -> str:
    return f"a table\n{json.dumps({'name': 'x', 'ours': 1.0, 'reference': 2.0, 'ratio': ratio})}\n"


def test_the_median_of_the_runs_counts() -> None:
    ratios = iter([0.2, 3.0, 2.0])
    assert guard.measure("convert", 3, lambda name: told(next(ratios)))["ratio"] == 2.0


def test_a_fall_within_the_margin_is_none() -> None:
    known: dict[str, dict[str, Any]] = {"convert": {"ratio": 2.0}, "scaling": {"ratio": 1.0}}
    rows, fallen = guard.compare({"convert": {"ratio": 1.51}, "scaling": {"ratio": 3.0}}, known)
    assert [row[0] for row in rows] == ["convert", "scaling"] and not fallen
    _, fallen = guard.compare({"convert": {"ratio": 1.49}}, known)
    assert fallen == ["convert"]
    for ratio in (float("nan"), 0.0):
        assert guard.compare({"convert": {"ratio": ratio}}, known)[1] == ["convert"]
    assert guard.compare({"pipeline": {"ratio": 1.0}}, known)[1] == ["pipeline"]


def test_it_fails_and_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(guard, "BASELINE", tmp_path / "baseline.json")
    ratio = 2.0
    monkeypatch.setattr(guard, "start", lambda name: told(ratio))
    with pytest.raises(SystemExit, match="--update writes it"):
        guard.main(["convert", "--runs", "1"])
    assert guard.main(["convert", "--runs", "1", "--update"]) == 0
    assert guard.main(["convert", "--runs", "1"]) == 0
    ratio = 1.0
    assert guard.main(["convert", "--runs", "1"]) == 1
    assert "benchmarks.guard convert --update" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        guard.main(["nosuch"])


def test_every_benchmark_of_the_guard_is_one_and_has_a_baseline(repository: Path) -> None:
    known = json.loads((repository / "benchmarks" / "baseline.json").read_text())
    assert set(known) == set(guard.NAMES)
    for name in guard.NAMES:
        assert (repository / "benchmarks" / f"{name}.py").is_file()
        assert known[name]["ratio"] > 0


def test_a_benchmark_that_fails_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SystemExit, match=r"benchmarks\.nosuch"):
        guard.start("nosuch")
