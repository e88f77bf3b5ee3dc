"""Class names that a user gives for sources that hold numbers only.

Which classes are kept is decided in `data_tools/sources/classes.py`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from data_tools.core.archives import bytes_of
from data_tools.core.errors import DataError
from data_tools.sources.image_files import read_text, require_file
from data_tools.sources.text_yaml import LARGEST_BYTES, read_text_yaml


def class_names(root: Path, names: Sequence[str], names_file: str, key: str) -> list[str]:
    """Return the class names that the settings give, in the order of their numbers; empty if none.

    Args:
        root: Folder that `names_file` is relative to.
        names: The names themselves.
        names_file: A file with one name a line, or YAML with a `names` list or mapping.
        key: Prefix of the settings' keys, for messages.

    Raises:
        DataError: If the file is missing or is no list of names.
    """
    if names or not names_file:
        return list(names)
    path = root / names_file
    require_file(path, f"{key}.names_file={names_file}")
    if path.suffix.lower() in (".yaml", ".yml"):
        return names_in(read_text_yaml(path, f"{key}.names_file={names_file}"), path, key)
    if bytes_of(path) > LARGEST_BYTES:
        raise DataError(
            f"{path}: {bytes_of(path)} bytes; a file of class names has at most {LARGEST_BYTES}. "
            f"Check {key}.names_file."
        )
    return [line.strip() for line in read_text(path).splitlines() if line.strip()]


def names_in(content: Mapping[str, Any], path: Path, key: str) -> list[str]:
    """Return the names of a `data.yaml`, a list or a mapping of numbers from 0, in their order.

    Raises:
        DataError: If there are none, or one is no text.
    """
    entries = content.get("names")
    advice = f"Write `names: [cat, dog]` or `0: cat`, or give them as {key}.names=[...]."
    if isinstance(entries, dict):
        numbers = {k.strip(): k for k in entries}
        wanted = [str(k) for k in range(len(entries))]
        if set(numbers) != set(wanted):
            listed = ", ".join(list(numbers)[:5])
            raise DataError(
                f"{path}: the keys of `names:` are {listed}; expected the numbers "
                f"0..{len(entries) - 1}. {advice}"
            )
        entries = [entries[numbers[k]] for k in wanted]
    if not isinstance(entries, list) or not entries:
        raise DataError(f"{path}: expected `names:` with the class names. {advice}")
    for number, entry in enumerate(entries):
        if not isinstance(entry, str) or not entry.strip():
            what = "empty" if isinstance(entry, str) else "a list or a mapping"
            raise DataError(f"{path}: `names:` number {number} is {what}, no text. {advice}")
    return entries
