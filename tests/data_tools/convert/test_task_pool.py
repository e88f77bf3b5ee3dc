"""The processes that convert shards: they start before there is a plan, and never outlive the
work.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from data_tools.command import run
from data_tools.convert.task_pool import ShardWorkers
from data_tools.core.errors import DataError
from tests.helpers.raw_sets import coco_settings, tree_bytes, write_plain_coco

pytestmark = pytest.mark.several_processes


def test_workers_that_nobody_needs_end(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no plan"), ShardWorkers(2) as workers:
        workers.start()
        assert len(multiprocessing.active_children()) == 2
        raise DataError("no plan")
    assert not multiprocessing.active_children()


@pytest.mark.parametrize("shards", [1, 3])
def test_none_is_left_after_the_work(tmp_path: Path, shards: int) -> None:
    write_plain_coco(tmp_path, 6)
    for workers in (1, 2):
        out = tmp_path / f"out{workers}"
        settings = coco_settings(tmp_path, out, shards=shards, workers=workers)
        assert run(settings) == 0
        assert not multiprocessing.active_children()
    assert tree_bytes(tmp_path / "out1") == tree_bytes(tmp_path / "out2")


def test_a_source_that_cannot_be_read_leaves_none(tmp_path: Path) -> None:
    write_plain_coco(tmp_path, 6)
    (tmp_path / "train.json").write_text("no JSON")
    with pytest.raises(DataError):
        run(coco_settings(tmp_path, tmp_path / "out", shards=2, workers=2))
    assert not multiprocessing.active_children()


def test_ctrl_c_while_they_start(repository: Path, tmp_path: Path) -> None:
    script = (
        "import time\n"
        "from data_tools.convert.task_pool import ShardWorkers\n"
        "if __name__ == '__main__':\n"
        "    with ShardWorkers(2) as workers:\n"
        "        workers.start()\n"
        "        print('started', flush=True)\n"
        "        time.sleep(60)\n"
    )
    (tmp_path / "start.py").write_text(script)
    process = subprocess.Popen(
        [sys.executable, str(tmp_path / "start.py")],
        env={**os.environ, "PYTHONPATH": str(repository)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None and process.stdout.readline() == "started\n"
    time.sleep(0.05)  # the workers are importing
    os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode != 0
    assert errors.count("Traceback") == 1, f"workers answered too:\n{errors}"
