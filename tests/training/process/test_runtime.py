"""The process before anything is built: variables, the device seam, oneDNN's fast path."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from data_tools.core.errors import SettingError
from training.process import runtime
from training.process.ascend_host import AscendHost
from training.process.settings import RuntimeSettings

SHOW = (
    "import json, os; from training.process.runtime import prepare_environment; e = "
    "prepare_environment();print(json.dumps([os.environ['ONEDNN_MAX_CPU_ISA'], "
    "os.environ['GLOG_v'], list(e.notes)]))"
)


def in_new_process(code: str, **variables: str) -> str:
    kept = {k: v for k, v in os.environ.items() if k not in ("ONEDNN_MAX_CPU_ISA", "GLOG_v")}
    root = Path(__file__).resolve().parents[3]
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=root, env={**kept, **variables},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    return done.stdout


def test_the_fast_path_is_chosen_unless_the_user_chose() -> None:
    ours = in_new_process(SHOW)
    assert '["AVX2", "3", ["ONEDNN_MAX_CPU_ISA=AVX2 (set by us' in ours
    assert "mindspore" not in in_new_process(
        "import sys; from training.process.runtime import prepare_environment; "
        "prepare_environment();print([m for m in sys.modules if m.startswith('mindspore')])"
    )
    theirs = in_new_process(SHOW, ONEDNN_MAX_CPU_ISA="AVX512_CORE", GLOG_v="1")
    assert (
        '["AVX512_CORE", "1", ["ONEDNN_MAX_CPU_ISA=AVX512_CORE (from the environment)"]]' in theirs
    )


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """What MindSpore is told, in order; a machine with a card is pretended."""
    import mindspore as ms

    told: list[object] = []
    monkeypatch.setenv("MS_SIMULATION_LEVEL", "1")
    runtime.use_deterministic_kernels.cache_clear()  # as in a process that has set nothing yet
    runtime.compute_in_float32.cache_clear()
    monkeypatch.setattr(ms, "set_device", lambda *words: told.append(words))
    monkeypatch.setattr(ms, "Tensor", lambda *_: told.append("operation") or 1.0)
    monkeypatch.setattr(ms, "set_deterministic", lambda flag: told.append(("deterministic", flag)))
    monkeypatch.setattr(ms, "set_context", lambda **keys: told.append(keys))
    precision = ms.device_context.ascend.op_precision
    for name in ("conv_allow_hf32", "matmul_allow_hf32"):
        monkeypatch.setattr(precision, name, lambda flag, name=name: told.append((name, flag)))
    return told


def test_ascend_takes_the_same_road_up_to_the_device_call(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], calls: list[object]
) -> None:
    monkeypatch.setenv("DEVICE_ID", "5")
    runtime.start_device(
        RuntimeSettings(device="Ascend", precision="bf16", compile_cache="cache", threads=3)
    )
    # No operation: on a card none may run before the ranks have joined.
    assert calls == [
        ("Ascend", 5),
        ("deterministic", True),
        {"runtime_num_threads": 3},
        {"enable_compile_cache": True, "compile_cache_path": "cache"},
    ]
    told = capsys.readouterr().err
    assert told.startswith("runtime.compile_cache=cache: never tried on Ascend")
    assert told.count("\n") == 1


@pytest.mark.parametrize("number", ["first", "", "-1", "1.5"])
def test_a_card_that_is_no_number_is_named(
    monkeypatch: pytest.MonkeyPatch, calls: list[object], number: str
) -> None:
    monkeypatch.setenv("DEVICE_ID", number)
    with pytest.raises(SettingError, match=f"DEVICE_ID='{number}'"):
        runtime.start_device(RuntimeSettings(device="Ascend"))
    assert calls == []


def test_a_device_that_is_not_there_has_the_name_of_the_commands_setting() -> None:
    for words, name in (((), "runtime.device"), (("device",), "device")):
        with pytest.raises(SettingError) as caught:
            runtime.start_device(RuntimeSettings(device="Ascend"), *words)
        assert str(caught.value).startswith(f"{name}='Ascend': ")
        assert str(caught.value).endswith(f" set {name}=CPU.")


def test_float32_means_float32_and_is_said_once(calls: list[object]) -> None:
    for _ in range(2):
        runtime.start_device(RuntimeSettings(device="Ascend"))
    exact = [("conv_allow_hf32", False), ("matmul_allow_hf32", False)]
    assert calls == [("Ascend", 0), ("deterministic", True), *exact, ("Ascend", 0)]
    runtime.start_device(RuntimeSettings())
    assert calls[-2:] == [("CPU",), "operation"]


def test_what_a_notebook_has_said_before_is_no_error(
    monkeypatch: pytest.MonkeyPatch, calls: list[object]
) -> None:
    import mindspore as ms

    def refuse(flag: bool) -> None:
        raise RuntimeError("set_deterministic can not be set repeatedly.")

    monkeypatch.setattr(ms, "set_deterministic", refuse)
    runtime.start_device(RuntimeSettings(device="Ascend", precision="fp16"))
    assert calls == [("Ascend", 0)]


def test_a_machine_without_a_card_is_a_clear_error_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MS_SIMULATION_LEVEL", raising=False)
    monkeypatch.setattr(runtime, "look_at_host", AscendHost)
    with pytest.raises(
        SettingError, match=r"runtime\.device='Ascend': device files: none.*report --ascend"
    ):
        runtime.start_device(RuntimeSettings(device="Ascend", precision="fp16"))


def test_cores_are_those_that_the_process_is_bound_to() -> None:
    count = "from data_tools.core.cores import core_count; print(core_count())"
    bound = "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))});"
    assert in_new_process(bound + count).strip() == "1"


def test_a_device_that_is_not_there_is_a_clear_error(monkeypatch: pytest.MonkeyPatch) -> None:
    import mindspore as ms

    def refuse(*_: object) -> None:
        raise RuntimeError("Unsupported device target Ascend.\nC++ call stack")

    monkeypatch.setattr(ms, "set_device", refuse)
    with pytest.raises(SettingError, match=r"runtime\.device='Ascend'.*Unsupported device target"):
        runtime.set_device("Ascend", 0)


@pytest.mark.slow
def test_convolutions_are_not_on_the_reference_path() -> None:
    flags = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").is_file() else ""
    if "avx512f" not in flags:
        pytest.skip("not an AVX-512 machine: oneDNN has no slow path to fall into")
    code = (
        "from training.process.runtime import prepare_environment; prepare_environment()\n"
        "import mindspore as ms, numpy as np\n"
        "from mindspore import nn\n"
        "ms.set_device('CPU')\n"
        "x = ms.Tensor(np.ones((2, 3, 64, 64), np.float32))\n"
        "print(nn.Conv2d(3, 8, 3, 2, pad_mode='same')(x).asnumpy().sum())\n"
    )
    trace = in_new_process(code, ONEDNN_VERBOSE="1")
    lines = [line for line in trace.splitlines() if "exec,cpu,convolution" in line]
    assert lines
    assert not [line for line in lines if "ref" in line.split(",")[5:7][0]]


def test_the_report_names_versions_device_and_settings() -> None:
    text = in_new_process(
        "import sys; sys.argv = ['report', 'model=ssd_tiny'];"
        "from training.commands.report import main; main()"
    )
    for part in ("mindspore  2.", "numpy  1.", "as it should", "name: ssd_tiny", "set by us"):
        assert part in text
