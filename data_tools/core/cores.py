"""How many cores this process may use.

What each worker does with one is not decided here.
"""

from __future__ import annotations

import os


def core_count() -> int:
    """Return the number of cores that this process may use: those it is bound to, not those of the
    machine.
    """
    return len(os.sched_getaffinity(0))
