"""Paths for MindSpore's readers and writers of graphs, which take few signs: no blank, no bracket,
no other alphabet.

Checkpoints need none of this: they are read and written under any name.
"""

from __future__ import annotations

import contextlib
import os
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path

from data_tools.core.errors import SettingError

_PLAIN = re.compile(r"[0-9A-Za-z_./-]+")


@contextlib.contextmanager
def plain_folder(near: Path) -> Iterator[Path]:
    """Make a temporary folder whose path MindSpore takes: in `near` if its path is such, else the
    system's.

    Raises:
        SettingError: If the system has no such folder either.
        OSError: If it cannot be made.
    """
    bases = [near, Path(tempfile.gettempdir()), Path("/tmp"), Path("/var/tmp")]
    for base in (path.resolve() for path in bases):
        if _PLAIN.fullmatch(str(base)) and os.access(base, os.W_OK | os.X_OK):
            with tempfile.TemporaryDirectory(prefix=".export-", dir=base) as folder:
                yield Path(folder)
            return
    raise SettingError(
        f"TMPDIR={tempfile.gettempdir()}: MindSpore writes graphs only to paths of the letters A "
        "to Z, digits and the signs _ - . and /. Set TMPDIR to such a folder."
    )


@contextlib.contextmanager
def plain_path(path: Path) -> Iterator[Path]:
    """Give a path by which MindSpore reads a file: its own, or a link to it in a temporary
    folder.
    """
    if _PLAIN.fullmatch(str(path.resolve())):
        yield path
        return
    with plain_folder(Path(tempfile.gettempdir())) as folder:
        link = folder / f"graph{path.suffix}"
        link.symlink_to(path.resolve())
        yield link
