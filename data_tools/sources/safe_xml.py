"""XML from anywhere, read within bounds: no entities, nothing from outside, limited size, depth and
count.

Also reads the encodings that the parser lacks (GB2312, Shift-JIS, ...). What the elements mean is
not known here.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Callable
from typing import Any
from xml.etree.ElementTree import TreeBuilder

from defusedxml.common import DefusedXmlException
from defusedxml.ElementTree import DefusedXMLParser, ParseError

LARGEST_BYTES = 64 << 20
_DEEPEST = 100
_MOST_ELEMENTS = 2_000_000
_MOST_ATTRIBUTES = 1000
_DECLARATION = re.compile(rb"^\s*<\?xml[^>]*?encoding\s*=\s*[\"']([A-Za-z0-9._:-]+)[\"'][^>]*\?>")
_KNOWN_TO_PARSER = ("utf-8", "utf-16", "iso8859-1", "ascii")


class XmlError(ValueError):
    """A file is no XML, is unsafe, or exceeds the bounds; the message says which."""


def parse_xml(
    data: bytes, most_elements: int = _MOST_ELEMENTS, most_bytes: int = LARGEST_BYTES
) -> Any:
    """Parse a file to its root element.

    Args:
        data: The file's bytes.
        most_elements: How many elements are read at most.
        most_bytes: How large a file is read at most.

    Raises:
        XmlError: If it is no XML, declares entities, or is too large, deep or long.
    """
    if len(data) > most_bytes:
        raise XmlError(f"larger than {most_bytes >> 20} MiB")
    try:
        parser = DefusedXMLParser(target=_Bounded(most_elements))
        parser.feed(_as_utf8(data))
        return parser.close()
    except DefusedXmlException as error:
        raise XmlError(f"refused as unsafe: {type(error).__name__}") from error
    except (ParseError, LookupError, ValueError, RecursionError) as error:
        raise XmlError(str(error) or type(error).__name__) from error


def _as_utf8(data: bytes) -> bytes:
    """Decode what declares an encoding that the parser does not know."""
    declared = _DECLARATION.match(data[:200])
    if declared is None:
        return data
    name = codecs.lookup(declared[1].decode("ascii")).name
    if name in _KNOWN_TO_PARSER or name.startswith("utf-16"):
        return data
    # GB2312 is declared where GBK is meant; GB18030 holds both.
    text = data[declared.end() :].decode("gb18030" if name.startswith("gb") else name)
    return text.encode()


class _Bounded:
    """A tree builder that stops where a file nests too deep or holds too much."""

    def __init__(self, most_elements: int) -> None:
        builder = TreeBuilder()
        self._start, self._end = builder.start, builder.end
        self.data: Callable[[str], Any] = builder.data
        self.close: Callable[[], Any] = builder.close
        self._depth, self._left = 0, most_elements

    def start(self, tag: str, attributes: dict[str, str]) -> Any:
        self._depth += 1
        self._left -= 1
        if self._depth > _DEEPEST:
            raise XmlError(f"nests deeper than {_DEEPEST} elements")
        if self._left < 0:
            raise XmlError("holds too many elements")
        if len(attributes) > _MOST_ATTRIBUTES:
            raise XmlError("an element has too many attributes")
        return self._start(tag, attributes)

    def end(self, tag: str) -> Any:
        self._depth -= 1
        return self._end(tag)
