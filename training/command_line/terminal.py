"""The streams of a command: what comes from data cannot give orders to a terminal, whichever module
prints it.

How a text is made safe is in `data_tools/core/words.py`.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TextIO

from data_tools.core.words import for_terminal

_OF_BARS = "\x1b[A"
"""One line up: tqdm's own, where two bars stand below each other."""


class SafeStream:
    """A text stream that writes control characters as escapes; everything else is the stream's own.

    Args:
        stream: Where the text goes.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write a text; returns its length, as streams do."""
        self._stream.write(text if text == _OF_BARS else for_terminal(text))
        return len(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextmanager
def safe_streams() -> Iterator[None]:
    """Let standard output and error write control characters as escapes meanwhile."""
    before = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = (SafeStream(stream) for stream in before)  # type: ignore[assignment]
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before
