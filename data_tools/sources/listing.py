"""Lists the files of a raw data set: images or annotations below a folder, without what systems
hide there.

Which picture a name means is found in `data_tools/sources/picture_names.py`.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path, PurePosixPath

from data_tools.core.archives import names_in
from data_tools.core.files import IMAGE_SUFFIXES, UNREAD_SUFFIXES
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
    paths, hidden = _listed(folder, suffixes)
    if log is not None:
        _report_hidden(hidden, shown, log)
    return paths


def _listed(folder: Path, suffixes: tuple[str, ...]) -> tuple[list[str], Counter[str]]:
    """The files with some endings, sorted, and how many of them each hidden folder or name has."""
    paths = []
    hidden: Counter[str] = Counter()
    for base, files in _folders(folder):
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
    return sorted(paths), hidden


def _report_hidden(hidden: Counter[str], shown: str, log: DefectLog) -> None:
    for parent, count in sorted(hidden.items()):
        where = parent.encode(errors="backslashreplace").decode()
        log.add("hidden_files", f"{shown}/{where}".lstrip("/"), f"files: {count}")


def folders_below(folder: Path) -> Iterator[Path]:
    """Yield every folder below a folder, itself too, that is not hidden, in the order of names."""
    for base in sorted(base for base, _ in _folders(folder)):
        if not any(map(is_hidden, base.parts)):
            yield folder / base


def _folders(folder: Path) -> Iterable[tuple[Path, list[str]]]:
    inside = names_in(folder)
    if inside is None:
        return _walk(folder)
    # In an archive there are no links; a folder for each parent, as a walk has them.
    files_of: dict[str, list[str]] = {}
    for name in inside:
        parent, _, last = name.rpartition("/")
        files_of.setdefault(parent, []).append(last)
    return [(Path(parent), files) for parent, files in files_of.items()]


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
    *,
    report_hidden: bool = True,
) -> list[str]:
    """List the images below a folder as `list_files` does.

    Pictures that nothing here reads are left out, with a line for each folder and ending.

    Args:
        folder: The folder.
        log: Where hidden and unread files go; None leaves them out without a line.
        shown: The folder as the settings have it, for the lines.
        folders: Only what is below these folders of it; empty takes all.
        report_hidden: False where another listing of the folder has reported what is hidden.
    """
    everything, hidden = _listed(folder, IMAGE_SUFFIXES + UNREAD_SUFFIXES)
    if folders:
        starts = tuple(f"{start.strip('/')}/" for start in folders)
        everything = [name for name in everything if name.startswith(starts)]
    names = []
    unread: dict[tuple[str, str], list[str]] = {}
    for name in everything:
        ending = PurePosixPath(name.lower()).suffix
        if ending in UNREAD_SUFFIXES:
            unread.setdefault((name.rpartition("/")[0], ending), []).append(name)
        else:
            names.append(name)
    if log is not None:
        if report_hidden:
            _report_hidden(hidden, shown, log)
        for (parent, ending), files in sorted(unread.items()):
            where = f"{shown}/{parent}".strip("/").encode(errors="backslashreplace").decode()
            first = files[0].encode(errors="backslashreplace").decode()
            detail = f"{ending} is not read: {len(files)} files, {first} the first"
            log.add("unread_files", where or ".", detail)
    return names
