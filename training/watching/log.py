"""What a run tells while it trains: log lines and the progress bar.

Nothing here changes what is trained; TensorBoard is `tensorboard.py`, pictures are drawn in
`visualize.py`.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import NoneType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data_tools.core.files import write_atomic
from data_tools.core.json_dataclass import parse_json
from data_tools.core.progress import Progress
from data_tools.pipeline.stage_costs import StageSum
from training.process.disk_errors import disk_errors

LOG = "log.jsonl"
EVALUATIONS = "evaluations.jsonl"
_LONGEST_LINE = 1 << 16  # bytes


class LogFile:
    """One JSON object a line, kept consistent over restarts: `log.jsonl`, `evaluations.jsonl`.

    Args:
        path: The file.
        enabled: False writes nothing (ranks other than 0).

    Raises:
        DiskError: In `write` and `rewind`, if the disk is full or fails.
    """

    def __init__(self, path: Path, enabled: bool = True) -> None:
        self.path, self.enabled = path, enabled

    def rewind(self, step: int) -> None:
        """Drop lines after `step`, and a half-written last line, before a run resumes there."""
        if self.enabled and self.path.is_file():
            kept = [json.dumps(line) for line in read_log(self.path) if line["step"] <= step]
            with disk_errors(self.path):
                write_atomic(self.path, "".join(line + "\n" for line in kept))

    def last_loss(self) -> float | None:
        """Return the loss of the last line, None if there is none."""
        lines = read_log(self.path) if self.path.is_file() else []
        return lines[-1]["loss"] if lines else None

    def skipped(self) -> int:
        """Return how many steps were left out, over all starts of the run."""
        lines = read_log(self.path) if self.path.is_file() else []
        return sum("skipped" in line for line in lines)

    def amend(self, step: int, more: dict[str, Any]) -> None:
        """Add to the last line, if it is that of `step`; a kill meanwhile leaves the line as it
        was, or cut.
        """
        if not self.enabled or not self.path.is_file():
            return
        with disk_errors(self.path), open(self.path, "r+b") as file:
            file.seek(0, 2)
            start = max(0, file.tell() - _LONGEST_LINE)
            file.seek(start)
            tail = file.read()
            begin = tail.rstrip(b"\n").rfind(b"\n") + 1
            try:
                line = parse_json(tail[begin:])
            except ValueError:
                return
            if isinstance(line, dict) and line.get("step") == step:
                file.seek(start + begin)
                file.write(json.dumps({**line, **more}).encode() + b"\n")
                file.truncate()

    def write(self, line: dict[str, Any]) -> None:
        """Append a line; it is on its way to the disk when this returns."""
        if self.enabled:
            with disk_errors(self.path), open(self.path, "a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")


def read_log(path: Path) -> list[dict[str, Any]]:
    """Read a log file; an incomplete last line (a kill while writing) is left out."""
    lines = []
    for text in path.read_bytes().splitlines():
        try:
            line = parse_json(text)
        except ValueError:
            continue
        # The numbers that are read back: of the step, and of the loss where there is one (null: not
        # finite).
        if (
            isinstance(line, dict)
            and all(isinstance(line.get(key, 0.0), (int, float)) for key in ("step", "epoch", "lr"))
            and isinstance(line.get("loss"), (int, float, NoneType))
            and "step" in line
        ):
            lines.append(line)
    return lines


class Meter:
    """Images per second and data wait between two log lines.

    Args:
        global_batch: Images per step over all devices.
        batch: Images per step on this device.
        split: True cuts `compute` in two: what the host takes to start kernels, and what it waits
            for them.
    """

    def __init__(self, global_batch: int, batch: int = 0, split: bool = False) -> None:
        self.global_batch, self.batch, self.split = global_batch, batch or global_batch, split
        self.restart()

    def restart(self, at: float | None = None) -> None:
        """Begin a new interval at that `time.monotonic()`, or now."""
        self.begun, self.steps, self.waited = time.monotonic() if at is None else at, 0, 0.0
        self.batches, self.launching = StageSum(), 0.0

    def count(
        self,
        waited: float,
        stage_seconds: NDArray[np.float64] | None = None,
        launching: float = 0.0,
    ) -> None:
        """Count a step: seconds waited for its batch, what making that took, seconds of starting
        kernels.
        """
        self.steps += 1
        self.waited += waited
        self.launching += launching
        if stage_seconds is not None:
            self.batches.add(stage_seconds, self.batch)

    def read(self, at: float | None = None) -> dict[str, float]:
        """Return images_per_s, and seconds per step: data_wait for data, compute for the rest.

        With `split` also the two parts of compute: launch, and sync, the wait for the device and
        other ranks.

        Args:
            at: `time.monotonic()` at the end of the interval; None is now.
        """
        seconds = max((time.monotonic() if at is None else at) - self.begun, 1e-9)
        steps = max(self.steps, 1)
        compute = (seconds - self.waited) / steps
        values = {
            "images_per_s": round(self.steps * self.global_batch / seconds, 3),
            "data_wait": round(self.waited / steps, 6),
            "compute": round(compute, 6),
        }
        if self.split:
            launch = min(self.launching / steps, compute)
            values |= {"launch": round(launch, 6), "sync": round(compute - launch, 6)}
        return values


class Terminal:
    """The run on the terminal: a bar where there is one, else a line at each log step.

    Args:
        total: Steps of the run.
        done: Steps done before.
        enabled: False shows nothing (ranks other than 0).
        steps_left: From seconds a step to the steps for which there is time, or None without a
            limit.
    """

    def __init__(
        self,
        total: int,
        done: int,
        enabled: bool,
        steps_left: Callable[[float], int | None] = lambda seconds: None,
    ) -> None:
        self.total, self.first, self.begun = total, done, time.monotonic()
        self.steps_left = steps_left
        self.has_bar = enabled and sys.stderr.isatty()
        self.has_lines = enabled and not self.has_bar
        self.bar = Progress("training", total, unit="step", done=done, enabled=self.has_bar)

    def step(
        self, loss: float, rate: float, waited: float, images_per_s: float, skipped: int = 0
    ) -> None:
        """Move the bar by a step; `skipped` steps were left out since the start."""
        notes = {
            "loss": f"{loss:.4f}",
            "lr": f"{rate:.3g}",
            "images/s": f"{images_per_s:.1f}",
            "data wait": f"{1000 * waited:.0f} ms",
        }
        if skipped:
            notes["skipped"] = str(skipped)
        self.bar.update(1, **notes)

    def line(self, line: dict[str, Any]) -> None:
        """Print what was logged, with the time that is left."""
        if not self.has_lines:
            return
        done = line["step"]
        print(
            f"step {done}/{self.total} epoch {line['epoch']:.2f} loss {_short(line['loss'])} "
            f"(loc {_short(line['loc_loss'])}, cls {_short(line['cls_loss'])}) lr "
            f"{line['lr']:.5f}, {line['images_per_s']:.1f} images/s, data wait "
            f"{line['data_wait']:.3f} s, compute {line['compute']:.3f} s, "
            f"{self.time_left(done)}{_skip_note(line)}",
            flush=True,
        )

    def begin_counting(self, step: int) -> None:
        """Reckon the time that is left by the steps after this one, which was compiled."""
        self.first, self.begun = step, time.monotonic()

    def time_left(self, done: int) -> str:
        """Say how long the run goes on, and where `max_minutes` will stop it."""
        if done >= self.total:
            return "0:00:00 left"
        if done <= self.first:
            return "compiled; time left not yet known"
        per_step = (time.monotonic() - self.begun) / (done - self.first)
        steps, limit = self.total - done, self.steps_left(per_step)
        stops = limit is not None and limit < steps
        left = int((limit if limit is not None and stops else steps) * per_step)
        text = f"{left // 3600}:{left // 60 % 60:02d}:{left % 60:02d} left"
        if limit is None or not stops:
            return text
        return f"{text}: max_minutes will stop near step {done + limit}"

    def close(self) -> None:
        """End the bar."""
        if self.has_bar:
            self.bar.close()


def _skip_note(line: dict[str, Any]) -> str:
    if "skipped" not in line:
        return ""
    return ", skipped" + (f", loss scale {line['loss_scale']:.10g}" if "loss_scale" in line else "")


def _short(value: float | None) -> str:
    return "not finite" if value is None else f"{value:.4f}"
