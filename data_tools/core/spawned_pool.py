"""Pools of processes that are started anew, get ready while this one goes on, leave Ctrl-C to it
and end with it.

What the processes do is their owner's matter.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing.connection import wait
from typing import Any

# MindSpore does not survive a fork, and this process may have imported it.
CONTEXT = multiprocessing.get_context("spawn")
"""What such a pool's shared values are made by."""


def start_pool(
    workers: int, prepare: Callable[..., None] | None = None, *arguments: Any
) -> ProcessPoolExecutor:
    """Start the processes; they are ready after some 0.3 seconds.

    Args:
        workers: How many.
        prepare: Called in each before its first task, a function of a module; None for nothing.
        *arguments: What it is called with.
    """
    pool = ProcessPoolExecutor(workers, CONTEXT, _begin, (prepare, arguments))
    # Each task starts one. Ctrl-C goes to the whole group, and one that is still importing would
    # answer with a traceback: it inherits that the signal waits.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        for _ in range(workers):
            pool.submit(_nothing)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    return pool


def terminate(pool: ProcessPoolExecutor) -> None:
    """End the processes now, whatever they do; the pool must still be shut down."""
    for process in list((pool._processes or {}).values()):
        process.terminate()


def _nothing() -> None:
    pass


def _begin(prepare: Callable[..., None] | None, arguments: tuple[Any, ...]) -> None:
    # Ctrl-C goes to the whole group: the parent tells the workers, without a traceback from each.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # Nobody would end this process otherwise if the parent was killed.
    threading.Thread(target=_end_with_parent, daemon=True).start()
    if prepare is not None:
        prepare(*arguments)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)
