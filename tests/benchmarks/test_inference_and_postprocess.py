"""Both benchmarks run, end in JSON, and what they compare agrees."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest


def result_of(repository: Path, name: str) -> dict[str, Any]:
    """Run a benchmark in its quick form and return the last line."""
    done = subprocess.run(
        [sys.executable, "-m", f"benchmarks.{name}", "--quick"],
        cwd=repository, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    line: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    assert line["name"] == name
    return line


@pytest.mark.slow
def test_post_processing_is_faster_than_the_loop_and_finds_the_same(repository: Path) -> None:
    line = result_of(repository, "postprocess")
    assert len(line["cases"]) == 4 and all(
        case["same_detections"] for case in line["cases"].values()
    )
    assert line["ap"]["same_digits"]
    assert line["ratio"] > 10  # far above on an idle machine; busy ones stagger


@pytest.mark.slow
def test_engines_side_by_side(repository: Path) -> None:
    line = result_of(repository, "inference")
    expected = {"mindspore", "mindir", "onnxruntime", "checkpoint", "files"}
    assert set(line["engines"]) - {"openvino"} == expected
    for found in line["engines"].values():
        assert all(f["latency_ms"] > 0 and f["images_per_s"] > 0 for f in found.values())
