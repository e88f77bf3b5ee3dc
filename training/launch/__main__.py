"""Start a job of several ranks with msrun, watch it, and end it as a whole: the launcher's command.

What is started is laid out in `job.py`; what a rank does is `run/trainer.py`; who has failed and
why is found out in `watch.py`.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

from training.command_line.error_words import REFUSED, message
from training.launch.job import Job, describe, parse, plan
from training.launch.watch import JobWatch
from training.process.world import end_with_parent
from training.settings import TrainSettings

GRACE_SECONDS = 120.0
EXIT_CODE_SECONDS = 2.5
NOISE = "[INFO] DISTRIBUTED("
"""MindSpore prints such lines at every log level; they stay in the file."""


def launch(job: Job, settings: TrainSettings) -> int:
    """Start the ranks of this machine, follow rank 0's log, and wait for the end.

    Args:
        job: What to start.
        settings: The settings the ranks will use.

    Returns:
        The exit code: 0 if every rank finished, 1 if one failed, 128 + signal if one was passed on.
    """
    job.ranks_dir.mkdir(parents=True, exist_ok=True)
    for old in (*job.ranks_dir.glob("worker_*.log"), job.ranks_dir / "scheduler.log"):
        if job.node_rank == 0:
            old.unlink(missing_ok=True)
    job_id, status_dir = uuid.uuid4().hex, tempfile.mkdtemp(prefix="ssd-ranks-")
    remover = remove_after_death(status_dir)
    environment = {**os.environ, **job.environment(job_id, status_dir)}
    log_path = job.ranks_dir / f"msrun_{job.node_rank}.log"
    with log_path.open("w") as log:
        process = subprocess.Popen(
            job.command(),
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=end_with_parent,
        )
    watch = JobWatch(
        job_id=job_id,
        ranks=range(job.first_rank, job.first_rank + job.devices),
        status_dir=Path(status_dir),
        ranks_dir=job.ranks_dir,
        hang_seconds=settings.runtime.hang_seconds,
        alone=job.nodes == 1,
    )
    try:
        with PassOn(watch) as passed:
            return follow(process, watch, passed, show=job.node_rank == 0)
    finally:
        watch.kill_all()
        if process.poll() is None:
            process.kill()
        process.wait()
        remover.communicate()


def remove_after_death(folder: str) -> subprocess.Popen[bytes]:
    """Start a process that removes a folder once this one is gone, however that came about, or says
    so.

    It waits for the end of a pipe that only this process holds open: no signal must reach it.
    """
    # Ranks die with their launcher, but the last of them may be writing yet: twice.
    script = 'cat; rm -rf -- "$0"; [ -e "$0" ] && sleep 1 && rm -rf -- "$0"'
    return subprocess.Popen(
        ["/bin/sh", "-c", script, folder],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        cwd="/",
    )


class PassOn:
    """Hands SIGINT and SIGTERM on to the ranks, which save and leave.

    Args:
        watch: Knows the ranks' processes.
    """

    def __init__(self, watch: JobWatch) -> None:
        self.watch, self.signal, self.deadline = watch, 0, float("inf")

    def __enter__(self) -> PassOn:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._pass_on)
        return self

    def __exit__(self, *_: object) -> None:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_DFL)

    def _pass_on(self, number: int, frame: FrameType | None) -> None:
        if self.signal:
            self.deadline = 0.0
            return
        self.signal, self.deadline = number, time.monotonic() + GRACE_SECONDS
        print("stopping: the ranks save and leave (once more to kill them)", flush=True)
        self.watch.send(signal.SIGTERM)


def follow(process: subprocess.Popen[bytes], watch: JobWatch, passed: PassOn, *, show: bool) -> int:
    """Copy rank 0's log to the terminal until the job ends, one way or another."""
    position = 0
    while True:
        ended = process.poll() is not None
        if show:
            position = _copy_log(watch.log_path(0), position)
        watch.look()
        failure = watch.failure()
        if failure is not None and not passed.signal:
            time.sleep(EXIT_CODE_SECONDS)  # msrun looks once a second and then says how it ended
            watch.look()
            print(f"error: {watch.failure() or failure}", file=sys.stderr, flush=True)
            return 1
        if watch.all_finished():
            if not show and not passed.signal:
                print("all ranks of this machine have finished", flush=True)
            return 128 + passed.signal if passed.signal else 0
        if ended:
            # The log of a rank may have come after the last look.
            failure = watch.failure(ended=True)
            if passed.signal:
                return 128 + passed.signal
            print(f"error: {failure}", file=sys.stderr, flush=True)
            return 1
        if time.monotonic() > passed.deadline:
            print("error: the ranks did not leave in time and are killed", file=sys.stderr)
            return 128 + passed.signal
        time.sleep(0.3)


def _copy_log(path: Path, position: int) -> int:
    try:
        with path.open("rb") as file:
            file.seek(position)
            text = file.read()
    except OSError:
        return position
    whole, newline, _ = text.rpartition(b"\n")
    for line in whole.decode(errors="replace").splitlines():
        if not line.startswith(NOISE):
            print(line)
    sys.stdout.flush()
    return position + len(whole) + len(newline)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the launcher with a command line; return the exit code."""
    options, overrides = parse(sys.argv[1:] if arguments is None else arguments)
    try:
        job, settings = plan(options, overrides)
        if options.dry_run:
            print(describe(job, settings))
            return 0
        return launch(job, settings)
    except REFUSED as error:
        print(message(error), file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
