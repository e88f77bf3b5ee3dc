"""`eval.py` under msrun: the same digits and the same detections on 1, 2 and 3 ranks."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers.checkpoints import write_checkpoint
from tests.helpers.eval_fixtures import shapes_split


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def evaluate(repository: Path, folder: Path, ranks: int) -> tuple[dict, str]:
    """Run `eval.py` on so many ranks and return its metrics and detections."""
    arguments = [
        str(repository / "eval.py"),
        f"checkpoint={folder / 'c.ckpt'}",
        f"data={folder / 'data'}",
        f"output={folder / f'out{ranks}'}",
        "evaluate.batch_size=2",
        "evaluate.score_floor=0.001",
    ]
    command = [sys.executable, *arguments]
    # msrun starts the `python` that stands first on the path.
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    if ranks > 1:
        msrun = shutil.which("msrun", path=path)
        assert msrun is not None
        command = [
            msrun,
            f"--worker_num={ranks}",
            f"--local_worker_num={ranks}",
            f"--master_port={free_port()}",
            "--join=True",
            f"--log_dir={folder / f'log{ranks}'}",
            *arguments,
        ]
    done = subprocess.run(
        command,
        cwd=repository,
        env={**os.environ, "PATH": path, "MS_NODE_TIMEOUT": "20"},
        capture_output=True,
        text=True,
        timeout=400,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    out = folder / f"out{ranks}"
    metrics = json.loads((out / "metrics.json").read_text())
    return metrics, (out / "detections.json").read_text()


@pytest.mark.slow
@pytest.mark.several_processes
def test_the_same_digits_on_one_two_and_three_ranks(repository: Path, tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "c.ckpt")
    shapes_split(tmp_path / "data", count=7)
    alone, detections = evaluate(repository, tmp_path, 1)
    assert alone["coco"]["num_images"] == 7 and len(json.loads(detections)) > 7
    for ranks in (2, 3):
        metrics, found = evaluate(repository, tmp_path, ranks)
        assert found == detections
        for protocol in ("coco", "published", "voc", "per_class"):
            assert metrics[protocol] == alone[protocol]
