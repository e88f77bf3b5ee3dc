"""Reads the long lists of a JSON object from a mapped file: where each entry lies, not yet what it
says.

COCO's files are one object of long lists. Parsed whole, the training file takes gigabytes of
memory; here msgspec finds the entries, and `coco.py` types them one by one, so that a bad one costs
itself alone.
"""

from __future__ import annotations

import hashlib
import json
import mmap
import re
from codecs import BOM_UTF8, BOM_UTF16_BE, BOM_UTF16_LE
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from data_tools.core.archives import bytes_of, open_file, split_path
from data_tools.core.errors import DataError
from data_tools.core.object_storage import is_remote

_CHUNK_BYTES = 1 << 24
_LARGEST_INSIDE = 1 << 33
_OFFSET = re.compile(r" \(byte (\d+)\)$")
_KEY_ONLY = re.compile(rb'[\s,{]*"(?:[^"\\]|\\.)*"\s*:\s*')

# What Python's json writes and reads though JSON has no such thing, and what as long may stand
# there instead. The third finds all escapes in texts; those with a group are halves of surrogate
# pairs.
_NOT_JSON = (
    (re.compile(rb"(NaN)"), b"0E0"),
    (re.compile(rb"(Infinity)"), b"0E000000"),
    (
        re.compile(
            rb"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}"
            rb"|(u[dD][89a-fA-F][0-9a-fA-F]{2})|.)"
        ),
        b"u0000",
    ),
)


@dataclass(frozen=True)
class JsonLists:
    """The lists of a JSON file, and what else is known of it.

    Args:
        entries: Key -> the raw entries of that list, views of the mapped file.
        keys: All keys of the object, in the file's order.
        sha256: Hash of the whole file.
        whole: The list that was left in one piece; then it is not among `entries`.
        offset: Byte of the file where that begins; None if the file on the disk is not what is
            mapped.
    """

    entries: dict[str, list[msgspec.Raw]]
    keys: list[str]
    sha256: str
    whole: msgspec.Raw | None = None
    offset: int | None = None


def read_lists(
    path: Path, wanted: Iterable[str], leave: str | None = None, large: int = 0
) -> JsonLists:
    """Find the entries of some lists of the outermost object.

    Args:
        path: The file; UTF-8 with or without a byte order mark, or UTF-16 with one.
        wanted: Keys of the lists; those that are missing or null are empty.
        leave: One of them, which is left in one piece where it is JSON as it stands, and large.
        large: From how many bytes a list is.

    Raises:
        DataError: If the file cannot be read, or is not one JSON object with lists under these
            keys; the first byte that is not JSON is named by line, column and byte.
    """
    try:
        data = _mapped(path)
    except OSError as error:
        raise DataError(
            f"{path}: cannot be read ({error.strerror or error}). Look at its rights."
        ) from error
    as_on_disk = split_path(path) is None and not is_remote(path)
    pool = ThreadPoolExecutor(1)  # hashing needs no interpreter
    hashing = pool.submit(_sha256, data)
    pool.shutdown(wait=False)
    start = len(BOM_UTF8) if data[:3] == BOM_UTF8 else 0
    if data[:2] in (BOM_UTF16_BE, BOM_UTF16_LE) and data[2:4] != b"\0\0":
        try:
            data, as_on_disk = bytearray(data[:].decode("utf-16").encode()), False
        except UnicodeError as error:
            raise no_text(path, error) from error
    elif b"\0" in data[:4]:
        raise DataError(
            f"{path}: not UTF-8 text (UTF-16 without its mark, or UTF-32). Save the file as UTF-8."
        )
    text = memoryview(data)[start:]
    try:
        values, entries = _find(text, wanted, leave, large, hashing)
        _refuse_repeated_keys(path, text, values)
    except UnicodeDecodeError as error:
        raise no_text(path, error) from error
    except RecursionError:
        raise DataError(f"{path}: nested too deeply to be annotations. Give COCO's file.") from None
    except msgspec.ValidationError as error:
        raise DataError(
            f"{path}: expected an object {{ ... }} with lists of images, annotations and "
            f"categories ({error}). Give a file with the whole ground truth."
        ) from None
    except msgspec.DecodeError as error:
        raise _no_json(path, data, start, str(error)) from None
    whole = None if leave is None or leave in entries else values.get(leave)
    offset = start + _address(whole) - _address(text) if whole is not None and as_on_disk else None
    return JsonLists(entries, list(values), hashing.result(), whole, offset)


def _sha256(data: Any) -> str:
    return hashlib.sha256(data).hexdigest()


def _mapped(path: Path) -> Any:
    """Map a file into memory, writable without touching the file; one in an archive is read into
    memory.
    """
    if split_path(path) is None and not is_remote(path):
        with open(path, "rb") as file:
            size = file.seek(0, 2)
            return mmap.mmap(file.fileno(), size, access=mmap.ACCESS_COPY) if size else b""
    size = bytes_of(path)
    if size > _LARGEST_INSIDE:
        raise OSError(f"{size} bytes in an archive are too many to hold in memory: unpack it")
    if not size:
        return b""
    data = mmap.mmap(-1, size)
    with open_file(path) as file:
        while piece := file.read(_CHUNK_BYTES):
            data.write(piece)
    return data


def parse(raw: msgspec.Raw) -> Any:
    """Return an entry as Python's own parser reads it, NaN and halves of surrogate pairs included.

    Raises:
        ValueError: If it is not even that, or a number has thousands of digits.
        RecursionError: If it is nested too deeply.
        UnicodeDecodeError: If it is not UTF-8.
    """
    return json.loads(bytes(raw).decode())


def no_text(path: Path, error: UnicodeError) -> DataError:
    """What to tell about a file that is not UTF-8."""
    seen = ""
    if isinstance(error, UnicodeDecodeError):
        near = bytes(error.object[max(0, error.start - 20) : error.start + 10])
        seen = f" ({error.reason}, byte 0x{error.object[error.start]:02x} in {near!r})"
    return DataError(f"{path}: not UTF-8 text{seen}. Save the file as UTF-8.")


_Values = dict[str, msgspec.Raw]


def _find(
    text: memoryview, wanted: Iterable[str], leave: str | None, large: int, hashing: Future[str]
) -> tuple[_Values, dict[str, list[msgspec.Raw]]]:
    try:
        values = msgspec.json.decode(text, type=_Values)
        keys = [key for key in wanted if key != leave or not _is_large(values.get(key), large)]
        return values, {key: entries_of(key, values.get(key)) for key in keys}
    except msgspec.DecodeError as error:
        match = _OFFSET.search(str(error))
        near = bytes(text[max(0, int(match[1]) - 2) : int(match[1]) + 2]) if match else b"NI"
        half = "surrogate" in str(error) or "hex escape" in str(error)
        if not (half or b"N" in near or b"I" in near):
            raise
    hashing.result()  # it reads what is changed for a moment now
    with _stand_ins(text):
        values = msgspec.json.decode(text, type=_Values)
        return values, {key: entries_of(key, values.get(key)) for key in wanted}


def _is_large(value: Any, large: int) -> bool:
    return value is not None and memoryview(value)[:1] == b"[" and len(memoryview(value)) >= large


def entries_of(key: str, value: Any) -> list[msgspec.Raw]:
    """Return the raw entries of a list's bytes, none if there are no bytes or they are null.

    Args:
        key: What errors call it.
        value: The bytes, or None.

    Raises:
        msgspec.ValidationError: If they are no list.
        msgspec.DecodeError: If they are not JSON.
    """
    try:
        return msgspec.json.decode(value or b"null", type=list[msgspec.Raw] | None) or []
    except msgspec.ValidationError:
        start = bytes(memoryview(value)[:40])
        raise msgspec.ValidationError(f"{key} is no list but {start!r}") from None


@contextmanager
def _stand_ins(text: memoryview) -> Iterator[None]:
    """Put something as long in place of each NaN and the like, in the private map, and take it
    back.

    Entries are views of the map: once found, they say again what the file says. Within texts it
    does no harm; only keys of the outermost object are read meanwhile, and those that count hold
    none of these.
    """
    seen = []
    for odd, instead in _NOT_JSON:
        for match in odd.finditer(text):
            if match[1]:
                seen.append((slice(*match.span(1)), match[1]))
                text[seen[-1][0]] = instead
    try:
        yield
    finally:
        for span, before in seen:
            text[span] = before


def _refuse_repeated_keys(path: Path, text: memoryview, values: _Values) -> None:
    """Of two values of one key only the last is known: what lies between values is then more than a
    key.
    """
    begin = _address(text)
    at = 0
    spans = sorted((_address(raw) - begin, len(memoryview(raw))) for raw in values.values())
    for offset, length in spans:
        if not _KEY_ONLY.fullmatch(text, at, offset):
            key = bytes(text[at : at + 40]).strip(b" \t\r\n,{")
            raise DataError(
                f"{path}: a key of the outermost object stands twice, first at {key!r}. Join the "
                "two into one."
            )
        at = offset + length


def _address(data: Any) -> int:
    return int(np.frombuffer(data, np.uint8).__array_interface__["data"][0])


def _no_json(path: Path, data: Any, start: int, message: str) -> DataError:
    match = _OFFSET.search(message)
    if match is None:
        what = "the file ends too early (truncated?)"
    else:
        at = start + int(match[1])
        line_start = max(start, data.rfind(b"\n", 0, at) + 1)
        line = 1 + sum(chunk.count(b"\n") for chunk in _chunks(data, start, at))
        before = (np.frombuffer(chunk, np.uint8) for chunk in _chunks(data, line_start, at))
        column = 1 + sum(int(((chunk & 0xC0) != 0x80).sum()) for chunk in before)  # characters
        near = bytes(data[at : at + 40]).decode(errors="replace")
        reason = message[: match.start()].removeprefix("JSON is malformed: ")
        what = f"{reason} at line {line}, column {column} (byte {at}): {near!r}"
    return DataError(f"{path}: not valid JSON: {what}. Mend the file, or copy or export it again.")


def _chunks(data: Any, start: int, stop: int) -> Iterator[bytes]:
    return (data[k : min(stop, k + _CHUNK_BYTES)] for k in range(start, stop, _CHUNK_BYTES))
