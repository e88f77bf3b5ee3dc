"""Files on the disk, inside archives, in object storage: read where they lie. A path may lead
through a `.zip`, `.tar` or `.tar.gz`.

`photos.zip/train/1.jpg` is the entry `train/1.jpg` of `photos.zip`. How an archive is read is the
business of `data_tools/core/archive.py`; what the files mean that of `sources/`.
"""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Iterator
from io import RawIOBase
from pathlib import Path
from typing import IO, Any

from data_tools.core import object_storage
from data_tools.core.archive import SUFFIXES, Archive
from data_tools.core.object_storage import is_remote
from data_tools.core.random_access import RemoteFile

_INSIDE = re.compile(r"(\.(?:zip|tar|tar\.gz|tgz)):(?=[^/])", re.IGNORECASE)
_UNUSUAL = re.compile(r"^[/.]|//|/\.|/$")
"""What `pathlib` writes otherwise: empty parts, `.`, a slash at the end."""

_opened: dict[str, tuple[tuple[int, int], Archive]] = {}
_latest: tuple[str, Archive] | None = None
_lock = threading.Lock()


def _archive(path: str) -> Archive:
    """Open an archive once for this process, again if it has changed."""
    global _latest
    if is_remote(path):
        state = 0, object_storage.size(path) or 0
    else:
        status = os.stat(path)  # noqa: PTH116 - for every label
        state = status.st_mtime_ns, status.st_size
    known = _opened.get(path)
    if known is None or known[0] != state:
        with _lock:
            known = _opened.get(path)
            if known is None or known[0] != state:
                known = state, Archive(path, RemoteFile(path) if is_remote(path) else None)
                _opened[path] = known
    if _latest is None or _latest[1] is not known[1]:
        _latest = f"{path}/", known[1]
    return known[1]


def split_path(path: str | Path) -> tuple[str, str] | None:
    """Cut a path that leads into an archive: its file, and the name inside; None for any other
    path.
    """
    text = str(path)
    known = _latest
    if known is not None and text.startswith(known[0]) and not is_remote(text):
        # Most paths lead into the archive of the path before: no need to take them apart.
        file_name, inside = known[0][:-1], text[len(known[0]) :]
        if not _UNUSUAL.search(inside) and os.path.isfile(file_name):  # noqa: PTH113
            return file_name, inside
    lower = text.lower()
    if not any(suffix in lower for suffix in SUFFIXES):
        return None
    parts = Path(text).parts
    for count, part in enumerate(parts, 1):
        if part.lower().endswith(SUFFIXES):
            file = Path(*parts[:count])
            if object_storage.size(file) is not None if is_remote(text) else file.is_file():
                return str(file), "/".join(parts[count:])
    return None


def with_slash(text: str) -> str:
    """Write `a.zip:b/c.json`, as a setting may have it, as the path `a.zip/b/c.json`.

    >>> with_slash("a.zip:b/c.json"), with_slash("b/c.json")
    ('a.zip/b/c.json', 'b/c.json')
    """
    return _INSIDE.sub(r"\1/", text)


def names_in(path: str | Path) -> list[str] | None:
    """Return the names of all files below a folder of an archive, relative to it; None if it is
    none.

    Raises:
        DataError: If the archive cannot be read.
    """
    entry_path = split_path(path)
    if entry_path is None and is_remote(path):
        return object_storage.names(path)
    return None if entry_path is None else _archive(entry_path[0]).names(entry_path[1])


def swells(path: str | Path) -> bool:
    """Whether a path leads into an archive that holds more than its own size."""
    entry_path = split_path(path)
    return entry_path is not None and _archive(entry_path[0]).swells


def size_of(path: str | Path) -> int | None:
    """Return the size in bytes of a file in an archive; None if the path leads to none."""
    entry_path = split_path(path)
    if entry_path is None and is_remote(path):
        return object_storage.size(path)
    entry = _archive(entry_path[0]).find(entry_path[1]) if entry_path is not None else None
    return None if entry is None else entry.size


def is_file(path: str | Path) -> bool:
    """Whether a path leads to a file, on the disk or in an archive."""
    return os.path.isfile(path) or size_of(path) is not None  # noqa: PTH113 - for every label


def bytes_of(path: str | Path) -> int:
    """Return the size in bytes of a file on the disk or in an archive.

    Raises:
        OSError: If there is none.
    """
    try:
        if is_remote(path):
            raise NotADirectoryError
        return os.stat(path).st_size  # noqa: PTH116 - for every label
    except NotADirectoryError:
        size = size_of(path)
        if size is None:
            raise FileNotFoundError(2, os.strerror(2), str(path)) from None
        return size


class _EntryFile(RawIOBase):
    """An entry as a file that is read from its start to its end."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces, self._rest = pieces, b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        self._rest = self._rest or next(self._pieces, b"")
        count = min(len(buffer), len(self._rest))
        buffer[:count] = self._rest[:count]
        self._rest = self._rest[count:]
        return count


def open_file(path: str | Path) -> IO[bytes]:
    """Open a file for reading, on the disk or in an archive.

    Raises:
        OSError: If there is none.
    """
    try:
        if is_remote(path):
            raise NotADirectoryError
        return open(path, "rb", buffering=0)
    except NotADirectoryError:
        entry_path = split_path(path)
        if entry_path is None and is_remote(path):
            return RemoteFile(str(path)).as_file()
        entry = _archive(entry_path[0]).find(entry_path[1]) if entry_path is not None else None
        if entry_path is None or entry is None:
            raise FileNotFoundError(2, os.strerror(2), str(path)) from None
        return _EntryFile(_archive(entry_path[0]).pieces(entry))  # type: ignore[return-value]


def read_file(path: str | Path) -> bytes:
    """Return the bytes of a file on the disk or in an archive.

    An archive that this process has opened is not looked at again: what has changed fails its
    checksum.

    Raises:
        OSError: If there is none, or it is damaged.
    """
    text = str(path)
    known = _latest
    if known is not None and text.startswith(known[0]):
        return _read(known[1], text[len(known[0]) :], text)
    try:
        if is_remote(text):
            raise NotADirectoryError
        with open(path, "rb", buffering=0) as file:
            return file.read()
    except NotADirectoryError:
        entry_path = split_path(path)
        if entry_path is None and is_remote(text):
            return object_storage.read(text)
        if entry_path is None:
            raise FileNotFoundError(2, os.strerror(2), text) from None
    return _read(_archive(entry_path[0]), entry_path[1], text)


def _read(archive: Archive, name: str, path: str) -> bytes:
    entry = archive.find(name)
    if entry is None:
        raise FileNotFoundError(2, os.strerror(2), path)
    return archive.read(entry)
