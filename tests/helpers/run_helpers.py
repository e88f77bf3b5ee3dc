"""Small converted sets and training commands for tests that run the trainer for real."""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from data_tools.core.sample import ClassInfo
from data_tools.shards.manifest import Manifest
from data_tools.shards.schema import row_from_sample
from data_tools.shards.writer import ShardWriter
from data_tools.sources.shapes import CATEGORY_IDS, CLASS_NAMES, shape_samples
from tests.helpers.warm import run_warm

REPOSITORY = Path(__file__).resolve().parents[2]

SMALL = (
    "model=ssd_tiny",
    "model.image_size=[64,64]",
    "augment=light",
    "batch_size=4",
    "epochs=10",
    "optim.warmup_epochs=2",
    "log.every_steps=1",
    "log.tensorboard=false",
    "evaluate_every_epochs=0",
    "evaluate_at_end=false",
)
"""Overrides for a run that compiles in seconds."""


def make_set(
    root: Path,
    train: int = 20,
    val: int = 6,
    change: Callable[[str, int, dict[str, Any]], None] = lambda split, index, row: None,
) -> Path:
    """Write drawn scenes as a converted set; `change` may damage a row on its way."""
    labels = {category: label for label, category in enumerate(CATEGORY_IDS, 1)}
    classes = tuple(ClassInfo(i + 1, name, CATEGORY_IDS[i]) for i, name in enumerate(CLASS_NAMES))
    for split, count in (("train", train), ("val", val)):
        folder = root / split
        folder.mkdir(parents=True)
        writer = ShardWriter(folder / f"{split}-00000.mindrecord")
        truth: dict[str, list[Any]] = {"images": [], "annotations": []}
        truth["categories"] = [{"id": c.category_id, "name": c.name} for c in classes]
        for index, sample in enumerate(shape_samples(1, split, count, min_side=96, max_side=120)):
            numbers = np.array([labels[int(c)] for c in sample.category_ids], np.int32)
            row = row_from_sample(sample, sample.read_bytes(), numbers)
            change(split, index, row)
            writer.write([row])
            truth["images"].append(
                {"id": sample.image_id, "height": sample.height, "width": sample.width}
            )
            boxes = zip(sample.boxes_yxyx_px, sample.category_ids, sample.iscrowd, strict=True)
            for (y1, x1, y2, x2), category, crowd in boxes:
                truth["annotations"].append(
                    {
                        "id": len(truth["annotations"]) + 1,
                        "image_id": sample.image_id,
                        "category_id": int(category),
                        "bbox": [float(x1), float(y1), float(x2 - x1), float(y2 - y1)],
                        "area": float((y2 - y1) * (x2 - x1)),
                        "iscrowd": int(crowd),
                    }
                )
        (folder / "annotations.json").write_text(json.dumps(truth))
        boxes_count = len(truth["annotations"])
        totals = {"images": count, "boxes": boxes_count}
        Manifest(split, classes, (writer.close(),), totals).write(folder)
    return root


def start_training(*overrides: str, ranks: int = 0, **options: Any) -> subprocess.Popen[str]:
    """Start `train.py`, or the launcher with so many ranks, with its output in one pipe."""
    if ranks:
        command = ["bash", str(REPOSITORY / "run_distribute_train.sh"), str(ranks)]
    else:
        command = [sys.executable, str(REPOSITORY / "train.py")]
    return subprocess.Popen(
        [*command, *options.pop("extra", ()), *SMALL, *overrides],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "PYTHON": sys.executable},
        **options,
    )


def finish(process: subprocess.Popen[str], timeout: float = 240) -> tuple[int, str]:
    """Wait for a command; return its exit code and output."""
    try:
        text, _ = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        process.kill()
        text, _ = process.communicate()
        raise AssertionError(f"the command did not end:\n{text[-3000:]}") from None
    return process.returncode, text


def train(*overrides: str, ranks: int = 0, **options: Any) -> str:
    """Run a training command that must succeed; return its output."""
    code, text = finish(start_training(*overrides, ranks=ranks, **options))
    assert code == 0, text[-3000:]
    return text


def train_warm(*overrides: str) -> str:
    """Run `train.py` on one device without its start (`warm.py`); return its output."""
    script = str(REPOSITORY / "train.py")
    done = run_warm(script, *SMALL, *overrides, cwd=Path.cwd(), stderr=subprocess.STDOUT)
    assert done.returncode == 0, done.stdout[-3000:]
    return done.stdout


def wait_for_step(output: Path, step: int, process: subprocess.Popen[str]) -> None:
    """Wait until a run has logged a step."""
    log, deadline = output / "log.jsonl", time.monotonic() + 180
    while time.monotonic() < deadline:
        if log.is_file() and len(log.read_text().splitlines()) >= step:
            return
        if process.poll() is not None:
            raise AssertionError(f"ended before step {step}:\n{(process.communicate()[0])[-3000:]}")
        time.sleep(0.02)
    process.kill()
    raise AssertionError(f"step {step} was not reached in time")


def read_run(output: Path) -> list[dict[str, Any]]:
    """Return the lines of a run's log."""
    return [json.loads(line) for line in (output / "log.jsonl").read_text().splitlines()]


def events_in(folder: Path) -> Iterator[tuple[int, Any]]:
    """The step and the value of all that the event files of a folder hold."""
    from tensorboardX.proto.event_pb2 import Event

    for path in sorted(folder.glob("events.*")):
        content, start = path.read_bytes(), 0
        while start < len(content):
            # A record is its length (8 bytes), a checksum (4), the event, and a checksum (4).
            (length,) = struct.unpack_from("<Q", content, start)
            event = Event.FromString(content[start + 12 : start + 12 + length])
            start += length + 16
            yield from ((event.step, value) for value in event.summary.value)


def free_port() -> int:
    """Return a port that nobody listens on."""
    import socket

    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return int(server.getsockname()[1])
