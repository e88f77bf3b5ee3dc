"""The process before anything is built: environment, device, threads and seeds.

Nothing here knows of data, models or other ranks. `prepare_environment` must run before MindSpore
is imported for the first time; commands call it first.
"""

from __future__ import annotations

import contextlib
import functools
import io
import os
import platform
import sys
import tempfile
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from data_tools.core.errors import SettingError
from data_tools.images.decode import one_thread_per_call
from training.process.ascend_checks import first_obstacle
from training.process.ascend_host import look_at_host, simulated, versions_of_host
from training.process.settings import RuntimeSettings

ISA_VARIABLE = "ONEDNN_MAX_CPU_ISA"
CACHE_WARNING = (
    "never tried on Ascend, and on CPU a cached graph trains with wrong weights: compare the first "
    "losses with those of a run without it."
)


@dataclass(frozen=True)
class Environment:
    """What `prepare_environment` found and did, for the log."""

    notes: tuple[str, ...]


@functools.cache
def prepare_environment() -> Environment:
    """Set the environment variables that MindSpore reads while it is imported.

    The bundled oneDNN takes a reference kernel for convolutions on AVX-512 machines unless it is
    held to AVX2: a training step is then about ten times slower. A value that the user has set
    stays.

    Returns:
        Notes that say what was set, one a line.
    """
    notes = []
    late = "mindspore" in sys.modules
    if ISA_VARIABLE in os.environ:
        notes.append(f"{ISA_VARIABLE}={os.environ[ISA_VARIABLE]} (from the environment)")
    elif platform.machine() in ("x86_64", "AMD64"):
        os.environ[ISA_VARIABLE] = "AVX2"
        when = ", too late: MindSpore is already imported" if late else ""
        notes.append(f"{ISA_VARIABLE}=AVX2 (set by us: fast convolutions on AVX-512{when})")
    os.environ.setdefault("GLOG_v", "3")
    os.environ.setdefault("MS_NODE_TIMEOUT", "20")
    # A graph that does not compile leaves `rank_0/om/` behind, by default in the user's folder.
    os.environ.setdefault("MS_OM_PATH", str(Path(tempfile.gettempdir()) / "mindspore-debris"))
    return Environment(tuple(notes))


def start_device(runtime: RuntimeSettings, setting: str = "runtime.device") -> None:
    """Choose the device and set threads; on CPU also run the first operation of the process.

    On a card no operation may run before the ranks have joined (`world.start_world`). A second call
    in a process chooses nothing anew.

    Args:
        runtime: The runtime settings.
        setting: What the command calls the device, for messages.

    Raises:
        SettingError: If this machine has no such device, or it cannot be used; it says why.
    """
    import mindspore as ms

    if runtime.device == "Ascend" and not simulated():
        obstacle = first_obstacle(look_at_host(), device_index())
        if obstacle is not None:
            raise SettingError(
                f"{setting}='Ascend': {obstacle}. All that is missing: python -m "
                f"training.report --ascend; the steps: docs/ascend.md. Or set {setting}=CPU."
            )
    set_device(runtime.device, device_index() if runtime.device == "Ascend" else 0, setting)
    if runtime.device == "Ascend":
        if runtime.deterministic:
            use_deterministic_kernels()
        if runtime.precision == "fp32":
            compute_in_float32()
    if runtime.threads is not None:
        ms.set_context(runtime_num_threads=runtime.threads)
    if runtime.compile_cache is not None:
        ms.set_context(enable_compile_cache=True, compile_cache_path=runtime.compile_cache)
        print(f"runtime.compile_cache={runtime.compile_cache}: {CACHE_WARNING}", file=sys.stderr)

    one_thread_per_call()
    if runtime.device == "CPU":
        _first_operation()


@functools.cache
def use_deterministic_kernels() -> None:
    """Choose reproducible kernels and all-reduces on a card, which are slower; once in a process,
    since MindSpore refuses a second time.
    """
    import mindspore as ms

    try:
        ms.set_deterministic(True)
    except RuntimeError as error:
        if "repeatedly" not in str(error):  # a notebook may have done so itself
            raise


@functools.cache
def compute_in_float32() -> None:
    """Let float32 mean float32 on a card: CANN rounds in convolutions to 19 bits (HF32)."""
    import mindspore as ms

    precision = ms.device_context.ascend.op_precision
    precision.conv_allow_hf32(False)
    precision.matmul_allow_hf32(False)


def set_device(name: str, index: int, setting: str = "runtime.device") -> None:
    """Hand the device to MindSpore: the one point where Ascend and CPU part ways.

    Args:
        name: `CPU` or `Ascend`.
        index: Which card of this machine; ignored on CPU.
        setting: What the command calls the device, for messages.

    Raises:
        SettingError: If MindSpore cannot use the device here.
    """
    import mindspore as ms

    try:
        if name == "CPU":
            ms.set_device("CPU")
        else:
            ms.set_device(name, index)
    except (RuntimeError, ValueError) as error:
        # In a notebook MindSpore may be at work already; that is fine on the very device we want.
        if "has been initialized" in str(error) and ms.get_context("device_target") == name:
            return
        # Ranks that have joined are numbered as devices, also on CPU, which has but one.
        joined = "can not be modified" in str(error) and ms.get_current_device()
        if joined and joined.device_target == name == "CPU":
            return
        first = str(error).strip().splitlines()[0] if str(error).strip() else repr(error)
        raise SettingError(
            f"{setting}={name!r}: MindSpore cannot use it on this machine ({first}). "
            f"Install the driver and CANN (docs/ascend.md), or set {setting}=CPU."
        ) from error


def device_index() -> int:
    """Return the card this process uses: `DEVICE_ID` as launchers set it, else 0.

    Raises:
        SettingError: If it is no number.
    """
    number = os.environ.get("DEVICE_ID", "0")
    if not (number.isascii() and number.isdigit()):
        raise SettingError(f"DEVICE_ID={number!r}: expected the number of a card, 0, 1, ...")
    return int(number)


def set_seed(seed: int) -> None:
    """Seed MindSpore and NumPy, so that first weights are the same on every rank."""
    import mindspore as ms

    ms.set_seed(seed)


def versions() -> dict[str, str]:
    """Return the versions that decide what a run computes, those of an Ascend host among them."""
    versions_of = {"python": platform.python_version()}
    for name in (
        "mindspore",
        "numpy",
        "numba",
        "opencv-python-headless",
        "hydra-core",
        "pycocotools",
    ):
        try:
            versions_of[name] = version(name)
        except PackageNotFoundError:
            versions_of[name] = "not installed"
    return versions_of | versions_of_host()


def _first_operation() -> Any:
    # With NumPy 2 the first eager operation of a process raises and every later one works. It has
    # to happen before communication starts, or a rank forgets to sign off from the scheduler.
    import mindspore as ms

    with contextlib.redirect_stderr(io.StringIO()):
        try:
            return ms.Tensor([1.0], ms.float32) * 2.0
        except (SystemError, ImportError):
            return None
