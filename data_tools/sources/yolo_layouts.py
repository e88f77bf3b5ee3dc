"""YOLO's layouts: Darknet's `obj.data`, a `data.yaml`, or folders and a file of class names.

The other layouts are in `data_tools/sources/layouts.py`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from data_tools.core.archives import is_file, open_file
from data_tools.core.file_tree import children, is_folder
from data_tools.sources.candidate import NAMES_FILES, Candidate, named_splits, split_folders
from data_tools.sources.darknet import darknet_splits
from data_tools.sources.data_yaml import read_data_yaml, splits_of
from data_tools.sources.settings import SplitSettings


def yolo_layouts(root: Path, only: Sequence[str]) -> Iterator[Candidate]:
    """Yield what is YOLO's: Darknet's `obj.data`, a `data.yaml`, or folders and a file of names."""
    darknet = darknet_splits(root)
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
        # Roboflow's Darknet: text files and names beside the pictures of each split.
        by_split = split_folders(root)
        marks = [p / "_darknet.labels" for p in by_split.values()]
        marks = [path for path in marks if is_file(path)]
        if marks:
            splits = {
                split: SplitSettings(images.name, images.name) for split, images in by_split.items()
            }
            name = marks[0].relative_to(root).as_posix()
            yield Candidate(f"Darknet ({name})", "yolo", splits, name, "darknet")


def _names_classes(path: Path) -> bool:
    """Whether a YAML is one of YOLO's; others may lie beside a data set."""
    with open_file(path) as file:
        head = file.read(1 << 20).decode(errors="replace")
    return bool(re.search(r"^\ufeff?['\"]?names['\"]?\s*:", head, re.MULTILINE))
