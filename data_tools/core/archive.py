"""An archive, `.zip`, `.tar` or `.tar.gz`, as its entries: where each lies, and its bytes, read by
itself.

Nothing is unpacked to the disk, no entry leads outside, a bomb is refused. Paths that lead through
an archive are the business of `data_tools/core/archives.py`.
"""

from __future__ import annotations

import struct
import tarfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import deflate
from isal import isal_zlib

from data_tools.core.errors import DataError
from data_tools.core.random_access import DiskFile, GzipFile, Readable

GZIP_SUFFIXES = (".tar.gz", ".tgz")
SUFFIXES = (".zip", ".tar", *GZIP_SUFFIXES)
"""Endings of the archives that are read, in small letters."""

LARGEST_BYTES = 1 << 30
"""No picture and no label file that is read in one go has more."""
MOST_TIMES = 200
"""An archive that swells by more than this is a bomb: pictures do not shrink, annotations by ten.
"""
FREE_BYTES = 1 << 30
"""What an archive may hold, swollen as it may be."""

LARGEST_AT_ONCE = 32 << 20
"""Files up to here are inflated by libdeflate: in memory twice for a moment, in three quarters of
the time."""

_LOCAL_HEADER = struct.Struct("<4s22xHH")
_USUAL_HEADER = 256
"""Bytes of a local header with its name, as most are."""
_PIECE = 1 << 20
# The last one is a name of any length, which tarfile makes room for.
_NO_ARCHIVE = (zipfile.BadZipFile, tarfile.TarError, NotImplementedError, MemoryError)


@dataclass(frozen=True)
class Entry:
    """Where an entry lies in its archive.

    Args:
        start: Byte of its local header (zip) or of its data (tar, inflated where it is compressed).
        stored: Bytes that it takes there.
        size: Bytes of the file.
        crc: CRC-32 of the file; None in a tar.
        deflated: The entry itself is compressed.
    """

    start: int
    stored: int
    size: int
    crc: int | None
    deflated: bool


class Archive:
    """An archive that is open for reading; may be shared by threads.

    A `.tar.gz` is inflated once when it is opened, to find its entries and points to start from.

    Args:
        path: The file, which names it in errors; its ending tells the kind.
        file: Where its bytes come from; None opens the file on the disk.

    Attributes:
        entries: Name of each file to where it lies.
        swells: What it holds is larger than itself by more than a tenth.

    Raises:
        DataError: If it is no archive, is encrypted, swells beyond all measure, or cannot be read.
    """

    def __init__(self, path: str, file: Readable | None = None) -> None:
        self._path, lower = path, path.lower()
        self.entries: dict[str, Entry] = {}
        try:
            self._file = file if file is not None else DiskFile(path)
            packed, held = self._file.size, 0
            if lower.endswith(GZIP_SUFFIXES):
                self._file = GzipFile(self._file)
            for name, entry in self._zip() if lower.endswith(".zip") else self._tar():
                held += entry.size
                if held > max(FREE_BYTES, MOST_TIMES * packed):
                    raise DataError(
                        f"{path}: {packed} bytes that would become {held} or more: an archive "
                        "bomb, or no archive of pictures. It is not read."
                    )
                self.entries[name] = entry
        except (OSError, *_NO_ARCHIVE) as error:
            raise DataError(
                f"{path}: cannot be read as an archive ({str(error) or type(error).__name__}). It "
                "is damaged or cut short: copy it again, or unpack it and give the folder."
            ) from error
        self.swells = 10 * held > 11 * packed
        tops = {name.partition("/")[0] for name in self.entries if "/" in name}
        alone = len(tops) == 1 and all("/" in name for name in self.entries)
        self._top = f"{tops.pop()}/" if alone else ""

    def _zip(self) -> Iterator[tuple[str, Entry]]:
        with self._file.as_file() as raw, zipfile.ZipFile(raw) as file:
            for info in file.infolist():
                name = _plain(info.filename)
                if info.is_dir() or name is None:
                    continue
                if info.flag_bits & 1:
                    raise DataError(f"{self._path}: {info.filename} is encrypted. Unpack it first.")
                if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                    raise DataError(
                        f"{self._path}: {info.filename} is compressed by method "
                        f"{info.compress_type}; stored and deflated entries are read. Pack it "
                        "anew, or unpack it."
                    )
                yield (
                    name,
                    Entry(
                        info.header_offset, info.compress_size, info.file_size, info.CRC,
                        info.compress_type == zipfile.ZIP_DEFLATED,
                    ),
                )  # fmt: skip

    def _tar(self) -> Iterator[tuple[str, Entry]]:
        with self._file.as_file() as raw, tarfile.open(fileobj=raw, mode="r:") as file:
            for member in file:
                name = _plain(member.name)
                # Links and devices are left out: what they lead to is not the archive's own.
                if name is not None and member.isreg() and not member.issparse():
                    yield name, Entry(member.offset_data, member.size, member.size, None, False)
            # At a header that it cannot read, tarfile stops as at the end, which is a block of
            # zeros.
            if any(self._file.read_at(file.offset, tarfile.BLOCKSIZE)):
                raise OSError(f"no header at byte {file.offset}")

    def find(self, name: str) -> Entry | None:
        """Return the entry of a name, also where all entries lie in one folder that the name leaves
        out.
        """
        return self.entries.get(name) or self.entries.get(self._top + name)

    def names(self, folder: str) -> list[str] | None:
        """Return the names of all files below a folder, relative to it; None if there is no such
        folder.
        """
        start = f"{folder}/" if folder else self._top
        inside = [name[len(start) :] for name in self.entries if name.startswith(start)]
        if not inside and folder and self._top:
            start = f"{self._top}{folder}/"
            inside = [name[len(start) :] for name in self.entries if name.startswith(start)]
        return inside or (None if folder else [])

    def read(self, entry: Entry) -> bytes:
        """Return the bytes of an entry.

        Raises:
            OSError: If it is damaged, or longer than the archive says.
        """
        if entry.size > LARGEST_BYTES:
            raise OSError(f"it has {entry.size} bytes, more than any picture")
        if entry.crc is None:
            data = self._file.read_at(entry.start, entry.size)
            if len(data) != entry.size:
                raise OSError("the archive ends in the middle of it")
            return data
        data = self._stored(entry)
        if entry.deflated:
            data = self._inflated(data, entry.size)
            if len(data) > entry.size:
                raise OSError(f"it has more than the {entry.size} bytes that the archive says")
        if len(data) != entry.size or isal_zlib.crc32(data) != entry.crc:
            raise OSError("it is damaged in the archive (length or checksum)")
        return data

    def _inflated(self, data: bytes, size: int) -> bytes:
        """Return what an entry holds, one byte more than `size` where it is more."""
        if 0 < size <= LARGEST_AT_ONCE:
            try:
                return bytes(deflate.deflate_decompress(data, size))
            except deflate.DeflateError:
                pass  # it is damaged or too long; ISA-L tells which
        return self._swell(isal_zlib.decompressobj(-15), data, size + 1)

    def _stored(self, entry: Entry) -> bytes:
        """Return the bytes of a zip's entry as they lie there."""
        if not self._file.far:  # a second call costs less than to copy the data off its header
            header = self._file.read_at(entry.start, _LOCAL_HEADER.size)
            return self._file.read_at(self._data_start(entry, header), entry.stored)
        raw = self._file.read_at(entry.start, entry.stored + _USUAL_HEADER)
        start = self._data_start(entry, raw) - entry.start
        if start + entry.stored > len(raw):
            return self._file.read_at(entry.start + start, entry.stored)
        return raw[start : start + entry.stored]

    def pieces(self, entry: Entry) -> Iterator[bytes]:
        """Yield the bytes of an entry, at most about a megabyte at a time.

        Raises:
            OSError: If it is damaged, or longer than the archive says.
        """
        header = self._file.read_at(entry.start, _LOCAL_HEADER.size)
        start, left = self._data_start(entry, header), entry.stored
        decompress = isal_zlib.decompressobj(-15) if entry.deflated else None
        crc, size = 0, 0
        while left:
            raw = self._file.read_at(start, min(left, _PIECE))
            if not raw:
                raise OSError("the archive ends in the middle of it")
            start, left = start + len(raw), left - len(raw)
            while raw:
                piece = raw if decompress is None else self._swell(decompress, raw, _PIECE)
                raw = b"" if decompress is None else decompress.unconsumed_tail
                size += len(piece)
                crc = 0 if entry.crc is None else isal_zlib.crc32(piece, crc)
                if size > entry.size:
                    raise OSError(f"it has more than the {entry.size} bytes that the archive says")
                if piece:
                    yield piece
        if size != entry.size or (entry.crc is not None and crc != entry.crc):
            raise OSError("it is damaged in the archive (length or checksum)")

    @staticmethod
    def _swell(decompress: Any, raw: bytes, most: int) -> bytes:
        try:
            piece: bytes = decompress.decompress(raw, most)
        except isal_zlib.IsalError as error:  # type: ignore[misc]
            raise OSError(f"it is damaged in the archive ({error})") from error
        return piece

    @staticmethod
    def _data_start(entry: Entry, header: bytes) -> int:
        """Where the data of an entry lies; `header` begins with its local header."""
        if entry.crc is None:
            return entry.start
        if len(header) < _LOCAL_HEADER.size or header[:4] != b"PK\3\4":
            raise OSError("it is damaged in the archive (no header)")
        _, name, extra = _LOCAL_HEADER.unpack_from(header)
        return entry.start + _LOCAL_HEADER.size + int(name) + int(extra)


def _plain(name: str) -> str | None:
    """An entry's name with `/` between the parts; None for one that leaves the archive."""
    parts = [part for part in name.replace("\\", "/").split("/") if part not in ("", ".")]
    bad = name.startswith(("/", "\\")) or ".." in parts or name[1:2] == ":"
    return None if bad or not parts else "/".join(parts)
