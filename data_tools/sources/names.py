"""Class names that a user gives for sources that hold numbers only.

Which classes are kept is decided in `data_tools/sources/classes.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from data_tools.core.errors import DataError
from data_tools.sources.image_files import read_text, require_file


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
    text = read_text(path)
    if path.suffix.lower() not in (".yaml", ".yml"):
        return [line.strip() for line in text.splitlines() if line.strip()]
    import yaml  # type: ignore[import-untyped]

    try:
        content = yaml.safe_load(text)
        entries = content["names"]
        if isinstance(entries, dict):
            entries = [entries[k] for k in range(len(entries))]
        if not isinstance(entries, list) or not entries:
            raise TypeError("no list")
        return [str(entry) for entry in entries]
    except (yaml.YAMLError, KeyError, TypeError) as error:
        raise DataError(
            f"{path}: expected YAML with `names:` and the class names ({error!r}). Give them as "
            f"{key}.names=[...] instead."
        ) from error
