"""Files that are read at any offset: on the disk, in object storage, or inflated from a gzip file.

What lies in them is the business of `data_tools/core/archive.py`.
"""

from __future__ import annotations

import os
from io import BufferedReader, RawIOBase
from typing import IO, Any, Protocol

from data_tools.core import object_storage

_SPACING = 1 << 20
"""Bytes between two points where inflating may start, in a gzip file that is not large."""
_MOST_POINTS = 4096
"""Each takes 32 KiB of memory."""
_FETCHED = 4 << 20
"""Bytes fetched at once over a network where a file is read from its start to its end."""
_LARGEST_READ = 1 << 30
"""No picture has more; a tar may claim a name of any length."""


class Readable(Protocol):
    """A file of known size that any thread may read at any offset."""

    size: int
    far: bool
    """Every read is a request over a network."""

    def read_at(self, start: int, count: int) -> bytes:
        """Return `count` bytes from byte `start` on, fewer where the file ends.

        Raises:
            OSError: If they cannot be read.
        """
        ...

    def as_file(self) -> IO[bytes]:
        """Return it as a file of its own with an offset of its own, for what wants one."""
        ...


class DiskFile:
    """A file on the disk.

    Args:
        path: The file.

    Raises:
        OSError: If it cannot be opened.
    """

    far = False

    def __init__(self, path: str) -> None:
        self._file = -1  # for `__del__`, where opening fails
        self._file = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
        self.size = os.fstat(self._file).st_size

    def read_at(self, start: int, count: int) -> bytes:
        """Return bytes; see `Readable`."""
        return os.pread(self._file, count, start)

    def as_file(self) -> IO[bytes]:
        """Return it as a file; see `Readable`."""
        return BufferedReader(_At(self))

    def __del__(self) -> None:
        if self._file >= 0:
            os.close(self._file)


class RemoteFile:
    """A file in object storage or on a web server.

    Args:
        path: Its path, see `object_storage.py`.

    Raises:
        FileNotFoundError: If there is none.
        StorageError: If it cannot be reached.
    """

    far = True

    def __init__(self, path: str) -> None:
        size = object_storage.size(path)
        if size is None:
            raise FileNotFoundError(2, os.strerror(2), object_storage.address(path))
        self._path, self.size = path, size

    def read_at(self, start: int, count: int) -> bytes:
        """Return bytes; see `Readable`."""
        count = max(0, min(count, self.size - start))
        if start == 0 and count == self.size:
            return object_storage.read(self._path)
        return object_storage.read(self._path, start, count)

    def as_file(self) -> IO[bytes]:
        """Return it as a file; see `Readable`."""
        return BufferedReader(_At(self), _FETCHED)


class GzipFile:
    """What a gzip file holds; points to start from are found as it is first read.

    Args:
        file: The gzip file.

    Raises:
        OSError: If it is damaged.
    """

    far = False

    def __init__(self, file: Readable) -> None:
        spacing = max(_SPACING, file.size // _MOST_POINTS)
        import indexed_gzip

        self._file = indexed_gzip.IndexedGzipFile(
            fileobj=file.as_file(), spacing=spacing, buffer_size=_SPACING
        )
        self.size = -1  # known only at its end, which nobody asks for

    def read_at(self, start: int, count: int) -> bytes:
        """Return bytes; see `Readable`."""
        if count > _LARGEST_READ:
            raise OSError(f"a part of {count} bytes")
        data: bytes = self._file.pread(count, start)
        return data

    def as_file(self) -> IO[bytes]:
        """Return it as a file; see `Readable`."""
        return BufferedReader(_At(self))


class _At(RawIOBase):
    """A `Readable` as a raw file that can be sought in."""

    def __init__(self, file: Readable) -> None:
        self._file, self._offset = file, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._offset

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = (0, self._offset, self._file.size)[whence]
        self._offset = base + offset
        return self._offset

    def readinto(self, buffer: Any) -> int:
        data = self._file.read_at(self._offset, len(buffer))
        buffer[: len(data)] = data
        self._offset += len(data)
        return len(data)
