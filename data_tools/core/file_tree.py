"""What lies in a folder, on the disk or in an archive: names of folders and files, one level deep.

How files are read is the business of `data_tools/core/archives.py`.
"""

from __future__ import annotations

import os
from pathlib import Path

from data_tools.core.archives import is_file, names_in


def is_folder(path: str | Path) -> bool:
    """Whether a path leads to a folder, on the disk or in an archive; an archive is one too.

    Raises:
        DataError: If it leads into an archive that cannot be read.
    """
    return os.path.isdir(path) or names_in(path) is not None  # noqa: PTH112 - text or Path


def exists(path: str | Path) -> bool:
    """Whether a path leads to a file or folder, on the disk or in an archive."""
    return os.path.exists(path) or is_file(path) or is_folder(path)  # noqa: PTH110 - text or Path


def children(path: str | Path) -> tuple[list[str], list[str]]:
    """Return the names of the folders and of the files of a folder, each sorted.

    Raises:
        OSError: If it is no folder, or may not be read.
        DataError: If it leads into an archive that cannot be read.
    """
    inside = names_in(path)
    if inside is not None:
        folders = {name.partition("/")[0] for name in inside if "/" in name}
        return sorted(folders), sorted(name for name in inside if "/" not in name)
    with os.scandir(path) as entries:
        listed = [(entry.name, entry.is_dir()) for entry in entries]
    return sorted(n for n, folder in listed if folder), sorted(n for n, f in listed if not f)
