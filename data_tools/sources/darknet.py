"""Darknet's `obj.data`: lists of images, and a file of class names. Labels are YOLO's.

The lists and label files are read in `data_tools/sources/yolo.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from data_tools.core.archives import is_file
from data_tools.core.errors import DataError
from data_tools.core.file_tree import children
from data_tools.sources.image_files import read_text
from data_tools.sources.listing import is_hidden
from data_tools.sources.settings import SplitSettings


def darknet_splits(
    root: Path, only: Sequence[str] = ()
) -> tuple[str, dict[str, SplitSettings], str] | None:
    """Return the name of `obj.data`, its splits, and the file of names; None without one that can
    be followed.

    Args:
        root: The folder of the set.
        only: Splits that are wanted; empty: all that the file names.

    Raises:
        DataError: If a list that it names is not there, but others are.
    """
    folders, files = children(root)
    data_files = [root / name for name in files]
    data_files += [
        root / f / name for f in folders if not is_hidden(f) for name in children(root / f)[1]
    ]
    for path in (list_path for list_path in data_files if list_path.suffix == ".data"):
        values = {}
        for line in read_text(path).splitlines():
            key, equals, value = line.partition("=")
            if equals:
                values[key.strip()] = value.strip()
        if not {"train", "names"} <= set(values):
            continue
        names = _near(root, path, values["names"])
        splits, missing = {}, {}
        for name, key in (("train", "train"), ("val", "valid"), ("test", "test")):
            if not values.get(key):
                continue
            list_path = _near(root, path, values[key])
            if list_path is not None:
                lists = list_path.relative_to(root).as_posix()
                splits[name] = SplitSettings(annotations="", images=".", list=lists)
            elif not only or name in only:
                missing[name] = f"{key} = {values[key]}"
        if splits and names is not None:
            if missing:
                raise DataError(
                    f"{path}: `{next(iter(missing.values()))}` is not there; looked for it in "
                    f"{root} and next to the file, also without its first folders. Mend the file, "
                    f"or convert what is there: dataset.only=[{','.join(splits)}]"
                )
            relative = names.relative_to(root).as_posix()
            return path.name, splits, relative
    return None


def _near(root: Path, path: Path, value: str) -> Path | None:
    """Find a path of `obj.data`: from the root, from its own folder, or by any of its tails."""
    parts = Path(value.replace("\\", "/")).parts
    for start in (root, path.parent):
        for k in range(len(parts)):
            tail = [part for part in parts[k:] if part not in ("/", "..", ".")]
            if tail and is_file(start.joinpath(*tail)):
                return start.joinpath(*tail)
    return None
