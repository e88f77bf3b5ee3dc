"""A command in a fork of a warm process (`helpers/warm.py`) is what it is in one of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers.warm import run_warm

pytestmark = pytest.mark.slow

# Tells what a program can see of how it was started, and ends as its argument says.
PROGRAM = """
import atexit, json, multiprocessing, os, signal, sys, tempfile

def told(queue):
    queue.put(__name__)

def main():
    atexit.register(print, "said at the end")
    method = multiprocessing.get_context("spawn")
    queue = method.SimpleQueue()
    child = method.Process(target=told, args=(queue,))
    child.start()
    print(json.dumps({
        "arguments": sys.argv, "path": sys.path[0], "folder": os.getcwd(), "name": __name__,
        "file": globals().get("__file__"), "variables": dict(os.environ), "input": sys.stdin.read(),
        "terminals": [os.isatty(k) for k in range(3)], "temporary": tempfile.gettempdir(),
        "interrupted": signal.getsignal(signal.SIGINT) is signal.default_int_handler,
        "child": queue.get(), "open": sorted(os.listdir("/proc/self/fd"))[:3],
    }, indent=1, sort_keys=True))
    child.join()
    print("to the other one", file=sys.stderr)
    end = sys.argv[-1]
    if end == "text":
        raise SystemExit("error: so it is")
    if end.isdigit():
        raise SystemExit(int(end))
    if end == "raises":
        raise KeyError("none")
    if end == "killed":
        sys.stdout.flush()
        os.kill(os.getpid(), signal.SIGKILL)

if __name__ == "__main__":
    main()
"""


def both(
    *words: str, cwd: Path, **options: object
) -> tuple[subprocess.CompletedProcess[str], subprocess.CompletedProcess[str]]:
    env = {**os.environ, "SSD_DRY_PART": "new"}  # one that a warm process takes on late
    alone = subprocess.run(
        [sys.executable, *words], cwd=cwd, env=env, text=True, stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=options.get("stderr", subprocess.PIPE), timeout=60,
    )  # type: ignore[call-overload]  # fmt: skip
    return alone, run_warm(*words, cwd=cwd, env=env, **options)  # type: ignore[arg-type]


def own_lines(text: str) -> list[str]:
    """Lines but those of Python's resource tracker, which outlives a process that is killed."""
    return [line for line in text.splitlines() if "resource_tracker" not in line]


@pytest.mark.parametrize("end", ["", "0", "3", "text", "raises", "killed"])
@pytest.mark.parametrize("how", ["relative", "absolute", "module"])
def test_it_sees_and_ends_as_alone(tmp_path: Path, end: str, how: str) -> None:
    (tmp_path / "told.py").write_text(PROGRAM)
    start = {"relative": ["told.py"], "absolute": [str(tmp_path / "told.py")],
             "module": ["-m", "told"]}[how]  # fmt: skip
    alone, warm = both(*start, "a word", "ü", end, cwd=tmp_path)
    assert warm.returncode == alone.returncode
    assert alone.returncode == {"": 0, "3": 3, "text": 1, "raises": 1, "killed": -9}.get(end, 0)
    assert warm.stdout == alone.stdout
    assert '"variables"' in alone.stdout and '"SSD_DRY_PART": "new"' in alone.stdout
    assert warm.stderr.splitlines()[0] == alone.stderr.splitlines()[0] == "to the other one"
    # A traceback of a warm one begins in warm.py.
    assert own_lines(warm.stderr)[-1] == own_lines(alone.stderr)[-1]


def test_code_and_one_stream_for_both(tmp_path: Path) -> None:
    code = "import sys; print(sys.argv, __name__, flush=True); sys.exit('oh')"
    alone, warm = both("-c", code, "x", cwd=tmp_path, stderr=subprocess.STDOUT)
    assert (warm.returncode, warm.stdout) == (alone.returncode, alone.stdout)
    assert warm.stdout.endswith("__main__\noh\n")


def test_mindspore_is_there_and_nothing_was_done_with_it(tmp_path: Path) -> None:
    code = (
        "import os, sys; print('mindspore' in sys.modules, len(os.listdir('/proc/self/task')))\n"
        "from training.process.runtime import prepare_environment\n"
        "print(prepare_environment.cache_info().currsize)\n"
        "import mindspore as ms; ms.set_device('CPU'); print(ms.Tensor([1.0]) * 2)\n"
        "import numpy as np, random; print(np.random.random(), random.random())"
    )
    said = [run_warm("-c", code, cwd=Path(__file__).parents[1]).stdout for _ in range(2)]
    lines, again = (text.splitlines() for text in said)
    assert lines[:3] == ["True 1", "0", "[2.]"]
    for one, other in zip(lines[3].split(), again[3].split(), strict=True):
        assert one != other


def test_too_long_is_an_error_and_the_next_command_runs(tmp_path: Path) -> None:
    code = "import os, time; print(os.getpid(), flush=True); time.sleep(600)"
    with pytest.raises(subprocess.TimeoutExpired):
        run_warm("-c", code, cwd=tmp_path, timeout=1)
    assert run_warm("-c", "print(1)", cwd=tmp_path).stdout == "1\n"


def test_it_ends_with_the_process_that_started_it(repository: Path) -> None:
    code = (
        "import os, signal, sys\nfrom pathlib import Path\nfrom tests.helpers import warm\n"
        "warm.IMPORTED = ()\nprint(warm.run_warm('-c', 'import os; print(os.getppid())', "
        "cwd=Path.cwd()).stdout, flush=True)\nos.kill(os.getpid(), signal.SIGKILL)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=repository, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == -signal.SIGKILL
    server = Path(f"/proc/{int(done.stdout)}")
    for _ in range(100):
        if not server.exists():
            return
        signal.sigtimedwait([], 0.1)
    raise AssertionError("the warm process outlives its parent")
