"""The library of jumps: what a process leaves that is killed."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from training.nets.fused.library import Library, is_known

HOLD = """
from training.nets.fused.library import Library
import time
held = Library({"nothing": (0, 0)})
print(held.folder.name, flush=True)
time.sleep(600)
"""


@pytest.mark.skipif(not is_known(), reason="no jumps are known for this system")
def test_folders_of_killed_processes_are_removed_and_those_in_use_are_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    first, second = (
        subprocess.Popen([sys.executable, "-c", HOLD], stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    )
    try:
        assert first.stdout
        assert second.stdout
        killed = Path(first.stdout.readline().strip())
        kept = Path(second.stdout.readline().strip())
        first.send_signal(signal.SIGKILL)
        first.wait()
        assert sorted(tmp_path.iterdir()) == sorted([killed, kept])
        own = Library({"nothing": (0, 0)})
        assert sorted(tmp_path.iterdir()) == sorted([kept, Path(own.folder.name)])
        assert own.loaded.nothing
    finally:
        for process in (first, second):
            process.kill()
            process.communicate()
    own.folder.cleanup()
    assert not Path(own.folder.name).exists()
