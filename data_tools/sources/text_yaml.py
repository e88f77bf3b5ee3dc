"""YAML as text: a `data.yaml` comes from anywhere, so every value stays the text that was typed.

YAML 1.1 would make `off` a truth value, `010` eight and `12:30` seven hundred and fifty; a class
may have any of these names. Aliases, which multiply, are refused; size and depth are bounded. What
the keys mean is not known here.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]

from data_tools.core.archives import bytes_of
from data_tools.core.errors import DataError
from data_tools.sources.image_files import read_text

LARGEST_BYTES = 4 << 20
_DEEPEST = 20


def read_text_yaml(path: Path, key: str) -> dict[str, Any]:
    """Read a YAML mapping whose scalars stay text.

    Args:
        path: The file.
        key: Setting that named it, for messages.

    Returns:
        Mappings, lists and texts; an empty value is the empty text.

    Raises:
        DataError: If it is no YAML mapping, is larger than 4 MiB, nests too deep, repeats a key or
            uses aliases.
    """
    try:
        size = bytes_of(path)
    except OSError as error:
        raise DataError(f"{path} ({key}): cannot be read ({error.strerror or error}).") from error
    if size > LARGEST_BYTES:
        raise DataError(
            f"{path} ({key}): {size} bytes; a file of class names and paths has at most "
            f"{LARGEST_BYTES}. Check the setting."
        )
    try:
        content = _tree(yaml, read_text(path))
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        if isinstance(error, DataError):
            raise
        reason = " ".join(str(error).split())
        raise DataError(
            f"{path} ({key}): expected plain YAML with `names:` and the class names, but {reason}."
        ) from error
    if not isinstance(content, dict):
        raise DataError(f"{path} ({key}): expected YAML with `names:` and the class names.")
    return content


def _tree(yaml: Any, text: str) -> Any:
    """Build the tree from the parser's events: no constructor runs, no recursion, nothing is
    shared.
    """
    # Each open node: its content, and the key that waits for a value (mappings only).
    stack: list[tuple[Any, list[str]]] = []
    root: Any = None
    for event in _events(getattr(yaml, "CBaseLoader", yaml.BaseLoader), text):
        if isinstance(event, yaml.AliasEvent):
            raise ValueError(
                f"line {event.start_mark.line + 1} has the alias *{event.anchor}; names are plain "
                "texts: write each out"
            )
        if isinstance(event, (yaml.SequenceEndEvent, yaml.MappingEndEvent)):
            value, _ = stack.pop()
        elif isinstance(event, (yaml.SequenceStartEvent, yaml.MappingStartEvent)):
            if len(stack) >= _DEEPEST:
                raise ValueError(f"it nests deeper than {_DEEPEST} levels")
            if stack and isinstance(stack[-1][0], dict) and not stack[-1][1]:
                raise ValueError(f"line {event.start_mark.line + 1} has a key that is no text")
            stack.append(({} if isinstance(event, yaml.MappingStartEvent) else [], []))
            continue
        elif isinstance(event, yaml.ScalarEvent):
            value = event.value
        else:
            continue
        if not stack:
            root = value
            continue
        parent, waiting = stack[-1]
        if isinstance(parent, list):
            parent.append(value)
        elif waiting:
            parent[waiting.pop()] = value
        elif value in parent:
            raise ValueError(f"the key {value!r} stands twice (line {event.start_mark.line + 1})")
        else:
            waiting.append(value)
    return root


def _events(loader_class: Any, text: str) -> Iterator[Any]:
    """Yield the events of the parser; the loader constructs nothing of them."""
    loader = loader_class(text)
    try:
        while loader.check_event():
            yield loader.get_event()
    finally:
        loader.dispose()
