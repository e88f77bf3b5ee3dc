"""Finds the folders of labels that have a file for each picture: VOC, LabelMe, KITTI.

What a file is, its first bytes tell (`data_tools/sources/file_kinds.py`).
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from data_tools.core.file_tree import children
from data_tools.core.files import IMAGE_SUFFIXES
from data_tools.sources.candidate import split_folders
from data_tools.sources.file_kinds import kind_of_file
from data_tools.sources.listing import folders_below, is_hidden
from data_tools.sources.split_files import ONE_FILE

_KINDS = ("voc", "labelme", "kitti")
_SUFFIXES = (".xml", ".json", ".txt", ".csv")
_FIRST = 3
"""Files of an ending that are looked at: the first may be one of names, or of the whole set."""
_LOOKED_AT = 100
_MOST_FOLDERS = 300


def label_folders(folder: Path, *, of_split: bool) -> Iterator[tuple[str, Path, list[Path]]]:
    """Yield the labels of a folder that lie in a file for each picture, and files of all boxes
    that lie among them.

    Looked at are the folder and the folders in it; where one has labels, and in the folder of a
    split, all further down as well, since the readers go there.

    Args:
        folder: The folder.
        of_split: It is that of a split: folders in it of the name of a split are none.

    Yields:
        Kind, folder that holds all its labels, and the folders that they lie in. Of a file of all
        boxes: kind, the file, and its folder.
    """
    nested = split_folders(folder)
    skipped = {path.name for path in nested.values()} if not of_split or len(nested) > 1 else set()
    near = [folder / name for name in children(folder)[0] if not is_hidden(name)]
    near = [folder, *(path for path in near if path.name not in skipped)]
    paths_of: dict[str, list[Path]] = {}
    for path in near:
        for kind in _kinds_in(path):
            paths_of.setdefault(kind, []).append(path)
    if not paths_of and not of_split:
        return
    deeper: dict[str, list[Path]] = {}
    looked_at = 0
    for path in folders_below(folder):
        inside = path.relative_to(folder).parts
        if len(inside) < 2 or inside[0] in skipped:
            continue
        looked_at += 1
        if looked_at > _MOST_FOLDERS:
            # Too many to open a file in each: labels of these kinds are looked for everywhere.
            deeper = {kind: [folder, *paths] for kind, paths in deeper.items()}
            break
        for kind in _kinds_in(path):
            deeper.setdefault(kind, []).append(path)
    if of_split or not paths_of:
        paths_of = {k: [*paths_of.get(k, []), *deeper.get(k, [])] for k in {**paths_of, **deeper}}
    else:
        paths_of = {kind: [*paths, *deeper.get(kind, [])] for kind, paths in paths_of.items()}
        starts = [_above(folder, paths) for paths in paths_of.values()]
        for kind in set(deeper) - set(paths_of):
            among = [p for p in deeper[kind] if any(p.is_relative_to(s) for s in starts)]
            paths_of |= {kind: among} if among else {}
    for kind, paths in paths_of.items():
        # Readers go into subfolders: files in several of them are read from the folder above.
        yield kind, _above(folder, paths), paths
    for path in sorted({path for paths in paths_of.values() for path in paths} - {folder}):
        for name in _others(path, children(path)[1]):
            kind = kind_of_file(path / name)
            if kind in ONE_FILE:
                yield kind, path / name, [path]


def _above(folder: Path, paths: Sequence[Path]) -> Path:
    """The folder that holds all of some, itself one of them where that is so."""
    return folder / os.path.commonpath([path.relative_to(folder).as_posix() for path in paths])


def _kinds_in(folder: Path) -> list[str]:
    """The kinds of labels, a file for each picture, that lie in a folder."""
    kinds = []
    names = [name for name in children(folder)[1] if not name.startswith(".")]
    for suffix in _SUFFIXES[:3]:
        first = [name for name in names if name.lower().endswith(suffix)][:_FIRST]
        kinds += [kind_of_file(folder / name) for name in first]
    return [kind for kind in dict.fromkeys(kinds) if kind in _KINDS]


def _others(folder: Path, names: Sequence[str]) -> list[str]:
    """The files that may be of all boxes: named like no picture, the first of them."""
    pictures = {name.rpartition(".")[0] for name in names if name.lower().endswith(IMAGE_SUFFIXES)}
    labels = [n for n in names if n.lower().endswith(_SUFFIXES) and not n.startswith(".")]
    return [name for name in labels if name.rpartition(".")[0] not in pictures][:_LOOKED_AT]
