"""What MindSpore and CANN say when a card fails, without the C++ stack below it.

Which of it ends a command with a message, and which keeps its traceback, is in `configure.py`.
"""

from __future__ import annotations

import re

from data_tools.core.errors import UserError
from data_tools.core.json_dataclass import first_line
from training.command_line.error_words import is_want_of_memory

_SECTION = re.compile(r"^-{10,}\n- (?P<title>[^\n]+)\n-{10,}\n", re.MULTILINE)
"""A heading within MindSpore's messages: a title between two lines of dashes."""

_CANN_CODE = re.compile(r"\bE[A-Z0-9]\d{4}:")
"""CANN's numbers of errors: `EZ3002`, `E40021`."""

_FOR_DEVELOPERS = ("C++ Call Stack", "Framework Error Message")


def without_stack(text: str) -> str:
    """Return a message of MindSpore's without the sections that are for its developers.

    Args:
        text: A message of one or more sections, with or without such.
    """
    heads = list(_SECTION.finditer(text))
    ends = [head.start() for head in heads[1:]] + [len(text)]
    kept = [text[: heads[0].start()] if heads else text]
    for head, end in zip(heads, ends):
        if not head["title"].startswith(_FOR_DEVELOPERS):
            kept.append(text[head.start() : end])
    return "".join(kept).rstrip()


def cut_stack(error: Exception) -> Exception:
    """Take such sections out of an error's own message, and return it."""
    error.args = tuple(without_stack(a) if isinstance(a, str) else a for a in error.args)
    return error


def failure_of_machine(error: Exception) -> Exception | None:
    """Return what a command should say of a card that failed or of memory that was refused; None
    for any other error.
    """
    if is_want_of_memory(error):
        return MemoryError(first_line(error))
    text = without_stack(str(error))
    reported = [line.strip() for line in text.splitlines() if _CANN_CODE.search(line)]
    if not isinstance(error, RuntimeError) or not (reported or "- Ascend Error Message" in text):
        return None
    messages = dict.fromkeys([first_line(error), *(line.rstrip(".") for line in reported)])
    return UserError(
        f"the card: {'. '.join(messages)}. What the usual ones mean: docs/ascend.md, 'The first "
        "hour'; python -m training.report --ascend looks through this host. HYDRA_FULL_ERROR=1 "
        "shows all that was said."
    )
