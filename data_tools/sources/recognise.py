"""Looks at a folder and tells which layout of data set it is: `dataset=auto`.

Looks at names and at the first bytes of files only; the readers of the layouts judge the rest.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from data_tools.core.errors import DataError
from data_tools.core.files import IMAGE_SUFFIXES
from data_tools.core.settings_fields import require
from data_tools.sources.darknet import darknet_splits
from data_tools.sources.data_yaml import read_data_yaml, splits_of
from data_tools.sources.file_kinds import WORDS, kind_of_file
from data_tools.sources.image_files import require_folder
from data_tools.sources.listing import is_hidden
from data_tools.sources.settings import DatasetSettings, SplitSettings

_SPLIT_NAMES = {
    "train": ("train", "training", "train2017", "train2014"),
    "val": ("val", "valid", "validation", "val2017", "val2014"),
    "test": ("test", "testing", "test2017"),
}
_IMAGE_FOLDERS = ("images", "JPEGImages", "image_2", "imgs", "img", "data", "frames")


@dataclass(frozen=True)
class Candidate:
    """A layout that a folder can be.

    Args:
        what: The layout in words, for a person.
        kind: `dataset=` name.
        splits: Where its splits lie.
        names_file: File of class names, or empty.
    """

    what: str
    kind: str
    splits: dict[str, SplitSettings]
    names_file: str = ""

    def command(self, root: Path) -> str:
        """The command that converts it as this layout."""
        words = ["python", "convert.py", f"dataset={self.kind}", f"dataset.root={root}"]
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
        return " ".join(shlex.quote(word) for word in [*words, "out=OUT"])


def recognised(dataset: DatasetSettings) -> tuple[DatasetSettings, str]:
    """Turn `dataset=auto` into the settings of the layout that is there.

    Args:
        dataset: Settings of kind `auto`, with a root.

    Returns:
        The settings, and the lines that tell a person what was found.

    Raises:
        DataError: If no layout fits, or several do: with a command for each.
    """
    require(bool(dataset.root), "dataset.root", dataset.root, "the folder of the raw data set")
    root = Path(dataset.root).expanduser()
    require_folder(root, f"dataset.root={dataset.root}")
    if not root.is_dir():
        raise DataError(
            f"{root}: dataset=auto looks into folders only. Archives are read in place once the "
            "layout is named, as dataset=coco dataset.splits.train.images=train2017.zip; or unpack "
            "it."
        )
    found = list(candidates(root))
    if not found:
        listed = ", ".join(sorted(p.name for p in root.iterdir())[:12]) or "nothing"
        raise DataError(
            f"{root}: no layout of data set is recognised. It holds {listed}. Known are COCO, "
            "YOLO, Darknet, VOC, LabelMe, CVAT, Label Studio, Open Images, CSV and KITTI: name "
            f"one, as dataset=coco dataset.root={shlex.quote(str(root))}, and say where its files "
            "lie with dataset.splits."
        )
    if len(found) > 1:
        lines = "\n".join(f"  {c.what}:\n    {c.command(root)}" for c in found)
        raise DataError(f"{root}: several layouts fit. Choose one:\n{lines}")
    (one,) = found
    names = list(one.splits)
    unknown = [name for name in dataset.only if name not in names]
    if unknown:
        raise DataError(
            f"{root}: {one.what} has the splits {', '.join(names)}, none {unknown[0]!r}."
        )
    settings = replace(
        dataset,
        kind=one.kind,
        splits=one.splits,
        only=dataset.only or names,
        names_file=dataset.names_file or one.names_file,
        box_origin=1 if one.kind == "voc" else 0,
    )
    return settings, f"found: {one.what}\nthe same as: {one.command(root)}"


def candidates(root: Path) -> Iterator[Candidate]:
    """Yield every layout that a folder can be, the surest first; one that explains all ends the
    search.
    """
    darknet = darknet_splits(root)
    if darknet is not None:
        name, splits, names = darknet
        yield Candidate(f"Darknet ({name})", "yolo", splits, names)
        return
    for name in ("data.yaml", "data.yml", "dataset.yaml"):
        if (root / name).is_file():
            splits = splits_of(read_data_yaml(root / name), root)
            if splits:
                yield Candidate(f"YOLO with {name}", "yolo", splits, name)
                return
    plain = _plain_yolo(root)
    if plain is not None:
        yield plain
        return
    devkit = _voc_devkit(root)
    if devkit:
        yield Candidate("Pascal VOC with lists (ImageSets/Main)", "voc", devkit)
        return
    places = _split_folders(root) or {"": root}
    found: dict[str, dict[str, SplitSettings]] = {}
    whats: dict[str, str] = {}
    for split, folder in places.items():
        for kind, what, settings in _in_folder(root, folder):
            found.setdefault(kind, {})[split] = settings
            whats[kind] = what
    for kind, what, by_split in _files_by_split(root):
        if kind not in found or "" in found[kind]:
            found[kind], whats[kind] = by_split, what
    if places != {"": root}:
        for kind, what, settings in _in_folder(root, root, deep=False):
            if kind not in found:
                found.setdefault(kind, {})[""] = settings
                whats[kind] = what
    for kind, splits in found.items():
        yield Candidate(whats[kind], kind, _named(root, splits), _names_file(root, kind))


def _named(root: Path, splits: dict[str, SplitSettings]) -> dict[str, SplitSettings]:
    """Cut the only source as lists beside it say (`train.txt`, `val.txt`), or by shares as
    `dataset=coco`.
    """
    if set(splits) != {""}:
        return {name: split for name, split in splits.items() if name}
    lists = {
        name: path
        for name, forms in _SPLIT_NAMES.items()
        for folder in (root / "ImageSets" / "Main", root / "ImageSets", root)
        for path in (folder / f"{form}.txt" for form in reversed(forms))
        if path.is_file() and _is_list_of_names(path)
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
    with open(path, "rb") as file:
        lines = file.read(4096).decode(errors="replace").split("\n")
    first = next((line for line in lines if line.strip()), "")
    return bool(first) and not re.search(r"\d,\s*[\d.-]+,", first)


def _split_folders(root: Path) -> dict[str, Path]:
    names = {p.name.lower(): p for p in root.iterdir() if p.is_dir()}
    found = {}
    for split, forms in _SPLIT_NAMES.items():
        for form in forms:
            if form in names and split not in found:
                found[split] = names[form]
    return found


def _in_folder(
    root: Path, folder: Path, deep: bool = True
) -> Iterator[tuple[str, str, SplitSettings]]:
    """Yield the layouts of one folder that holds a whole split: kind, words, settings."""

    def relative(path: Path) -> str:
        return path.relative_to(root).as_posix()

    def pictures() -> str:
        for name in _IMAGE_FOLDERS:
            if (folder / name).is_dir():
                return relative(folder / name)
        return relative(folder)

    files = sorted(p for p in folder.iterdir() if p.is_file() and not p.name.startswith("."))
    for path in files:
        kind = kind_of_file(path)
        if kind in ("coco", "cvat", "label_studio", "open_images", "csv"):
            yield (
                kind,
                f"{WORDS[kind]} ({relative(path)})",
                SplitSettings(relative(path), pictures()),
            )
    if not deep:
        return
    inner = [p for p in sorted(folder.iterdir()) if p.is_dir() and not is_hidden(p.name)]
    others = set(_split_folders(folder).values())
    places: dict[str, list[Path]] = {}
    for place in [folder, *(p for p in inner if p not in others)]:
        names = sorted(p for p in place.iterdir() if p.is_file())
        for suffix in (".xml", ".json", ".txt"):
            first = next((p for p in names if p.name.lower().endswith(suffix)), None)
            kind = kind_of_file(first) if first is not None else ""
            if kind in ("voc", "labelme", "kitti"):
                places.setdefault(kind, []).append(place)
    for kind, found in places.items():
        # Readers go into subfolders: files in several of them are read from the folder above.
        place = found[0] if len(found) == 1 else folder
        beside = any(p.name.lower().endswith(IMAGE_SUFFIXES) for p in place.iterdir())
        images = relative(place) if beside else pictures()
        words = f"{WORDS[kind]} ({relative(place)}/)"
        yield kind, words, SplitSettings(relative(place), images)


def _names_file(root: Path, kind: str) -> str:
    if kind != "open_images":
        return ""
    found = sorted(p.name for p in root.glob("*class-descriptions*.csv"))
    return found[0] if found else ""


def _plain_yolo(root: Path) -> Candidate | None:
    """YOLO as LabelImg leaves it: `images`, `labels` and a file of names, without data.yaml."""
    forms = ("classes.txt", "labels/classes.txt", "obj.names")
    names = next((name for name in forms if (root / name).is_file()), "")
    if not names or not all((root / name).is_dir() for name in ("images", "labels")):
        return None
    splits = {
        split: SplitSettings(f"labels/{place.name}", f"images/{place.name}")
        for split, place in _split_folders(root / "images").items()
        if (root / "labels" / place.name).is_dir()
    }
    splits = splits or _named(root, {"": SplitSettings("labels", "images")})
    return Candidate(f"YOLO with {names}", "yolo", splits, names)


def _voc_devkit(root: Path) -> dict[str, SplitSettings]:
    """VOC with lists: `Annotations`, `JPEGImages`, `ImageSets/Main/*.txt`."""
    main = root / "ImageSets" / "Main"
    if not (root / "Annotations").is_dir() or not main.is_dir():
        return {}
    return {
        name: SplitSettings("Annotations", "JPEGImages", list=f"ImageSets/Main/{name}.txt")
        for name in ("train", "val", "test")
        if (main / f"{name}.txt").is_file()
    }


def _files_by_split(root: Path) -> Iterator[tuple[str, str, dict[str, SplitSettings]]]:
    """COCO and CSV with a file a split: `annotations/instances_train2017.json` and `train2017/`."""
    found: dict[str, dict[str, SplitSettings]] = {}
    for folder in (root, root / "annotations", root / "labels"):
        if not folder.is_dir():
            continue
        for path in sorted(p for p in folder.iterdir() if p.is_file()):
            kind = kind_of_file(path)
            if kind not in ("coco", "csv", "cvat", "open_images", "label_studio"):
                continue
            words = re.split(r"[^a-z0-9]+", path.stem.lower())
            if {"captions", "keypoints", "panoptic", "stuff"} & set(words):
                continue
            for split, forms in _SPLIT_NAMES.items():
                if not set(words) & set(forms) or split in found.get(kind, {}):
                    continue
                places = [start / form for form in forms for start in (root, root / "images")]
                places = [*places, *(root / name for name in _IMAGE_FOLDERS), root]
                images = next(place for place in places if place.is_dir())
                found.setdefault(kind, {})[split] = SplitSettings(
                    path.relative_to(root).as_posix(), images.relative_to(root).as_posix()
                )
    for kind, splits in found.items():
        yield kind, f"{WORDS[kind]} with a file for each split", splits
