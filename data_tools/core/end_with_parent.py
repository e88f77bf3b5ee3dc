"""A worker process ends with the process that started it, even if that was killed.

Ranks of a training job end so too, by `training/process/world.py`.
"""

from __future__ import annotations

import multiprocessing
import os
import threading
from multiprocessing.connection import wait


def end_with_parent() -> None:
    """Watch the parent in a thread, and end this process when it is gone: nobody would end it
    otherwise.
    """
    threading.Thread(target=_watch, daemon=True).start()


def _watch() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)
