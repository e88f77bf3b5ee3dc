"""The lock on a folder in which a set grows: one converter at a time, and none after it has died.

What lies in the folder is the business of `convert/workspace.py`.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
from collections.abc import Iterator
from pathlib import Path

from data_tools.core.errors import DataError


@contextlib.contextmanager
def locked(folder: Path, out: Path) -> Iterator[None]:
    """Make a folder and hold its lock, which dies with the process; a folder left empty is removed.

    Args:
        folder: The working folder.
        out: Where the set will be, for messages.

    Raises:
        DataError: If another converter holds the lock.
        OSError: If the folder cannot be made.
    """
    while True:
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / "lock"
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        except FileNotFoundError:
            continue  # the other converter has just finished and removed the folder
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                holder = os.read(descriptor, 200).decode(errors="replace").strip()
                raise DataError(
                    f"out={out}: another converter is at work there ({holder or 'just started'}). Wait for it, "
                    "or choose another `out`."
                ) from None
            # The file may have been removed between opening and locking: then the lock is worth nothing.
            if not path.exists() or path.stat().st_ino != os.fstat(descriptor).st_ino:
                continue
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"process {os.getpid()} on {socket.gethostname()}".encode(), 0)
            try:
                yield
            finally:
                _forget_empty(folder, descriptor)
            return
        finally:
            os.close(descriptor)


def _forget_empty(folder: Path, descriptor: int) -> None:
    """Remove a working folder in which nothing was begun; `descriptor` is of its lock, still held."""
    path = folder / "lock"
    with contextlib.suppress(OSError):
        # After `discard` the folder may be there anew, with the lock of another converter.
        ours = path.stat().st_ino == os.fstat(descriptor).st_ino
        if ours and list(folder.iterdir()) == [path]:
            path.unlink()
            folder.rmdir()  # fails, as it should, if another converter has just come in
