"""The pipeline's benchmark runs as the contract says: a table, a conclusion, and one JSON line at
the end.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks.common import Result, print_table, rounded
from benchmarks.photographs import photograph, samples


def test_the_last_line_is_json(capsys: pytest.CaptureFixture[str]) -> None:
    Result("x", 30.0, 20.0, {"list": [1.23456, 2], "unit": "images/s"}).print()
    line = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (line["name"], line["ours"], line["reference"], line["ratio"]) == ("x", 30, 20, 1.5)
    assert line["list"] == [1.235, 2] and line["machine"]["cores"] >= 1


def test_tables_are_aligned(capsys: pytest.CaptureFixture[str]) -> None:
    print_table("Title", ["what", "n"], [["a", 1.0], ["longer", 12345.6]])
    lines = capsys.readouterr().out.splitlines()
    assert lines[1:] == [
        "Title",
        "what         n",
        "------  ------",
        "a            1",
        "longer  12,346",
    ]


def test_rounding_goes_into_lists_and_dicts() -> None:
    assert rounded({"a": [0.123456, (1, 2.0)]}) == {"a": [0.1235, [1, 2.0]]}


def test_photographs_are_as_heavy_as_cocos() -> None:
    made = list(samples(7))
    assert 90_000 < np.mean([len(sample.read_bytes()) for sample in made]) < 220_000
    assert all((s.boxes_yxyx_px[:, 2:] > s.boxes_yxyx_px[:, :2]).all() for s in made)
    again = photograph(np.random.default_rng(1), 40, 50)
    np.testing.assert_array_equal(again, photograph(np.random.default_rng(1), 40, 50))


@pytest.mark.slow
def test_it_runs(repository: Path) -> None:
    command = [sys.executable, "-m", "benchmarks.pipeline", "--quick", "--explain"]
    done = subprocess.run(
        command, cwd=repository, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    *table, last = done.stdout.splitlines()
    result = json.loads(last)
    assert result["name"] == "pipeline" and result["ratio"] > 0.1 and result["ratio_400"] > 0.1
    assert all(entry["same"] for entry in result["matching"].values())
    assert set(result["stage_ms"]) == {"read", "choose", "decode", "render", "encode"}
    mixing = result["mixing_ms"]
    assert set(mixing) == {"none", "mosaic", "copy_paste", "affine", "mixup", "erase"}
    assert mixing["mosaic"] > mixing["none"] > 0  # four images are decoded in place of one
    assert any("Conclusion:" in line for line in table)
