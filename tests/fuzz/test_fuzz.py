"""A short and a longer run of the fuzzer, the same cases every time.

More of them, with other seeds: `python tests/fuzz/fuzz_run.py --help`.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.fuzz.fuzz_cases import HEAVY
from tests.fuzz.fuzz_run import REPOSITORY, run_case


def fuzz(*options: str, timeout: float) -> str:
    # In a process of its own: cases are forks, and this one may have threads and a compiled graph.
    done = subprocess.run(
        [sys.executable, str(REPOSITORY / "tests/fuzz/fuzz_run.py"), *options],
        capture_output=True,
        text=True,
        errors="backslashreplace",
        timeout=timeout,
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-3000:]
    return done.stdout


def test_damaged_input_ends_in_a_clear_error() -> None:
    told = fuzz("--seed", "1", "--cases", "12", timeout=300)
    assert int(told.splitlines()[-1].split()[0]) == 12


@pytest.mark.slow
def test_damaged_checkpoints_and_settings_end_in_a_clear_error() -> None:
    kinds = ",".join(kind for kind in HEAVY if kind not in ("hub", "picture"))
    told = fuzz(
        "--seed", "1", "--minutes", "0.4", "--real-every", "20", "--kinds", kinds, timeout=300
    )
    assert int(told.splitlines()[-1].split()[0]) >= 5


def test_the_judge_sees_what_is_wrong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tests.fuzz import cases_common, fuzz_run

    faults = {
        "traceback": "raise KeyError('x')",
        "ended by signal 6": "import os; os.abort()",
        "hangs": "import time; time.sleep(60)",
        "failed without a word": "raise SystemExit(1)",
        "written outside of out": "open('elsewhere', 'w').close()",
        "failed, but": "import os; os.mkdir('out'); open('out/done', 'w').close(); "
        "raise SystemExit('error: x')",
        "failed without an error": "raise SystemExit('oh')",
        "control characters": "raise SystemExit('error: \\x1b[1m')",
        "left in the temporary folder": "import tempfile; tempfile.mkstemp()",
        "exit code 3": "raise SystemExit(3)",
    }
    (tmp_path / "faulty.py").write_text(
        "import sys\ndef main():\n    exec(sys.argv[1])\n", encoding="utf-8"
    )
    monkeypatch.syspath_prepend(tmp_path)
    for k, (words, code) in enumerate([*faults.items(), ("", "pass")]):
        case = cases_common.Case("faulty:main", [code], words, complete=("done",), seconds=1.0)
        monkeypatch.setitem(fuzz_run.KINDS, "faulty", (lambda *_, case=case: case, 1))
        found = run_case("faulty", k, tmp_path, tmp_path / f"case-{k}").problems
        assert (words in str(found)) if words else not found, (words, found)
