"""Compiled functions: the results of plain Python, with and without a place to keep the code."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

from data_tools.core.compiled import compile_now, compiled

REPOSITORY = Path(__file__).resolve().parents[3]


def test_code_that_cannot_be_kept_is_compiled_all_the_same() -> None:
    names: dict[str, Any] = {}
    exec("def double(x):\n    return 2 * x\n", names)  # no file that Numba could keep code beside
    assert compiled()(names["double"])(21) == 42


def test_bits_are_those_of_separate_operations() -> None:
    names: dict[str, Any] = {}
    exec(
        "def fused(a, b, c):\n    for k in range(len(a)):\n        a[k] = a[k] * b[k] + c[k]\n",
        names,
    )
    rng = np.random.default_rng(0)
    a, b, c = rng.normal(size=(3, 1000))
    expected = a * b + c
    compiled()(names["fused"])(a, b, c)
    assert np.array_equal(a, expected)


def test_a_failure_is_tried_once_more_without_the_disk() -> None:
    class Kept:
        disabled = False

        class _cache:
            @staticmethod
            def disable() -> None:
                Kept.disabled = True

    calls = []

    def try_out() -> None:
        calls.append(Kept.disabled)
        if not Kept.disabled:
            raise EOFError("damaged")

    compile_now(try_out, [Kept])
    assert calls == [False, True]


def run_nms(cache: Path) -> None:
    """Suppress in a process of its own, its code kept in `cache`."""
    program = (
        "import numpy as np\nfrom training.boxes.nms import kernels, nms\n"
        "kernels()\n"
        "print(nms(np.array([[0, 0, 9, 9], [0, 0, 9, 8], [20, 0, 29, 9.]]), np.zeros(3, int), 0.5))"
    )
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(cache)}
    ended = subprocess.run(
        [sys.executable, "-c", program],
        env=environment, cwd=REPOSITORY, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (ended.returncode, ended.stdout) == (0, "[0 2]\n"), ended.stderr


def test_kept_code_that_is_damaged_is_compiled_again(tmp_path: Path) -> None:
    run_nms(tmp_path)
    kept = [path for path in tmp_path.rglob("*") if path.suffix in (".nbi", ".nbc")]
    assert len(kept) >= 4
    for path in kept:
        path.write_bytes(path.read_bytes()[:40])
    run_nms(tmp_path)
