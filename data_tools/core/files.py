"""Files that are there whole or not at all, their hashes, and what survives a power cut.

What is written is the callers' matter; shards and manifests have modules of their own.
"""

from __future__ import annotations

import contextlib
import difflib
import hashlib
import itertools
import os
import shutil
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from data_tools.core.errors import SettingError

IMAGE_SUFFIXES = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".pjpeg", ".pjp", ".png", ".bmp", ".dib", ".webp", ".gif"),
    *(".jif", ".jfi", ".apng", ".hif"),
    *(".tif", ".tiff", ".ppm", ".pgm", ".pbm", ".pnm", ".avif", ".heic", ".heif", ".mpo"),
    *(".jp2", ".j2k", ".jpx", ".jpf", ".j2c", ".jpc"),
    *(".eps", ".psd", ".jxl", ".tga", ".pcx", ".exr", ".hdr", ".dcm"),
)
"""Endings, in lower case, of files that are taken for pictures; those of the last two lines are
refused with a line.
"""

UNREAD_SUFFIXES = (
    *(".dng", ".cr2", ".cr3", ".crw", ".nef", ".nrw", ".arw", ".srf", ".sr2", ".orf", ".rw2"),
    *(".rwl", ".raf", ".pef", ".srw", ".raw", ".3fr", ".fff", ".iiq", ".erf", ".mef", ".mos"),
    *(".kdc", ".dcr", ".x3f", ".mrw", ".gpr", ".ico", ".cur", ".icns", ".svg", ".svgz", ".xcf"),
    *(".ai", ".wmf", ".emf", ".dds", ".pam", ".pfm", ".xbm", ".xpm", ".sgi", ".ras", ".jls"),
    *(".jxr", ".wdp", ".hdp", ".jpm", ".bpg", ".flif", ".qoi", ".avifs", ".heics", ".nii"),
)
"""Endings of pictures that nothing here reads: a camera's raw files, icons, drawings, rare formats.
A RAW file often lies next to its own JPEG, so none of them is taken as a picture; they are counted.
"""


def write_atomic(path: Path, text: str) -> None:
    """Write a text file so that it is there whole or not at all, also after a power cut.

    Raises:
        OSError: With the file's name; nothing half written is left.
    """
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


@contextlib.contextmanager
def replacing(path: Path, *, flush: bool = True) -> Iterator[Path]:
    """Give a name to write to; what was written there gets the name `path` at the end, whole.

    Args:
        path: The file's name.
        flush: Also after a power cut; False for what is quickly made again, in great numbers.

    Raises:
        OSError: With the file's name, as the disk may be full or the folder gone; nothing half
            written is left.
    """
    temporary = path.with_name(path.name + ".tmp")
    try:
        with naming(path):
            yield temporary
            publish(temporary, path) if flush else temporary.replace(path)
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def naming(path: Path) -> Iterator[None]:
    """Give an OSError that names no file the name of the one that is being written."""
    try:
        yield
    except OSError as error:
        if error.filename is None and error.errno is not None:
            error.filename = str(path)
        raise


def publish(temporary: Path, path: Path) -> None:
    """Flush a finished file to the disk, then give it its name in place of what bore it before.

    Args:
        temporary: The file, closed, in the folder of `path`.
        path: Its name.
    """
    sync_path(temporary)
    temporary.replace(path)


_NAMED = 5  # what lies next to a missing file, in a message


def neighbours(path: Path) -> str:
    """Say what lies where a missing file or folder was looked for: the names most like it, else the
    first ones.

    Returns:
        A sentence with a blank in front; empty if nothing is there to be said.
    """
    folder = path.parent
    try:
        names = sorted(entry.name for entry in itertools.islice(folder.iterdir(), 10_000))
    except OSError:
        return "" if folder == folder.parent else f" {folder} is not there either."
    close = difflib.get_close_matches(path.name, names, n=_NAMED) or names[:_NAMED]
    more = ", ..." if len(names) > len(close) else ""
    return f" {folder} holds {', '.join(close)}{more}." if close else f" {folder} is empty."


def is_plain_name(name: object) -> bool:
    """Whether a name that was read from a file stays in the folder it is looked up in.

    >>> [is_plain_name(name) for name in ("a.json", "../a.json", "/etc/a", "..", "", 3)]
    [True, False, False, False, False, False]
    """
    if not isinstance(name, str) or name in ("", ".", ".."):
        return False
    return not set(name) & set("/\\\0")


def link_or_copy(source: Path, target: Path) -> None:
    """Give a file a second name; a copy where the file system has no hard links."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def sync_path(path: Path) -> None:
    """Flush a file, or a folder's entries, to the disk, so that it survives a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_folder(folder: Path, setting: str) -> None:
    """Make a folder that a setting names, unless it is there.

    Args:
        folder: The folder.
        setting: The setting's name, for the message.

    Raises:
        SettingError: If it cannot be made or written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        reason = "a file of this name is in the way" if folder.is_file() else error.strerror
        raise SettingError(
            f"{setting}={folder}: the folder cannot be made ({reason}). Choose another."
        ) from error
    if not os.access(folder, os.W_OK | os.X_OK):
        raise SettingError(f"{setting}={folder}: may not be written to. Choose another folder.")


class EarlyFlush:
    """Flushes a growing file to the disk piece by piece, while its writer goes on.

    The disk then works while the processor does instead of after it, and a large file leaves no
    long wait for the end. An error of the disk is raised by whichever call comes next: the kernel
    tells it only once.

    Args:
        path: The file; must exist.
        every_bytes: How much is written between two flushes.
    """

    def __init__(self, path: Path, every_bytes: int = 24 << 20) -> None:
        self._file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="flush")
        self._running: Future[None] | None = None
        self._every, self._waiting = every_bytes, 0

    def wrote(self, size: int) -> None:
        """Note that `size` more bytes were written; flush them if it is time and the disk is idle.

        Raises:
            OSError: If an earlier flush failed.
        """
        self._waiting += size
        if self._waiting >= self._every and (self._running is None or self._running.done()):
            self.start()

    def start(self) -> None:
        """Flush what was written so far in the background.

        Raises:
            OSError: If an earlier flush failed.
        """
        if self._running is not None:
            self._running.result()
        self._waiting = 0
        self._running = self._thread.submit(os.fdatasync, self._file)

    def close(self) -> None:
        """Wait for the flush under way; calling it again does nothing.

        Raises:
            OSError: If it failed.
        """
        if self._file < 0:
            return
        self._thread.shutdown(wait=True)
        os.close(self._file)
        self._file = -1
        if self._running is not None:
            self._running.result()


def sha256_of_file(path: Path) -> str:
    """Return the sha256 of a file as hexadecimal text."""
    digest = hashlib.sha256()
    piece = memoryview(bytearray(1 << 18))  # one buffer that stays in the processor's cache
    with open(path, "rb", buffering=0) as file:
        while size := file.readinto(piece):
            digest.update(piece[:size])
    return digest.hexdigest()
