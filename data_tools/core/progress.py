"""Progress of long work: a bar on a terminal, plain lines with rate and ETA in a log.

Nothing here knows what the work is.
"""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import TextIO

from tqdm import tqdm


class Progress:
    """A bar with a rate and an ETA on a terminal; elsewhere a line every `every_s` seconds.

    Use as a context manager and call `update`. Writes to standard error, so results stay apart.

    Args:
        description: What is being done, for instance `converting train`.
        total: Number of units, None where it is not known.
        unit: The unit's name, for instance `img`.
        done: Units that were finished before.
        every_s: Seconds between two lines in a log.
        enabled: False prints nothing (ranks other than 0).
        stream: Where to write; standard error by default.
    """

    def __init__(
        self,
        description: str,
        total: int | None,
        *,
        unit: str = "img",
        done: int = 0,
        every_s: float = 10.0,
        enabled: bool = True,
        stream: TextIO | None = None,
    ) -> None:
        self._stream = stream or sys.stderr
        self._description, self._total, self._unit = description, total, unit
        self._first, self._done, self._every_s, self._enabled = done, done, every_s, enabled
        self._notes = ""
        self._started = self._printed = time.monotonic()
        self._bar = None
        if enabled and self._stream.isatty():
            self._bar = tqdm(
                desc=description,
                total=total,
                initial=done,
                unit=unit,
                file=self._stream,
                dynamic_ncols=True,
            )

    def update(self, count: int = 1, **notes: object) -> None:
        """Count `count` more units done; `notes` are shown behind, for instance `loss='3.21'`."""
        self._done += count
        if notes:
            self._notes = ", ".join(f"{key} {value}" for key, value in notes.items())
        if self._bar is not None:
            if notes:
                self._bar.set_postfix_str(self._notes, refresh=False)
            self._bar.update(count)
        elif self._enabled and time.monotonic() - self._printed >= self._every_s:
            self._print_line()

    def write(self, text: str) -> None:
        """Print a line without breaking the bar."""
        if self._bar is not None:
            self._bar.write(text, file=self._stream)
        elif self._enabled:
            print(text, file=self._stream, flush=True)

    def _print_line(self) -> None:
        now = time.monotonic()
        self._printed = now
        rate = (self._done - self._first) / max(now - self._started, 1e-9)
        amount = f"{self._done}" if self._total is None else f"{self._done}/{self._total}"
        line = f"{self._description}: {amount} {self._unit}, {rate:.1f} {self._unit}/s"
        if self._total is not None and rate > 0:
            left = int((self._total - self._done) / rate)
            line += f", {left // 3600:d}:{left // 60 % 60:02d}:{left % 60:02d} left"
        if self._notes:
            line += f", {self._notes}"
        print(line, file=self._stream, flush=True)

    def close(self) -> None:
        """End the bar, or print the last line."""
        if self._bar is not None:
            self._bar.close()
        elif self._enabled:
            self._print_line()
        self._enabled = False

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()
