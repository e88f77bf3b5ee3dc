"""Turns `dataset=auto`, and names of tools that export several layouts, into a layout's settings.

What lies in a folder is told in `data_tools/sources/layouts.py`; the readers of the layouts judge
the rest.
"""

from __future__ import annotations

import json
import shlex
from dataclasses import replace
from pathlib import Path

from data_tools.core.archive import SUFFIXES
from data_tools.core.errors import DataError
from data_tools.core.file_tree import children
from data_tools.core.files import IMAGE_SUFFIXES
from data_tools.core.object_storage import address, root_path, use_endpoint
from data_tools.core.settings_fields import require
from data_tools.sources.candidate import Candidate
from data_tools.sources.few_pictures import whole_if_few
from data_tools.sources.image_files import require_folder
from data_tools.sources.layouts import candidates, next_to_pictures
from data_tools.sources.listing import is_hidden
from data_tools.sources.settings import DatasetSettings

_DEEPEST = 3
_WITH_ORIGIN = ("voc", "csv", "txt")
_KEPT = (
    "endpoint", "split_seed", "group", "names", "classes", "merge", "keep_empty", "box_origin",
    "box_order", "first_class", "yolo_lines",
)  # fmt: skip
"""What stays as it was given, whatever the layout."""
_LABELS = (".json", ".xml", ".txt", ".csv")
_MARKS = {
    "darknet": ("Darknet", "obj.data, obj.names and train.txt"),
    "roboflow": (
        "Roboflow",
        "data.yaml, or folders train, valid and test with _annotations.coco.json, "
        "_annotations.csv, _darknet.labels or XML files",
    ),
}
"""Name of `dataset=` -> the tool, and what marks its exports."""


def recognised(
    dataset: DatasetSettings, policy: dict[str, str] | None = None
) -> tuple[DatasetSettings, str]:
    """Turn `dataset=auto` (or darknet, roboflow) into the settings of the layout that is there.

    Args:
        dataset: Settings of such a kind, with a root: a folder or an archive.
        policy: Kind of defect -> what is done about it; None: what is done unless told.

    Returns:
        The settings, and the lines that tell a person what was found.

    Raises:
        DataError: If no layout fits, or several do: with a command for each.
    """
    require(bool(dataset.root), "dataset.root", dataset.root, "the folder of the raw data set")
    use_endpoint(dataset.endpoint)
    root = root_path(dataset.root)
    require_folder(root, f"dataset.root={dataset.root}")
    layouts = _candidates(root, dataset)
    if not layouts:
        root, layouts = _below(root, dataset)
    if not layouts:
        raise _unknown(root, dataset)
    layouts = [whole_if_few(root, one, dataset, policy) for one in layouts]
    if len(layouts) > 1:
        lines = "\n".join(f"  {c.what}:\n    {c.command(root)}" for c in layouts)
        parts = len({c.kind for c in layouts}) < len(layouts)
        hint = (
            "\nFiles of one kind may be parts of a set: join them, or convert one, then add the "
            "others with extend=OUT."
        )
        raise DataError(f"{root}: several layouts fit. Choose one:\n{lines}{hint if parts else ''}")
    (one,) = layouts
    names = list(one.splits)
    unknown = [name for name in dataset.only if name not in names]
    if unknown:
        raise DataError(
            f"{root}: {one.what} has the splits {', '.join(names)}, none {unknown[0]!r}."
        )
    origin, note = _origin(dataset.box_origin, one)
    settings = replace(
        dataset,
        kind=one.kind,
        root=address(root),
        splits=one.splits,
        only=dataset.only or names,
        names_file=dataset.names_file or one.names_file,
        box_origin=origin,
    )
    command = one.command(root, _given(dataset, one))
    report = [f"found: {one.what}{note}", *one.notes, f"the same as: {command}"]
    return settings, "\n".join(report)


def _origin(wanted: int | None, one: Candidate) -> tuple[int, str]:
    """Where pixels count from in a layout, and a line about it if a person should know."""
    if one.kind not in _WITH_ORIGIN:
        note = "\ndataset.box_origin says nothing here: this layout's edges count from 0"
        return 0, note if wanted else ""
    if wanted is None and one.kind == "voc":
        return 1, "\npixels count from 1, as in VOC; dataset.box_origin=0 if the tool counts from 0"
    return wanted or 0, ""


def _given(dataset: DatasetSettings, one: Candidate) -> list[str]:
    """The settings that the layout does not decide and that were given, as words of a command."""
    usual, words = DatasetSettings(kind="auto"), []
    for key in _KEPT:
        value = getattr(dataset, key)
        if value == getattr(usual, key) or (key == "box_origin" and one.kind not in _WITH_ORIGIN):
            continue
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        words.append(f"{'+' if key == 'merge' else ''}dataset.{key}={text}")
    return words


def _candidates(root: Path, dataset: DatasetSettings) -> list[Candidate]:
    layouts = list(candidates(root, dataset.only))
    if dataset.kind == "darknet":
        return [c for c in layouts if c.tool == "darknet"]
    if dataset.kind == "roboflow":
        return [c for c in layouts if c.kind in ("coco", "yolo", "voc", "csv")]
    return layouts


def _below(root: Path, dataset: DatasetSettings) -> tuple[Path, list[Candidate]]:
    """Look into the subfolders, then into archives: a set that lies in one of its own is read from
    there.

    Raises:
        DataError: If several hold a set, with a command for each.
    """
    # Archives as they were downloaded come last: what is unpacked next to them is meant.
    archives = [root / name for name in children(root)[1] if name.lower().endswith(SUFFIXES)]
    for start, first in (([root], 1), (archives[:100], 0)):
        folders = start
        sets: dict[Path, list[Candidate]] = {}
        for depth in range(_DEEPEST + 1):
            here = {path: _candidates(path, dataset) for path in folders if depth >= first}
            for path, some in here.items():
                if some:
                    # Two folders of labels may lie next to the same pictures.
                    home, layouts = next_to_pictures(root, path, some)
                    sets.setdefault(home, []).extend(layouts)
            folders = [
                folder / name
                for folder in folders
                for name in (children(folder)[0] if not here.get(folder) else ())
                if not is_hidden(name)
            ][:100]
        if sets:
            return _only_set(root, sets)
    return root, []


def _only_set(root: Path, sets: dict[Path, list[Candidate]]) -> tuple[Path, list[Candidate]]:
    """Return the one set that some folders hold, and its layouts.

    Raises:
        DataError: If there are several, with a command for each.
    """
    if len(sets) == 1:
        return next(iter(sets.items()))
    start = ["python", "convert.py", "dataset=auto"]
    commands = [shlex.join([*start, f"dataset.root={address(path)}", "out=OUT"]) for path in sets]
    lines = "\n".join(
        f"  {' or '.join(c.what for c in layouts)}:\n    {command}"
        for layouts, command in zip(sets.values(), commands, strict=True)
    )
    raise DataError(
        f"{root}: {len(sets)} data sets lie in its folders or archives. Convert each by itself:\n"
        f"{lines}"
    )


def _unknown(root: Path, dataset: DatasetSettings) -> DataError:
    folders, files = children(root)
    listed = ", ".join([*(f"{name}/" for name in folders), *files][:12]) or "nothing"
    quoted = shlex.quote(address(root))
    by_class = _class_folders(root, folders)
    if len(by_class) > 1 and not any(name.lower().endswith(_LABELS) for name in files):
        return DataError(
            f"{root}: it holds folders of pictures ({', '.join(by_class[:5])}) and no file of "
            "boxes: a set for classification, a class a folder. A detector learns from boxes: "
            "label the pictures first, for instance with LabelMe or CVAT."
        )
    tool, marks = _MARKS.get(dataset.kind, ("", ""))
    if tool:
        return DataError(
            f"{root}: nothing that {tool} exports ({marks}). It holds {listed}. dataset=auto looks "
            f"for every layout: python convert.py dataset=auto dataset.root={quoted} out=OUT"
        )
    lines = "\n".join(
        f"    python convert.py dataset={kind} dataset.root={quoted} {words} out=OUT"
        for kind, words in (
            ("coco", "dataset.splits.train.annotations=FILE.json dataset.splits.train.images=."),
            ("yolo", "dataset.names_file=data.yaml"),
            ("voc", "dataset.splits.train.annotations=FOLDER dataset.splits.train.list=''"),
            ("csv", "dataset.splits.train.annotations=FILE.csv dataset.splits.train.images=."),
        )
    )
    return DataError(
        f"{root}: no layout of data set is recognised. It holds {listed}. Known are COCO, YOLO, "
        "Darknet, VOC, LabelMe, CVAT, Label Studio, Open Images, CSV, lists of boxes (TXT) and "
        f"KITTI. Name one and say where its files lie:\n{lines}"
    )


def _class_folders(root: Path, folders: list[str]) -> list[str]:
    """The folders that hold pictures, where nothing but pictures lies in any, two levels deep."""
    classes = []
    for name in folders:
        if is_hidden(name):
            continue
        deeper, files = children(root / name)
        for start in [root / name, *(root / name / inner for inner in deeper)]:
            below = files if start == root / name else children(start)[1]
            if any(f.lower().endswith(_LABELS) for f in below):
                return []
            if any(f.lower().endswith(IMAGE_SUFFIXES) for f in below):
                classes.append(start.relative_to(root).as_posix())
    return classes
