"""Most Ascend hosts are aarch64: every pinned package must be there for them too."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

# Wheels of these tags run on every system whose C library is of 2018 or later.
PLATFORMS = [
    "manylinux_2_28_aarch64",
    "manylinux_2_27_aarch64",
    "manylinux_2_17_aarch64",
    "manylinux2014_aarch64",
    "linux_aarch64",
]
# Pure Python, and published as source only.
SOURCE_ONLY = ("antlr4-python3-runtime",)


def pip(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=800)


def would_install(target: Path, *requirements: str) -> subprocess.CompletedProcess[str]:
    platforms = [word for platform in PLATFORMS for word in ("--platform", platform)]
    return pip(
        "install", "--dry-run", "--ignore-installed", "--no-deps", "--target", str(target),
        *platforms, "--implementation", "cp", "--only-binary=:all:",
        f"--no-binary={','.join(SOURCE_ONLY)}", *requirements,
    )  # fmt: skip


@pytest.mark.slow
def test_every_pinned_package_has_a_wheel_for_aarch64(repository: Path, tmp_path: Path) -> None:
    if would_install(tmp_path, "tqdm").returncode != 0:
        pytest.skip("the package index is not reachable")
    lock = repository / "requirements.lock"
    done = would_install(tmp_path, "-r", str(lock))
    assert done.returncode == 0, done.stderr[-2000:]
    found = done.stdout.lower().replace("_", "-")
    for name in ("mindspore", "simplejpeg", "numba", "opencv-python-headless", "onnxruntime"):
        version = re.findall(rf"^{name}==([\w.]+)", lock.read_text(), re.MULTILINE)
        assert any(f"{name}-{v}" in found for v in version), name


@pytest.mark.slow
def test_a_package_without_such_a_wheel_is_noticed(tmp_path: Path) -> None:
    if would_install(tmp_path, "tqdm").returncode != 0:
        pytest.skip("the package index is not reachable")
    # Intel's own runtime: wheels for x86-64 and nothing else.
    assert would_install(tmp_path, "mkl==2024.2.0").returncode != 0
