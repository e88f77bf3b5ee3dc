"""Lists the files of a raw data set: images or annotations below a folder, without what systems
hide there.

Which picture a name means is found in `data_tools/sources/picture_names.py`.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from data_tools.core.archives import names_in
from data_tools.core.files import IMAGE_SUFFIXES
from data_tools.sources.defects import DefectLog

_HIDDEN_FOLDERS = frozenset(
    ("@eadir", "@recycle", "@tmp", "@sharebin", "#recycle", "#snapshot", "__macosx", "lost+found")
    + ("$recycle.bin", "recycler", "system volume information", "found.000")
)
"""In small letters: systems differ in the case that they write."""


def is_hidden(folder: str) -> bool:
    """Whether a folder is one that systems and editors keep, which no data set means.

    >>> [is_hidden(name) for name in (".ipynb_checkpoints", "@eaDir", "$Recycle.Bin", "train")]
    [True, True, True, False]
    """
    return folder.startswith(".") or folder.casefold() in _HIDDEN_FOLDERS


def list_files(
    folder: Path, suffixes: tuple[str, ...], log: DefectLog | None = None, shown: str = ""
) -> list[str]:
    """List the files below a folder, sorted, as names relative to it; symlink loops are not
    followed.

    What is hidden is left out, with a line for each folder.

    Args:
        folder: The folder.
        suffixes: Endings in small letters; any case is taken.
        log: Where hidden files go; None leaves them out without a line.
        shown: The folder as the settings have it, for the lines.
    """
    paths = []
    hidden: Counter[str] = Counter()
    walk: Iterable[tuple[Path, list[str]]]
    inside = names_in(folder)
    if inside is not None:
        # In an archive there are no links; a folder for each parent, as a walk has them.
        files_of: dict[str, list[str]] = {}
        for name in inside:
            parent, _, last = name.rpartition("/")
            files_of.setdefault(parent, []).append(last)
        walk = [(Path(parent), files) for parent, files in files_of.items()]
    else:
        walk = _walk(folder)
    for base, files in walk:
        outer = next((k for k, part in enumerate(base.parts) if is_hidden(part)), None)
        for name in files:
            if not name.lower().endswith(suffixes):
                continue
            if outer is not None:
                hidden["/".join(base.parts[: outer + 1])] += 1
            elif name.startswith("."):  # ._a.jpg is what macOS knows of a.jpg
                hidden[(base / name).as_posix()] += 1
            else:
                paths.append((base / name).as_posix())
    if log is not None:
        for parent, count in sorted(hidden.items()):
            where = parent.encode(errors="backslashreplace").decode()
            log.add("hidden_files", f"{shown}/{where}".lstrip("/"), f"files: {count}")
    return sorted(paths)


def _walk(folder: Path) -> Iterator[tuple[Path, list[str]]]:
    """Yield every folder below a folder, relative to it, with its files; symlink loops end."""
    seen = set()
    for current, folders, files in os.walk(folder, followlinks=True):
        status = Path(current).stat()
        if (status.st_dev, status.st_ino) in seen:
            folders.clear()
            continue
        seen.add((status.st_dev, status.st_ino))
        yield Path(current).relative_to(folder), files


def list_images(
    folder: Path,
    log: DefectLog | None = None,
    shown: str = "",
    folders: Sequence[str] = (),
) -> list[str]:
    """List the images below a folder as `list_files` does; `folders` keeps those below some of its
    folders.
    """
    names = list_files(folder, IMAGE_SUFFIXES, log, shown)
    if folders:
        starts = tuple(f"{start.strip('/')}/" for start in folders)
        names = [name for name in names if name.startswith(starts)]
    return names
