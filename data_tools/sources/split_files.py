"""Puts the annotation files of a folder together: one file a split, by names such as
`instances_train2017.json`, and several sets where a split has several files.

Which layouts a folder has is told in `data_tools/sources/layouts.py`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from data_tools.core.file_tree import children, is_folder
from data_tools.sources.candidate import SPLIT_NAMES
from data_tools.sources.file_kinds import WORDS, has_labels, kind_of_file
from data_tools.sources.settings import SplitSettings

IMAGE_FOLDERS = ("images", "JPEGImages", "image_2", "imgs", "img", "data", "frames")
ONE_FILE = ("coco", "cvat", "label_studio", "open_images", "csv", "txt")
"""Layouts whose boxes lie in one file a split."""
_OTHER_TASKS = {"captions", "keypoints", "panoptic", "stuff"}


@dataclass(frozen=True)
class Labels:
    """A file or folder of labels.

    Args:
        split: The split whose labels it has; empty for all of them.
        kind: `dataset=` name of its reader.
        what: The layout in words, for a person.
        form: Its name without the word of the split: files of one set have the same.
        settings: Where it and its pictures lie.
        labelled: It says where boxes are; lists of pictures to be labelled do not.
    """

    split: str
    kind: str
    what: str
    form: str
    settings: SplitSettings
    labelled: bool = True


@dataclass(frozen=True)
class LabelSet:
    """Files of one layout that make a set: split -> file; and lines about what is left out."""

    splits: dict[str, Labels]
    notes: tuple[str, ...]


def sets_of(
    inside: Sequence[Labels], named: Sequence[Labels], outside: Sequence[Labels]
) -> list[LabelSet]:
    """Return the sets that files of one layout can be: several where it is not clear which are
    meant.

    Args:
        inside: What lies in the folder or, where each split has a folder, in these.
        named: What has the name of a split.
        outside: What lies next to the folders of the splits.
    """
    # Labels for other tasks are left out without a word, as COCO has them next to those of boxes.
    inside, outside = _of_boxes(inside) or inside, _of_boxes(outside) or outside
    named = _of_boxes(named)
    pictures = [one for one in (*inside, *named, *outside) if not one.labelled]
    if len(pictures) < len(inside) + len(named) + len(outside):
        inside, named, outside = (
            [one for one in some if one.labelled] for some in (inside, named, outside)
        )
    chosen, others = (inside or outside), [*named, *outside]
    if named and not any(one.split for one in inside):
        chosen, others = named, [*inside, *outside]
    paths = {one.settings.annotations for one in chosen}
    others = [one for one in others if one.settings.annotations not in paths]
    sets = _alternatives(chosen)
    if chosen is named and not ({"train"} < {one.split for one in named}):
        # `labels.csv` next to `test.csv`: the set's own labels rather than some of all.
        sets += _alternatives([one for one in others if not one.split])
        others = []
    unread = dict.fromkeys(one.settings.annotations for one in others)
    notes = tuple(f"not read, as files of splits are there: {path}" for path in unread)
    without = dict.fromkeys(one.settings.annotations for one in pictures)
    if chosen and chosen[0].labelled:
        notes += tuple(f"left out, as it has no annotations: {path}" for path in without)
    return [LabelSet(splits, notes if len(sets) == 1 else ()) for splits in sets]


def _of_boxes(labels: Sequence[Labels]) -> list[Labels]:
    return [f for f in labels if not _OTHER_TASKS & _words(Path(f.settings.annotations))]


def _words(path: Path) -> set[str]:
    return set(re.split(r"[^a-z0-9]+", path.stem.lower()))


def _alternatives(labels: Sequence[Labels]) -> list[dict[str, Labels]]:
    """Put files together, one a split; where a split has several, those of like names."""
    sets: dict[str, dict[str, Labels]] = {}
    count: dict[str, int] = {}
    for one in labels:
        form = one.form if one.split not in sets.get(one.form, {}) else one.settings.annotations
        sets.setdefault(form, {})[one.split] = one
        count[one.split] = count.get(one.split, 0) + 1
    several = {split for split, number in count.items() if number > 1}
    if not several:
        return [{one.split: one for one in labels}] if labels else []
    clear: dict[str, Labels] = {}
    for files in sets.values():
        if not several & set(files):
            clear |= files
    return [files | clear for files in sets.values() if several & set(files)]


def files_by_split(root: Path) -> Iterator[Labels]:
    """Yield files that are named like a split: `annotations/instances_train2017.json`.

    Folders may be packed as COCO gives them: `annotations_trainval2017.zip`, `train2017.zip`.
    """
    folders, files = children(root)
    zips = {name.lower(): name for name in files if name.lower().endswith(".zip")}
    label_folders = [root / name for name in ("annotations", "labels") if name in folders]
    label_folders += [root / name for low, name in zips.items() if re.match("(annot|label)", low)]
    label_folders += [p / "annotations" for p in label_folders if is_folder(p / "annotations")]
    seen: set[tuple[str, str]] = set()
    for folder in (root, *label_folders):
        archive = next((p for p in folder.relative_to(root).parts if p in zips.values()), "")
        for name in children(folder)[1]:
            path = folder / name
            words = _words(path)
            splits = [s for s, forms in SPLIT_NAMES.items() if words & set(forms)]
            # What is unpacked next to its archive is meant. The folder around all that an archive
            # holds may be left out: its files are seen twice.
            packed = archive and {("", name), (archive, name)} & seen
            if name.startswith(".") or not splits or packed:
                continue
            kind = kind_of_file(path)
            if kind not in ONE_FILE:
                continue
            seen.add((archive, name))
            for split in splits:
                forms = SPLIT_NAMES[split]
                # `train2017` of `instances_train2017` rather than `train`.
                forms = tuple(sorted(forms, key=lambda form: form not in words))
                homes = [start / form for form in forms for start in (root, root / "images")]
                homes += [root / zips[f"{f}.zip"] for f in forms if f"{f}.zip" in zips]
                homes += [*(root / name for name in IMAGE_FOLDERS), root]
                images = next(home for home in homes if is_folder(home)) if kind != "txt" else root
                yield Labels(
                    split,
                    kind,
                    f"{WORDS[kind]} with a file for each split",
                    path.with_name(re.sub(split, "*", path.stem, flags=re.I)).as_posix(),
                    SplitSettings(
                        path.relative_to(root).as_posix(), images.relative_to(root).as_posix()
                    ),
                    has_labels(path, kind),
                )
