"""Watching the ranks of one machine: which runs, which is done, which failed or hangs, and why.

It only looks and kills; starting a job is `__main__.py`. Linux only: it reads /proc.
"""

from __future__ import annotations

import itertools
import os
import re
import signal
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from training.process.rank_status import FINISHED, JOB_VARIABLE, read_status

_SCHEDULER_BEFORE = (
    " The job's scheduler on this machine was gone before: if no rank here says why, look at the "
    "other machines and at scheduler.log."
)
STOPPED_SECONDS = 20.0
"""How long a rank may be stopped (SIGSTOP, a debugger) before the job counts as hung."""


@dataclass
class RankView:
    """What is known of one rank.

    Attributes:
        rank: Its number.
        pid: Its process, None before it was seen.
        alive: True while the process is there.
        stopped_since: When it was first seen stopped, None if it runs.
        step: Step it says it is working on.
        doing: What it says it is doing.
        patience: Seconds that may take on top of the limit.
        heard_at: When it last said so.
    """

    rank: int
    pid: int | None = None
    alive: bool = False
    stopped_since: float | None = None
    step: int = 0
    doing: str = "starting"
    patience: float = 0.0
    heard_at: float = field(default_factory=time.monotonic)


class JobWatch:
    """The ranks of one machine.

    Args:
        job_id: Every process of the job carries it in its environment.
        ranks: Ranks on this machine.
        status_dir: Where the ranks say how far they are.
        ranks_dir: Where their logs are.
        hang_seconds: A rank so long behind the others is hung.
        alone: No other machine takes part in the job.
    """

    def __init__(
        self,
        *,
        job_id: str,
        ranks: Iterable[int],
        status_dir: Path,
        ranks_dir: Path,
        hang_seconds: float,
        alone: bool = True,
    ) -> None:
        self.marker = f"{JOB_VARIABLE}={job_id}".encode()
        self.views = {rank: RankView(rank) for rank in ranks}
        self.status_dir, self.ranks_dir = status_dir, ranks_dir
        self.hang_seconds = hang_seconds
        self.alone = alone
        self.scheduler_seen = self.scheduler_lost = False

    def log_path(self, rank: int) -> Path:
        """Return the file that a rank's output goes to."""
        return self.ranks_dir / f"worker_{rank}.log"

    def look(self) -> None:
        """Refresh what is known of every rank."""
        now = time.monotonic()
        running: dict[int, int] = {}
        scheduler = False
        for pid, variables in self._processes():
            scheduler |= b"MS_ROLE=MS_SCHED" in variables and is_training(pid)
            if b"MS_ROLE=MS_WORKER" in variables and is_training(pid):
                number = next((v[8:] for v in variables if v.startswith(b"RANK_ID=")), b"")
                if number.isdigit():
                    running[int(number)] = pid
        for rank, view in self.views.items():
            view.alive = rank in running
            if view.alive:
                view.pid = running[rank]
            stopped = view.alive and process_state(running[rank]) in ("T", "t")
            if not stopped:
                view.stopped_since = None
            elif view.stopped_since is None:
                view.stopped_since = now
            self._read_status(view)
        self._look_at_scheduler(scheduler)

    def _look_at_scheduler(self, there: bool) -> None:
        # It leaves after the ranks. Without it they go on for a while, then fail one by one; msrun
        # kills it as well once a rank has failed, so it is to blame only where no rank was gone
        # before.
        self.scheduler_seen |= there
        at_work = [view for view in self.views.values() if view.doing != FINISHED]
        if self.scheduler_seen and not there and at_work and all(view.alive for view in at_work):
            self.scheduler_lost = True

    def _read_status(self, view: RankView) -> None:
        status = read_status(self.status_dir, view.rank)
        if status is not None:
            view.step, view.doing, view.patience = status.step, status.doing, status.patience
            view.heard_at = status.written_at

    def all_finished(self) -> bool:
        """True if every rank of this machine said that it is done and has left."""
        return all(view.doing == FINISHED and not view.alive for view in self.views.values())

    def failure(self, *, ended: bool = False) -> str | None:
        """Name a rank that failed or hangs, and why; None if all is well.

        Args:
            ended: True once msrun is gone: whoever has not finished then has failed.
        """
        if self.scheduler_lost and self.alone:
            # It leaves by itself when a rank has not answered for long: a stopped one is the
            # reason, then.
            for view in self.views.values():
                if view.stopped_since is not None:
                    return _stopped(view, time.monotonic())
            return (
                "the scheduler, msrun's process that keeps count of the ranks, is gone while they "
                "were at work; no rank has failed. The whole job is ended. Its log: "
                f"{self.ranks_dir / 'scheduler.log'}"
            )
        gone = [
            view
            for view in self.views.values()
            if not view.alive and view.doing != FINISHED and (view.pid is not None or ended)
        ]
        if gone:
            reasons = "\n".join(self._why_gone(view) for view in self._culprits(gone))
            # Where other machines take part, it also leaves because of one of them, which is known
            # only there.
            return reasons + (_SCHEDULER_BEFORE if self.scheduler_lost else "")
        return find_hung(list(self.views.values()), time.monotonic(), self.hang_seconds)

    def _culprits(self, gone: list[RankView]) -> list[RankView]:
        # msrun kills the others within a second of the first failure. The one with a reason of its
        # own in its log is the first; without one, whoever was killed from outside left no words.
        telling = [view for view in gone if self._reason(view.rank) is not None]
        if telling and len(telling) < len(gone) and not self._exit_codes(gone):
            return telling
        codes = self._exit_codes(gone)
        blamed = [view for view in gone if view.pid in codes]
        return blamed or telling or gone

    def _exit_codes(self, views: list[RankView]) -> dict[int, int]:
        text = "".join(
            path.read_text(errors="replace") for path in self.ranks_dir.glob("msrun_*.log")
        )
        matches = re.findall(r"Worker process (\d+) exit with exception. Error code: (-?\d+)", text)
        pids = {view.pid for view in views}
        return {int(pid): int(code) for pid, code in matches if int(pid) in pids}

    def _why_gone(self, view: RankView) -> str:
        code = self._exit_codes([view]).get(view.pid or -1)
        reason = self._reason(view.rank)
        if code is not None and code < 0:
            what = f"was killed by {signal.Signals(-code).name}"
        elif reason is not None:
            what = f"failed: {reason}"
        else:
            what = "is gone" + (f" (exit code {code})" if code is not None else "")
        return (
            f"rank {view.rank} {what}; it was at step {view.step}, {view.doing}. The whole job is "
            f"ended. Its log: {self.log_path(view.rank)}"
        )

    def _reason(self, rank: int) -> str | None:
        try:
            lines = self.log_path(rank).read_text(errors="replace").splitlines()
        except OSError:
            return None
        return last_error(lines)

    def send(self, number: int) -> None:
        """Send a signal to every rank of this machine."""
        self.look()
        for view in self.views.values():
            if view.alive and view.pid is not None:
                _kill(view.pid, number)

    def kill_all(self) -> None:
        """Kill every process of the job on this machine, msrun and its scheduler included."""
        for _ in range(50):
            left = [pid for pid, _ in self._processes()]
            if not left:
                return
            for pid in left:
                _kill(pid, signal.SIGKILL)
            time.sleep(0.1)

    def _processes(self) -> list[tuple[int, list[bytes]]]:
        processes = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit() and int(entry.name) != os.getpid():
                try:
                    variables = (entry / "environ").read_bytes().split(b"\0")
                except OSError:
                    continue
                pid = int(entry.name)
                if self.marker in variables and process_state(pid) != "Z":
                    processes.append((pid, variables))
        return processes


def find_hung(views: list[RankView], now: float, hang_seconds: float) -> str | None:
    """Name a rank that is stopped, or so far behind the others that they wait for it.

    Args:
        views: The ranks.
        now: `time.monotonic()`.
        hang_seconds: The limit.

    Returns:
        The message, or None.
    """
    furthest = max(view.step for view in views)
    for view in views:
        if view.doing == FINISHED:
            continue
        if view.stopped_since is not None and now - view.stopped_since > STOPPED_SECONDS:
            return _stopped(view, now)
        silent = now - view.heard_at
        waiting_for = len(views) > 1 and _is_behind(view, views, furthest)
        if silent > hang_seconds + view.patience and waiting_for:
            return (
                f"rank {view.rank} hangs: {view.doing} (step {view.step}) since {silent:.0f} s, "
                "while the others wait for it; the whole job is ended. Limit: "
                "runtime.hang_seconds."
            )
    return None


def _stopped(view: RankView, now: float) -> str:
    since = now - (now if view.stopped_since is None else view.stopped_since)
    return (
        f"rank {view.rank} is stopped (a signal or a debugger) at step {view.step} since "
        f"{since:.0f} s; the whole job is ended."
    )


def _is_behind(view: RankView, views: list[RankView], furthest: int) -> bool:
    """True if another rank is in a later step, or computes this step while this rank does not."""
    if view.step < furthest:
        return True
    computing = any(other.doing == "computing" for other in views if other is not view)
    return computing and view.doing != "computing"


def last_error(lines: list[str]) -> str | None:
    """Find the last line of a log that says why a process ended, with the list that belongs to it.

    >>> last_error(["error: they differ:", "  rank 1: seed", "  rank 2: rows", "bye"])
    'they differ: rank 1: seed; rank 2: rows'
    """
    for index in range(len(lines) - 1, -1, -1):
        line = lines[index]
        if line.startswith("error: "):
            listed = itertools.takewhile(lambda text: text.startswith("  "), lines[index + 1 :])
            return " ".join([line[7:], "; ".join(text.strip() for text in listed)]).rstrip()
        if re.match(r"^[\w.]*(Error|Exception|Interrupt|Exit)\b.*", line):
            return line
    return None


def is_training(pid: int) -> bool:
    """True for a rank itself; its children have the same environment."""
    try:
        return b"train.py" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


def process_state(pid: int) -> str:
    """Return a process's state letter as `ps` shows it; empty if it is gone."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return ""
    return stat.rpartition(")")[2].split()[0]


def _kill(pid: int, number: int) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return
