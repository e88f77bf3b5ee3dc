"""What a YOLO `data.yaml` says: class names, key points, and where each split lies.

Its paths are followed as the tools that write it do; label files are read in
`data_tools/sources/yolo.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from data_tools.core.archives import is_file
from data_tools.core.errors import DataError
from data_tools.core.file_tree import exists, is_folder
from data_tools.core.object_storage import root_path, use_endpoint
from data_tools.sources.settings import DatasetSettings, SplitSettings
from data_tools.sources.text_yaml import read_text_yaml

_SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class DataYaml:
    """A `data.yaml`.

    Args:
        path: The file.
        content: What it holds, as text.
        key_points: `kpt_shape`: number of key points and of numbers for each; None without.
    """

    path: Path
    content: dict[str, Any]
    key_points: tuple[int, int] | None


def read_data_yaml(path: Path) -> DataYaml:
    """Read a `data.yaml`.

    Raises:
        DataError: If it is none, or its `kpt_shape` is no pair of numbers.
    """
    content = read_text_yaml(path, "dataset.names_file")
    shape = content.get("kpt_shape")
    points = None
    if shape not in (None, "", "null", "~"):
        good = isinstance(shape, list) and len(shape) == 2
        if not good or not all(isinstance(n, str) and n.isdigit() for n in shape):
            raise DataError(f"{path}: kpt_shape is {shape!r}; expected [number of points, 2 or 3].")
        points = (int(shape[0]), int(shape[1]))
        if points[1] not in (2, 3) or not 0 < points[0] < 10_000:
            raise DataError(f"{path}: kpt_shape is {shape}; expected [number of points, 2 or 3].")
    return DataYaml(path, content, points)


def splits_of(
    data: DataYaml, root: Path, only: Sequence[str] = (), *, placed: bool = False
) -> dict[str, SplitSettings]:
    """Return the splits that a `data.yaml` names, as settings relative to `root`.

    A split is a folder of images, a text file that lists images, or several of these. Labels are
    where the images are, with `labels` in place of the last `images` of the path.

    Args:
        data: The file.
        root: The data set's folder.
        only: Splits that are wanted; empty: all that the file names.
        placed: The user may say where a split lies; for the advice of messages.

    Raises:
        DataError: If a split's folder or file is not there, or lies outside `root`.
    """
    entries_of = {}
    for name, other in (("train", "train"), ("val", "valid"), ("test", "test")):
        value = data.content.get(name) or data.content.get(other)
        if value in (None, "", "null", "~") or (only and name not in only):
            continue
        entries = value if isinstance(value, list) else [value]
        if not all(isinstance(entry, str) and entry for entry in entries):
            raise DataError(
                f"{data.path}: `{name}:` is {value!r}; expected a folder, a list, or folders."
            )
        entries_of[name] = {entry: _paths(data, entry) for entry in entries}
    good = [name for name, some in entries_of.items() if all(map(_first, some.values()))]
    splits = {}
    for name, some in entries_of.items():
        inside = []
        for entry, paths in some.items():
            path = _first(paths)
            if path is None:
                raise _missing(data, name, entry, paths, placed, good)
            inside.append(_inside(path, root, data, name))
        splits[name] = _settings(inside, root)
    return splits


def _paths(data: DataYaml, text: str) -> list[Path]:
    """Where a path of the file may lead: below `path:`, next to the file, with or without its
    leading `../`.
    """
    text = text.replace("\\", "/")
    base = str(data.content.get("path") or "").replace("\\", "/")
    home = data.path.parent
    bases = [home / base, home] if base else [home]
    if base and not Path(base).is_absolute():
        bases.append(home.parent / base)
    bare = text
    while bare.startswith(("../", "./")):
        bare = bare.partition("/")[2]
    paths = [start / form for start in bases for form in dict.fromkeys((text, bare))]
    # Paths of the machine that made the file: what follows the set's folder may be here.
    parts = Path(bare).parts
    return paths + [home.joinpath(*parts[k:]) for k in range(1, len(parts))]


def _first(paths: Sequence[Path]) -> Path | None:
    return next((path for path in paths if exists(path)), None)


def _missing(
    data: DataYaml, split: str, text: str, paths: list[Path], placed: bool, good: list[str]
) -> DataError:
    advice = "Mend the file"
    if placed:
        key = f"dataset.splits.{split}"
        advice += f", or name the folders with {key}.images=... {key}.annotations=..."
    elif good:
        advice += f", or convert what is there: dataset.only=[{','.join(good)}]"
    looked_for = ", ".join(dict.fromkeys(str(path) for path in paths[:4]))
    return DataError(
        f"{data.path}: `{split}: {text}` is not there; looked for {looked_for}. {advice}"
    )


def _inside(path: Path, root: Path, data: DataYaml, split: str) -> str:
    try:
        return path.resolve().relative_to(root.resolve()).as_posix()
    except ValueError as error:
        raise DataError(
            f"{data.path}: `{split}:` leads to {path}, outside of dataset.root={root}. Set "
            "dataset.root to a folder that holds both."
        ) from error


def _settings(paths: list[str], root: Path) -> SplitSettings:
    lists = [entry for entry in paths if not is_folder(root / entry)]
    if lists and len(paths) == 1:
        return SplitSettings(annotations="", images=".", list=lists[0])
    if len(paths) == 1:
        # The usual two folders are named as everywhere else; the rest follows from the pictures'
        # paths.
        return SplitSettings(annotations=labels_for(f"{paths[0]}/")[:-1], images=paths[0])
    return SplitSettings(annotations="", images=".", folders=paths)


def labels_for(image: str) -> str:
    """Return where the labels of a picture lie: `labels` in place of the last folder `images`.

    >>> labels_for("train/images/a.jpg"), labels_for("a.jpg"), labels_for("images/")
    ('train/labels/a.jpg', 'a.jpg', 'labels/')
    """
    parts = image.split("/")
    for k in range(len(parts) - 2, -1, -1):
        if parts[k] == "images":
            return "/".join([*parts[:k], "labels", *parts[k + 1 :]])
    return image


def with_data_yaml(dataset: DatasetSettings) -> DatasetSettings:
    """Return YOLO settings whose splits are those of the `data.yaml` in `names_file`.

    Splits that the user placed, and sets whose file names none, stay as they are.

    Raises:
        DataError: If the file names folders that are not there, and neither are the usual ones.
    """
    use_endpoint(dataset.endpoint)
    root = root_path(dataset.root)
    path = root / dataset.names_file
    if dataset.kind != "yolo" or path.suffix.lower() not in (".yaml", ".yml") or not is_file(path):
        return dataset
    data = read_data_yaml(path)
    splits = dict(dataset.splits)
    for name, split in dataset.splits.items():
        usual = SplitSettings(annotations=f"labels/{name}", images=f"images/{name}")
        if name not in _SPLITS or split != usual:
            continue
        try:
            named = splits_of(replace(data, content=_only(data.content, name)), root, placed=True)
        except DataError:
            if is_folder(root / split.images):
                continue
            raise
        splits[name] = named.get(name, split)
    return replace(dataset, splits=splits)


def _only(content: dict[str, Any], name: str) -> dict[str, Any]:
    others = {*_SPLITS, "valid"} - ({name, "valid"} if name == "val" else {name})
    return {key: value for key, value in content.items() if key not in others}
