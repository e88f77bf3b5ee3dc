"""Looks at a folder or an archive and tells which layouts of data sets it can be.

Looks at names and at the first bytes of files only; which one is taken is decided in
`data_tools/sources/recognise.py`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from data_tools.core.archives import is_file
from data_tools.core.file_tree import children, is_folder
from data_tools.core.files import IMAGE_SUFFIXES
from data_tools.sources.candidate import (
    NAMES_FILES,
    SPLIT_NAMES,
    Candidate,
    named_splits,
    split_folders,
)
from data_tools.sources.file_kinds import WORDS, has_labels, kind_of_file
from data_tools.sources.label_folders import label_folders
from data_tools.sources.listing import list_images
from data_tools.sources.settings import SplitSettings
from data_tools.sources.split_files import (
    IMAGE_FOLDERS,
    ONE_FILE,
    Labels,
    files_by_split,
    sets_of,
)
from data_tools.sources.yolo_layouts import yolo_layouts

_LABEL_FOLDERS = ("labels", "annotations", "Annotations")
_LOOKED_AT = 20
_CLASS_NAMES = re.compile(r"(class-descriptions.*|classes)\.csv$")


def candidates(root: Path, only: Sequence[str] = ()) -> Iterator[Candidate]:
    """Yield every layout that a folder or archive can be.

    Args:
        root: The folder or archive.
        only: Splits that are wanted; empty: all. What others lack is no error then.

    Raises:
        DataError: If a file that explains the set (`data.yaml`) cannot be followed.
    """
    yolo = list(yolo_layouts(root, only))
    yield from yolo
    devkit = _voc_devkit(root)
    if devkit:
        yield Candidate("Pascal VOC with lists (ImageSets/Main)", "voc", devkit)
    # What YOLO's files name are lists of pictures and labels, no layouts of their own.
    known = {"voc"} if devkit else {"txt", "kitti"} if yolo else set()
    roots = split_folders(root) or {"": root}
    inside = [f for split, folder in roots.items() for f in _in_folder(root, folder, split)]
    named = list(files_by_split(root))
    outside = [] if roots == {"": root} else list(_in_folder(root, root, "", deep=False))
    for kind in dict.fromkeys(f.kind for f in (*inside, *named, *outside)):
        if kind in known:
            continue
        parts = ([f for f in part if f.kind == kind] for part in (inside, named, outside))
        sets = sets_of(*parts)
        for one in sets:
            splits = {split: labels.settings for split, labels in one.splits.items()}
            what = list(one.splits.values())[-1].what
            if len(sets) > 1:
                files = ", ".join(dict.fromkeys(s.annotations for s in splits.values()))
                what = f"{WORDS[kind]} ({files})"
            yield Candidate(
                what,
                kind,
                named_splits(root, splits),
                _names_file(root, kind),
                notes=one.notes,
            )


def next_to_pictures(
    root: Path, start: Path, layouts: list[Candidate]
) -> tuple[Path, list[Candidate]]:
    """Return the folder that has the pictures as well, where those of labels lie next to it
    (`data/train_labels.csv`, `images/train/`), and the layouts seen from there.

    Args:
        root: The outermost folder that may be meant.
        start: The folder of the labels.
        layouts: What it can be.
    """
    home = start
    while home != root and not list_images(home):
        home = home.parent
    if home == start or not list_images(home):
        return start, layouts
    moved = []
    for one in layouts:
        splits = {
            name: replace(
                split,
                annotations=(start / split.annotations).relative_to(home).as_posix(),
                images=_pictures_of(home, name),
                list=(start / split.list).relative_to(home).as_posix() if split.list else "",
            )
            for name, split in one.splits.items()
        }
        names = (start / one.names_file).relative_to(home).as_posix() if one.names_file else ""
        names = names or _names_file(home, one.kind)
        moved.append(replace(one, splits=splits, names_file=names))
    return home, moved


def _pictures_of(home: Path, split: str) -> str:
    """The folder of a split's pictures, relative to that of the set."""
    forms = SPLIT_NAMES.get(split, (split,))
    folders = [f"{outer}{form}" for outer in ("images/", "") for form in forms]
    folders += IMAGE_FOLDERS
    return next((p for p in folders if is_folder(home / p) and list_images(home / p)), ".")


def _in_folder(root: Path, folder: Path, split: str, deep: bool = True) -> Iterator[Labels]:
    """Yield what one folder that holds a whole split has of labels."""

    def relative(path: Path) -> str:
        return path.relative_to(root).as_posix()

    def pictures() -> str:
        image_folder = next((name for name in IMAGE_FOLDERS if name in inner), "")
        return relative(folder / image_folder) if image_folder else relative(folder)

    def one_file(path: Path, kind: str, images: str) -> Labels:
        what = f"{WORDS[kind]} ({relative(path)})"
        form = path.relative_to(folder).with_suffix("").as_posix()
        settings = SplitSettings(relative(path), images)
        return Labels(split, kind, what, form, settings, has_labels(path, kind))

    inner, files = children(folder)
    kinds = {folder / name: kind_of_file(folder / name) for name in files if name[0] != "."}
    if split and not any(kind in ONE_FILE for kind in kinds.values()):
        # FiftyOne's `train/labels/detections.csv`; the labels of YOLO are many.
        starts = [folder / name for name in _LABEL_FOLDERS if name in inner]
        few = [p / name for p in starts for name in children(p)[1][:_LOOKED_AT] if name[0] != "."]
        kinds = {path: kind_of_file(path) for path in few}
    for path, kind in kinds.items():
        if kind in ONE_FILE:
            # A list's paths are relative to the set's folder as a rule.
            yield one_file(path, kind, relative(folder) if kind == "txt" else pictures())
    for kind, start, paths in label_folders(folder, of_split=bool(split)) if deep else ():
        mixed = any(
            name.lower().endswith(IMAGE_SUFFIXES) for path in paths for name in children(path)[1]
        )
        images = relative(start) if mixed else pictures()
        if kind in ONE_FILE:
            yield one_file(start, kind, relative(start.parent) if mixed else pictures())
        else:
            words = f"{WORDS[kind]} ({relative(start)}/)"
            yield Labels(split, kind, words, kind, SplitSettings(relative(start), images))


def _names_file(root: Path, kind: str) -> str:
    if kind == "txt":
        return next((name for name in NAMES_FILES if is_file(root / name)), "")
    if kind != "open_images":
        return ""
    # FiftyOne has them in `metadata`, of the set or of each split.
    homes = [root, *split_folders(root).values()]
    for folder in [start for home in homes for start in (home, home / "metadata")]:
        names = children(folder)[1] if is_folder(folder) else []
        name = next((name for name in names if _CLASS_NAMES.match(name)), "")
        if name:
            return (folder / name).relative_to(root).as_posix()
    return ""


def _voc_devkit(root: Path) -> dict[str, SplitSettings]:
    """VOC with lists: `Annotations`, `JPEGImages`, `ImageSets/Main/*.txt`."""
    main = root / "ImageSets" / "Main"
    if not is_folder(root / "Annotations") or not is_folder(main):
        return {}
    files = children(main)[1]
    names = {name: f"{name}.txt" for name in ("train", "val", "test") if f"{name}.txt" in files}
    if "train" not in names and "trainval.txt" in files:
        names = {"train": "trainval.txt", **names}
    return {
        name: SplitSettings("Annotations", "JPEGImages", list=f"ImageSets/Main/{file}")
        for name, file in names.items()
    }
