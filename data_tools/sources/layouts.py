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
from data_tools.sources.file_kinds import WORDS, kind_of_file
from data_tools.sources.listing import is_hidden, list_images
from data_tools.sources.settings import SplitSettings
from data_tools.sources.yolo_layouts import yolo_layouts

_IMAGE_FOLDERS = ("images", "JPEGImages", "image_2", "imgs", "img", "data", "frames")
_ONE_FILE = ("coco", "cvat", "label_studio", "open_images", "csv", "txt")
"""Layouts whose boxes lie in one file a split."""


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
    layouts: dict[str, dict[str, SplitSettings]] = {}
    whats: dict[str, str] = {}
    for split, folder in roots.items():
        for kind, what, settings in _in_folder(root, folder):
            layouts.setdefault(kind, {})[split] = settings
            whats[kind] = what
    for kind, what, by_split in _files_by_split(root):
        if kind not in layouts or "" in layouts[kind]:
            layouts[kind], whats[kind] = by_split, what
    if roots != {"": root}:
        for kind, what, settings in _in_folder(root, root, deep=False):
            if kind not in layouts:
                layouts.setdefault(kind, {})[""] = settings
                whats[kind] = what
    for kind, splits in layouts.items():
        if kind not in known:
            yield Candidate(whats[kind], kind, named_splits(root, splits), _names_file(root, kind))


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
        moved.append(replace(one, splits=splits, names_file=names))
    return home, moved


def _pictures_of(home: Path, split: str) -> str:
    """The folder of a split's pictures, relative to that of the set."""
    forms = SPLIT_NAMES.get(split, (split,))
    folders = [f"{outer}{form}" for outer in ("images/", "") for form in forms]
    folders += _IMAGE_FOLDERS
    return next((p for p in folders if is_folder(home / p) and list_images(home / p)), ".")


def _in_folder(
    root: Path, folder: Path, deep: bool = True
) -> Iterator[tuple[str, str, SplitSettings]]:
    """Yield the layouts of one folder that holds a whole split: kind, words, settings."""

    def relative(path: Path) -> str:
        return path.relative_to(root).as_posix()

    def pictures() -> str:
        image_folder = next((name for name in _IMAGE_FOLDERS if name in inner), "")
        return relative(folder / image_folder) if image_folder else relative(folder)

    inner, files = children(folder)
    for path in (folder / name for name in files if not name.startswith(".")):
        kind = kind_of_file(path)
        if kind in _ONE_FILE:
            # A list's paths are relative to the set's folder as a rule.
            images = relative(folder) if kind == "txt" else pictures()
            yield kind, f"{WORDS[kind]} ({relative(path)})", SplitSettings(relative(path), images)
    if not deep:
        return
    others = set(split_folders(folder).values())
    paths_of: dict[str, list[Path]] = {}
    below = [folder / name for name in inner if not is_hidden(name)]
    for start in [folder, *(p for p in below if p not in others)]:
        names = children(start)[1]
        for suffix in (".xml", ".json", ".txt"):
            first = next((n for n in names if n.lower().endswith(suffix) and n[0] != "."), "")
            kind = kind_of_file(start / first) if first else ""
            if kind in ("voc", "labelme", "kitti"):
                paths_of.setdefault(kind, []).append(start)
    for kind, paths in paths_of.items():
        # Readers go into subfolders: files in several of them are read from the folder above.
        start = paths[0] if len(paths) == 1 else folder
        mixed = any(name.lower().endswith(IMAGE_SUFFIXES) for name in children(start)[1])
        images = relative(start) if mixed else pictures()
        words = f"{WORDS[kind]} ({relative(start)}/)"
        yield kind, words, SplitSettings(relative(start), images)


def _names_file(root: Path, kind: str) -> str:
    if kind == "txt":
        return next((name for name in NAMES_FILES if is_file(root / name)), "")
    if kind != "open_images":
        return ""
    return next((n for n in children(root)[1] if re.search(r"class-descriptions.*\.csv$", n)), "")


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


def _files_by_split(root: Path) -> Iterator[tuple[str, str, dict[str, SplitSettings]]]:
    """Yield layouts with a file a split: `annotations/instances_train2017.json`, `train2017/`.

    Folders may be packed as COCO gives them: `annotations_trainval2017.zip`, `train2017.zip`.
    """
    folders, files = children(root)
    zips = {name.lower(): name for name in files if name.lower().endswith(".zip")}
    label_folders = [root / name for name in ("annotations", "labels") if name in folders]
    label_folders += [root / name for low, name in zips.items() if re.match("(annot|label)", low)]
    label_folders += [p / "annotations" for p in label_folders if is_folder(p / "annotations")]
    layouts: dict[str, dict[str, SplitSettings]] = {}
    for folder in (root, *label_folders):
        for name in children(folder)[1]:
            path = folder / name
            words = re.split(r"[^a-z0-9]+", path.stem.lower())
            if {"captions", "keypoints", "panoptic", "stuff"} & set(words):
                continue
            splits = [s for s, forms in SPLIT_NAMES.items() if set(words) & set(forms)]
            kind = kind_of_file(path) if splits else ""
            if kind not in _ONE_FILE:
                continue
            for split in splits:
                if split in layouts.get(kind, {}):
                    continue
                forms = SPLIT_NAMES[split]
                # `train2017` of `instances_train2017` rather than `train`.
                forms = tuple(sorted(forms, key=lambda form: form not in words))
                homes = [start / form for form in forms for start in (root, root / "images")]
                homes += [root / zips[f"{f}.zip"] for f in forms if f"{f}.zip" in zips]
                homes += [*(root / name for name in _IMAGE_FOLDERS), root]
                images = next(home for home in homes if is_folder(home)) if kind != "txt" else root
                layouts.setdefault(kind, {})[split] = SplitSettings(
                    path.relative_to(root).as_posix(), images.relative_to(root).as_posix()
                )
    for kind, by_split in layouts.items():
        yield kind, f"{WORDS[kind]} with a file for each split", by_split
