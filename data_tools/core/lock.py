"""A lock file that names its holder and dies with the process: one converter to a set, one training
to a run, one evaluation or prediction to a folder of results.

What lies in the folder is the business of `convert/workspace.py` and of
`training/watching/run_folder.py`. (The library filelock, tried in version 4.3.1, lets the
holder's name stand in its file, but lets the lock go before `release` could remove the folder, and
two processes hold it where the folder is removed and made anew. Name, folder and check would be
ours all the same, so the lock is too.)
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

from data_tools.core.errors import DataError, SettingError
from data_tools.core.files import make_folder

_NO_LOCKS = (errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS)
"""What a file system says that knows no locks; results are written there all the same."""


class Held(Exception):
    """Another process holds a lock.

    Attributes:
        holder: Its process and machine, as it wrote them.
    """

    def __init__(self, holder: str) -> None:
        super().__init__(holder)
        self.holder = holder


@contextlib.contextmanager
def hold(path: Path, release: Callable[[Path], None]) -> Iterator[None]:
    """Make a lock file, and its folder, and hold its lock.

    Args:
        path: The lock file.
        release: Called with it at the end, with the lock still held, unless the file is another's
            by then.

    Raises:
        Held: If another process holds it.
        OSError: If it cannot be made, or the file system knows no locks.
    """
    while True:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except FileNotFoundError:
            continue  # the other process has just finished and removed the folder
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                holder = os.read(descriptor, 200).decode(errors="replace").strip()
                raise Held(holder or "just started") from None
            # The file may have been removed between opening and locking: then the lock is worth
            # nothing.
            if not _is_ours(path, descriptor):
                continue
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"process {os.getpid()} on {socket.gethostname()}".encode(), 0)
            try:
                yield
            finally:
                if _is_ours(path, descriptor):
                    with contextlib.suppress(OSError):
                        release(path)
            return
        finally:
            os.close(descriptor)


@contextlib.contextmanager
def locked(folder: Path, out: Path) -> Iterator[None]:
    """Make a converter's working folder and hold its lock; a folder left empty is removed.

    Args:
        folder: The working folder.
        out: Where the set will be, for messages.

    Raises:
        DataError: If another converter holds the lock.
        OSError: If the folder cannot be made.
    """
    try:
        with hold(folder / "lock", _forget_empty):
            yield
    except Held as held:
        raise DataError(
            f"out={out}: another converter is at work there ({held.holder}). Wait for it, "
            "or choose another `out`."
        ) from None


@contextlib.contextmanager
def alone_in(folder: Path, setting: str, what: str) -> Iterator[None]:
    """Make a folder of results and hold its lock while they are written: those of two processes
    would mix.

    Args:
        folder: The folder.
        setting: The setting that names it, for messages.
        what: What writes there, such as "evaluation".

    Raises:
        SettingError: If another process writes there, or the folder cannot be made.
    """
    made = not folder.exists()
    make_folder(folder, setting)

    def release(path: Path) -> None:
        path.unlink()
        if made and not any(folder.iterdir()):
            folder.rmdir()  # nothing was written: no folder that looks like results

    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(hold(folder / ".lock", release))
        except Held as held:
            raise SettingError(
                f"{setting}={folder}: another {what} is at work there ({held.holder}). Wait until "
                f"it has ended, or choose another {setting}."
            ) from None
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise SettingError(
                    f"{setting}={folder}: cannot be written to "
                    f"({error.strerror or error}). Choose another, or free some space."
                ) from error
        yield


def _is_ours(path: Path, descriptor: int) -> bool:
    """Whether the file is still the one that was locked: the folder may have been removed and made
    anew.
    """
    try:
        return path.stat().st_ino == os.fstat(descriptor).st_ino
    except OSError:
        return False


def _forget_empty(path: Path) -> None:
    """Remove a working folder in which nothing was begun."""
    if list(path.parent.iterdir()) == [path]:
        path.unlink()
        path.parent.rmdir()  # fails, as it should, if another converter has just come in
