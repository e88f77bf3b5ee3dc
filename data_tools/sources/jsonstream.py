"""Reads a JSON file of any size piece by piece: one entry of its top-level lists at a time.

COCO's files are one object of long lists. Parsed whole, the training file takes gigabytes of memory;
here an entry is parsed by the standard library's parser, handed over and forgotten. What the entries
mean is the business of `coco.py`.
"""

from __future__ import annotations

import hashlib
import json
import re
from codecs import getincrementaldecoder
from collections.abc import Callable, Iterator, Mapping
from json.decoder import JSONDecodeError
from pathlib import Path
from typing import IO, Any

from data_tools.core.errors import DataError

_CHUNK_BYTES = 1 << 20
_SPACE = " \t\n\r"
_AFTER_VALUE = (",", "]", "}", *_SPACE)
_POLYGONS = re.compile(r'"segmentation"\s*:\s*\[[][0-9.,eE+\-\s]*\](?=\s*(?:,\s*"|\}))')
"""Outlines are most of such a file, nobody here needs them, and numbers are slow to parse: a list of
numbers that is closed, with the next key or the end of the object behind it, is skipped as text."""

_MAX_PENDING = 1 << 28
"""One entry of more than so many characters is no entry of a detection data set."""


class Batch(list[Any]):
    """Several entries of one list, as the decoder of that list made them."""


class JsonStream:
    """The top-level entries of a JSON object, one after the other.

    Args:
        path: The file; UTF-8 with or without a byte order mark, or UTF-16 with one.
        decoders: Key of a list -> what turns the text `[entry, entry, ...]` into a list, many times faster
            than entry by entry; raises a ValueError where an entry is not as usual, and those around it
            are then parsed one by one.

    Raises:
        DataError: If the file cannot be read, or is not one JSON object.
    """

    def __init__(
        self, path: Path, decoders: Mapping[str, Callable[[str], list[Any]]] | None = None
    ) -> None:
        self._path, self._decoders = path, dict(decoders or {})
        self._text, self._at, self._passed = "", 0, 0
        self._ended = False
        self._digest = hashlib.sha256()
        self._parse = json.JSONDecoder().raw_decode

    @property
    def sha256(self) -> str:
        """Hash of the bytes read; of the whole file once `entries` is through."""
        return self._digest.hexdigest()

    def entries(self) -> Iterator[tuple[str, Any]]:
        """Yield `(key, element)` for every element of a list, and `(key, value)` for other values.

        Yields:
            Of a list with a decoder also `(key, Batch)`, which stands for as many elements. An empty list yields `(key, None)`, so that a caller knows that the key was there.

        Raises:
            DataError: At the first place that is not JSON, with its line-independent position.
        """
        try:
            with open(self._path, "rb") as file:
                self._file: IO[bytes] = file
                first = self._read()
                utf16 = first[:2] in (b"\xff\xfe", b"\xfe\xff") and first[2:4] != b"\0\0"
                if b"\0" in first[:4] and not utf16:
                    raise DataError(
                        f"{self._path}: not UTF-8 text (zeros among its first bytes: UTF-16 without its "
                        "mark, or UTF-32?). Save the file as UTF-8."
                    )
                self._decoder = getincrementaldecoder("utf-16" if utf16 else "utf-8-sig")()
                self._feed(first)
                yield from self._object()
        except UnicodeDecodeError as error:
            seen = bytes(error.object[max(0, error.start - 20) : error.start + 10])
            raise DataError(
                f"{self._path}: not UTF-8 text ({error.reason}, byte 0x{error.object[error.start]:02x} in "
                f"{seen!r}). Save the file as UTF-8."
            ) from error
        except RecursionError:
            raise DataError(
                f"{self._path}: nested too deeply to be annotations. Give COCO's file."
            ) from None
        except OSError as error:
            raise DataError(
                f"{self._path}: cannot be read ({error.strerror or error}). Look at its rights."
            ) from error

    def _read(self) -> bytes:
        piece = self._file.read(_CHUNK_BYTES)
        self._digest.update(piece)
        return piece

    def _feed(self, piece: bytes) -> None:
        self._ended = not piece
        text = self._text[self._at :] + self._decoder.decode(piece, final=self._ended)
        kept = _POLYGONS.sub('"segmentation":null', text)
        self._passed += self._at + len(text) - len(kept)
        self._text, self._at = kept, 0

    def _more(self) -> bool:
        """Read on; false at the end of the file."""
        if self._ended:
            return False
        if len(self._text) - self._at > _MAX_PENDING:
            self._fail("an entry of more than 256 million characters")
        # A long entry is parsed from its start again after each read: read in growing steps.
        wanted = max(_CHUNK_BYTES, len(self._text) - self._at)
        while wanted > 0 and not self._ended:
            self._feed(self._read())
            wanted -= _CHUNK_BYTES
        return True

    def _fail(self, what: str) -> Any:
        seen = self._text[self._at : self._at + 40]
        if self._ended and not seen.strip():
            what, seen = f"{what}: the file ends too early (truncated?)", ""
        place = self._passed + self._at
        shown = f", at {seen!r}" if seen else ""
        raise DataError(
            f"{self._path}: not valid JSON after {place} characters: {what}{shown}. Mend the file, or copy "
            "or export it again."
        )

    def _peek(self) -> str:
        while True:
            text, at, size = self._text, self._at, len(self._text)
            while at < size and text[at] in _SPACE:
                at += 1
            self._at = at
            if at < size:
                return text[at]
            if not self._more():
                return ""

    def _expect(self, accepted: str, what: str) -> str:
        char = self._peek()
        if not char or char not in accepted:
            self._fail(what)
        self._at += 1
        return char

    def _value(self) -> Any:
        while True:
            try:
                value, end = self._parse(self._text, self._at)
            except (JSONDecodeError, StopIteration) as error:
                if self._more():
                    continue
                message = error.msg if isinstance(error, JSONDecodeError) else "expected a value"
                return self._fail(f"{message} (or cut short) in the entry that begins there")
            except ValueError:  # Python refuses to turn so many digits into a number
                return self._fail("a number of thousands of digits in the entry that begins there")
            # A number at the end of what was read may go on in what was not: 1 . 5, 1 e 5.
            is_number = isinstance(value, (int, float))
            if is_number and self._text[end : end + 1] not in _AFTER_VALUE and self._more():
                continue
            self._at = end
            return value

    def _object(self) -> Iterator[tuple[str, Any]]:
        self._expect("{", "expected an object { ... } with images, annotations, categories")
        if self._peek() == "}":
            self._at += 1
        else:
            while True:
                if self._peek() != '"':
                    self._fail("expected a key in quotes")
                key = self._value()
                self._expect(":", "expected ':'")
                if self._peek() == "[":
                    yield from self._list(key)
                else:
                    yield key, self._value()
                if self._expect(",}", "expected ',' or '}'") == "}":
                    break
        if self._peek():
            self._fail("text after the end")

    def _batch(self, decode: Callable[[str], list[Any]]) -> Batch:
        """The entries that have been read already; none where that is not simple.

        Where the text is cut wrongly (in the midst of an entry's own list, in a text, behind the end of
        this list), it is no JSON, and its entries are taken one by one.
        """
        for comma in ("}, {", "},{"):
            cut = self._text.rfind(comma, self._at)
            if cut >= 0 and self._text[self._at] == "{":
                try:
                    batch = Batch(decode(f"[{self._text[self._at : cut + 1]}]"))
                except ValueError:
                    continue
                self._at = cut + len(comma) - 1
                return batch
        return Batch()

    def _list(self, key: str) -> Iterator[tuple[str, Any]]:
        self._at += 1
        if self._peek() == "]":
            self._at += 1
            yield key, None
            return
        parse, decode = self._parse, self._decoders.get(key)
        tried = ""
        while True:
            if decode is not None and tried is not self._text:
                tried = self._text
                batch = self._batch(decode)
                if batch:
                    yield key, batch
            # The quick way, for an entry and its comma that have been read already.
            try:
                value, end = parse(self._text, self._at)
            except (ValueError, StopIteration):
                end = len(self._text)
            if self._text[end : end + 1] == ",":
                self._at = end + 1
                yield key, value
                self._peek()
                continue
            self._peek()
            yield key, self._value()
            if self._expect(",]", "expected ',' or ']'") == "]":
                return
            self._peek()
