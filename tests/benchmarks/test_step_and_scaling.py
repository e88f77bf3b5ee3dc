"""The step and scaling benchmarks: their arithmetic, and that they end in a line of JSON."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.scaling import model
from benchmarks.step_parts import parts_of
from benchmarks.step_trace import parse_trace

TRACE = """
onednn_verbose,v1,primitive,exec,cpu,convolution,jit:avx2,forward_training,a,b,c,mb8_ic3oc8,5.0
MARK begin
onednn_verbose,v1,primitive,exec,cpu,convolution,x64:gemm:jit,backward_data,a,b,c,mb8_ic3oc8,2.5
onednn_verbose,v1,primitive,exec,cpu,convolution,x64:gemm:jit,backward_data,a,b,c,mb8_ic3oc8,1.5
onednn_verbose,v1,primitive,exec,cpu,convolution,jit_dw:avx2,forward_training,a,b,c,mb8_g32ic32oc32,3.0
onednn_verbose,v1,primitive,create,cpu,convolution,jit:avx2,forward_training,a,b,c,mb8_ic3oc8,9.0
MARK end
onednn_verbose,v1,primitive,exec,cpu,eltwise,jit:avx2,forward_training,a,b,c,8x3,7.0
"""


def test_a_trace_is_summed_between_its_marks() -> None:
    rows, total = parse_trace(TRACE)
    assert total == 7.0
    assert rows == [
        ("convolution backward_data mb8_ic3oc8", "x64:gemm:jit", 2, 4.0),
        ("depthwise convolution forward_training mb8_g32ic32oc32", "jit_dw:avx2", 1, 3.0),
    ]


def test_the_parts_add_up_to_the_step() -> None:
    seconds = {"copy to device": 0.1, "forward": 1.0, "loss": 1.5, "backward": 4.0, "step": 4.3}
    parts = parts_of(seconds)
    whole = parts.pop("whole step")
    assert sum(parts.values()) == pytest.approx(whole) == 4.3
    assert parts["update"] == pytest.approx(0.2)
    assert parts_of({**seconds, "step": 3.0})["update"] == 0.0


def test_the_scaling_model_by_hand() -> None:
    assert model(2.0, 0.5, 1) == 2.0
    assert model(2.0, 0.5, 2) == 2.5
    assert model(2.0, 0.5, 64) == pytest.approx(2.0 + 0.5 * 2 * 63 / 64)


@pytest.mark.slow
@pytest.mark.several_processes
def test_the_step_benchmark_ends_in_json() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.step", "--quick", "--model", "ssd_tiny", "--batch", "2"],
        cwd=Path(__file__).resolve().parents[2], capture_output=True, text=True, check=True,
    )  # fmt: skip
    line = json.loads(done.stdout.splitlines()[-1])
    assert line["name"] == "step"
    parts = line["milliseconds"]
    assert parts["whole step"] > 0
    assert set(parts) >= {"data wait", "forward", "loss", "backward", "update", "all-reduce"}
    assert line["operators_milliseconds"] > 0


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("pipeline", ["--data", "/nope"], "error: data=/nope: there is no split 'train'"),
        ("pipeline", ["--workers", "-1"], "'-1': expected a whole number >= 0"),
        ("step", ["--batch", "0"], "'0': expected a whole number >= 1"),
        ("scaling", ["--steps", "9" * 5000], "expected a whole number >= 1"),
        ("inference", ["--classes", "٣"], "'٣': expected a whole number >= 1"),
        ("convert", ["--images", "x"], "'x': expected a whole number >= 0"),
    ],
)
def test_what_a_benchmark_is_wrongly_given_is_named(
    name: str,
    arguments: list[str],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("sys.argv", [name, *arguments])
    with pytest.raises(SystemExit) as caught:
        importlib.import_module(f"benchmarks.{name}").main()
    assert caught.value.code in (1, 2)
    told = capsys.readouterr().err
    assert message in told
    assert "Traceback" not in told
