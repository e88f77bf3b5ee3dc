"""YOLO's layouts: Darknet's `obj.data`, a `data.yaml`, or folders and a file of class names.

The other layouts are in `data_tools/sources/layouts.py`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from data_tools.core.archives import is_file
from data_tools.core.file_tree import children, is_folder
from data_tools.core.files import IMAGE_SUFFIXES
from data_tools.sources.candidate import NAMES_FILES, Candidate, named_splits, split_folders
from data_tools.sources.darknet import darknet_splits
from data_tools.sources.data_yaml import read_data_yaml, splits_of
from data_tools.sources.file_kinds import head_of
from data_tools.sources.settings import SplitSettings

_MARKS = ("_darknet.labels", "classes.txt")
_LINE = re.compile(r"\d+([ \t]+[-+.,\deE]+){4,}[ \t]*($|[\r\n])")
_LOOKED_AT = 100


def yolo_layouts(root: Path, only: Sequence[str]) -> Iterator[Candidate]:
    """Yield what is YOLO's: Darknet's `obj.data`, a `data.yaml`, or folders and a file of names."""
    darknet = darknet_splits(root, only)
    if darknet is not None:
        name, splits, names = darknet
        yield Candidate(f"Darknet ({name})", "yolo", splits, names, "darknet")
    folders, files = children(root)
    yamls = sorted(n for n in files if n.lower().endswith((".yaml", ".yml")))
    yamls.sort(key=lambda n: n not in ("data.yaml", "data.yml", "dataset.yaml"))
    for name in yamls:
        splits = (
            splits_of(read_data_yaml(root / name), root, only)
            if _names_classes(root / name)
            else {}
        )
        if splits:
            yield Candidate(f"YOLO with {name}", "yolo", splits, name)
            return
    if darknet is None:
        names = next((name for name in NAMES_FILES if is_file(root / name)), "")
        if names and {"images", "labels"} <= set(folders):
            splits = {
                split: SplitSettings(f"labels/{images.name}", f"images/{images.name}")
                for split, images in split_folders(root / "images").items()
                if is_folder(root / "labels" / images.name)
            }
            splits = splits or named_splits(root, {"": SplitSettings("labels", "images")})
            yield Candidate(f"YOLO with {names}", "yolo", splits, names)
            return
        if names and _has_labels(root, files):
            splits = named_splits(root, {"": SplitSettings(".", ".")})
            yield Candidate(f"YOLO next to the pictures, with {names}", "yolo", splits, names)
            return
        # Roboflow's Darknet, or LabelImg: text files and names next to the pictures of each split.
        by_split = split_folders(root)
        marks = [p / name for name in _MARKS for p in by_split.values() if is_file(p / name)]
        ours = marks and marks[0].name == _MARKS[0]
        if ours or ((names or marks) and any(_has_labels(p) for p in by_split.values())):
            splits = {
                split: SplitSettings(images.name, images.name) for split, images in by_split.items()
            }
            name = names if names and not ours else marks[0].relative_to(root).as_posix()
            what, tool = (f"Darknet ({name})", "darknet") if ours else (f"YOLO with {name}", "")
            yield Candidate(what, "yolo", splits, name, tool)


def _has_labels(folder: Path, files: Sequence[str] | None = None) -> bool:
    """Whether files with YOLO's lines lie next to pictures; `files`: what the folder has."""
    known = children(folder)[1] if files is None else files
    stems = (name.rpartition(".")[0] for name in known if name.lower().endswith(IMAGE_SUFFIXES))
    labels = sorted({f"{stem}.txt" for stem in stems} & set(known))
    # Of pictures without objects the files are empty.
    heads = (head_of(folder / name, 4096).strip() for name in labels[:_LOOKED_AT])
    return bool(_LINE.match(next((head for head in heads if head), "")))


def _names_classes(path: Path) -> bool:
    """Whether a YAML is one of YOLO's; others may lie next to a data set."""
    head = head_of(path, 1 << 20)
    return bool(re.search(r"^\ufeff?['\"]?names['\"]?\s*:", head, re.MULTILINE))
