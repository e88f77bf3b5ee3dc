"""A layout that a folder can be, and what the layouts have in common: folders and lists of splits.

Which layouts a folder has is told in `data_tools/sources/layouts.py`.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from data_tools.core.archives import is_file
from data_tools.core.file_tree import children, is_folder
from data_tools.core.object_storage import address
from data_tools.sources.file_kinds import head_of
from data_tools.sources.settings import SplitSettings

SPLIT_NAMES = {
    "train": ("train", "training", "train2017", "train2014"),
    "val": ("val", "valid", "validation", "val2017", "val2014"),
    "test": ("test", "testing", "test2017"),
}
"""Split -> what its folder or its file is called, the likeliest first."""
NAMES_FILES = ("classes.txt", "labels/classes.txt", "obj.names", "predefined_classes.txt")
"""Where class names lie that no data.yaml names."""


@dataclass(frozen=True)
class Candidate:
    """A layout that a folder can be.

    Args:
        what: The layout in words, for a person.
        kind: `dataset=` name of its reader.
        splits: Where its splits lie.
        names_file: File of class names, or empty.
        tool: The tool whose layout it is, where its reader is that of several; else empty.
        notes: Lines about files of the folder that are left out.
    """

    what: str
    kind: str
    splits: dict[str, SplitSettings]
    names_file: str = ""
    tool: str = ""
    notes: tuple[str, ...] = ()

    def command(self, root: Path, given: Sequence[str] = ()) -> str:
        """The command that converts it as this layout.

        Args:
            root: The folder.
            given: Further settings, as words.
        """
        words = ["python", "convert.py", f"dataset={self.kind}", f"dataset.root={address(root)}"]
        if self.names_file:
            words.append(f"dataset.names_file={self.names_file}")
        for name, split in self.splits.items():
            key = f"dataset.splits.{name}"
            words += [f"{key}.annotations={split.annotations}", f"{key}.images={split.images}"]
            if split.list or self.kind == "voc":
                words.append(f"{key}.list={split.list}")
            if split.folders:
                words.append(f"{key}.folders=[{','.join(split.folders)}]")
            if split.fraction is not None or self.kind not in ("voc", "yolo"):
                share = "null" if split.fraction is None else f"{split.fraction:g}"
                words.append(f"{key}.fraction={share}")
        words.append(f"dataset.only=[{','.join(self.splits)}]")
        return " ".join(shlex.quote(word) for word in [*words, *given, "out=OUT"])


def split_folders(root: Path) -> dict[str, Path]:
    """Return the folders of a set that has one for each split: split -> folder."""
    names = {name.lower(): root / name for name in children(root)[0]} if is_folder(root) else {}
    by_split = {}
    for split, forms in SPLIT_NAMES.items():
        for form in forms:
            if form in names and split not in by_split:
                by_split[split] = names[form]
    return by_split


def named_splits(root: Path, splits: dict[str, SplitSettings]) -> dict[str, SplitSettings]:
    """Cut the only source as lists next to it say (`train.txt`, `val.txt`), or by shares as
    `dataset=coco`.
    """
    if set(splits) != {""}:
        return {name: split for name, split in splits.items() if name}
    lists = {
        name: path
        for name, forms in SPLIT_NAMES.items()
        for folder in (root / "ImageSets" / "Main", root / "ImageSets", root)
        for path in (folder / f"{form}.txt" for form in reversed(forms))
        if is_file(path) and _is_list_of_names(path)
    }
    if lists:
        return {
            name: replace(splits[""], list=path.relative_to(root).as_posix())
            for name, path in lists.items()
        }
    return {
        "train": replace(splits[""], fraction=0.9),
        "val": replace(splits[""], fraction=0.1),
    }


def _is_list_of_names(path: Path) -> bool:
    """Whether a text file names pictures, one a line, without boxes behind them."""
    lines = head_of(path, 4096).split("\n")
    first = next((line for line in lines if line.strip()), "")
    return bool(first) and not re.search(r"\d,\s*[\d.-]+,", first)
