"""Folders that hold more labels than one set has: `dataset=auto` takes all of them, or lists them,
and never some in silence.
"""

from __future__ import annotations

import json
import re
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from data_tools.convert.settings import ConvertSettings
from data_tools.core.errors import DataError
from data_tools.sources.raw_split import RawDataset
from data_tools.sources.read import read_source
from data_tools.sources.recognise import recognised
from data_tools.sources.settings import DatasetSettings
from tests.helpers import exporters
from tests.helpers.exporters import TRUTH

POLICY = ConvertSettings().content()["policy"]


def found(root: Path, kind: str = "auto") -> tuple[RawDataset, str]:
    settings, words = recognised(DatasetSettings(kind=kind, root=str(root)))
    return read_source(settings, POLICY), words


def listed(root: Path) -> list[str]:
    """The annotations that the commands of a refusal name, a command each."""
    with pytest.raises(DataError, match="several layouts fit") as caught:
        found(root)
    commands = [line for line in str(caught.value).splitlines() if "python convert.py" in line]
    words = [[w for w in shlex.split(c) if ".annotations=" in w] for c in commands]
    return [",".join(dict.fromkeys(w.partition("=")[2] for w in some)) for some in words]


@pytest.mark.parametrize(
    ("exporter", "file"),
    [
        (exporters.cvat, "annotations.xml"),
        (exporters.label_studio, "export.json"),
        (exporters.csv_bare, "annotations.csv"),
        (exporters.csv_named, "annotations.csv"),
    ],
)
def test_two_files_of_one_kind_are_listed(
    tmp_path: Path, exporter: Callable[[Path], None], file: str
) -> None:
    exporter(tmp_path)
    names = [f"part_{k}{Path(file).suffix}" for k in (1, 2)]
    shutil.copy(tmp_path / file, tmp_path / names[1])
    (tmp_path / file).rename(tmp_path / names[0])
    assert listed(tmp_path) == names
    (tmp_path / "more").mkdir()
    for name in names:
        (tmp_path / name).rename(tmp_path / "more" / name)
    assert listed(tmp_path) == [f"more/{name}" for name in names]


def coco(root: Path, *files: str) -> None:
    """Pictures in `images`, and COCO files of all of them."""
    exporters.coco(root)
    (root / "train").rename(root / "images")
    text = (root / "images/_annotations.coco.json").read_bytes()
    (root / "images/_annotations.coco.json").unlink()
    for file in files:
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        (root / file).write_bytes(text)


TRAIN, VAL = "annotations/instances_train2017.json", "annotations/instances_val2017.json"


@pytest.mark.parametrize(
    ("files", "sets"),
    [
        (["a.json", "b.json"], ["a.json", "b.json"]),
        (
            [TRAIN, VAL, "annotations/instances_train2014.json"],
            ["annotations/instances_train2014.json", f"{TRAIN},{VAL}"],
        ),
        (
            ["train.json", "val.json", "train_v2.json"],
            ["train.json,val.json", "train_v2.json"],
        ),
        (
            ["train_a.json", "train_b.json", "test.json"],
            ["train_a.json,test.json", "train_b.json,test.json"],
        ),
        (["labels.json", "test.json"], ["test.json", "labels.json"]),
    ],
)
def test_several_files_of_a_split_are_listed(
    tmp_path: Path, files: list[str], sets: list[str]
) -> None:
    coco(tmp_path, *files)
    assert listed(tmp_path) == sets


def test_files_for_each_split_come_before_one_of_all_with_a_line(tmp_path: Path) -> None:
    coco(tmp_path, "all.json", "train.json", "val.json")
    raw, words = found(tmp_path)
    assert [split.name for split in raw.splits] == ["train", "val"]
    assert "not read, as files of splits are there: all.json" in words


@pytest.mark.parametrize("name", ["image_info_test2017.json", "test.json"])
def test_lists_of_pictures_without_labels_are_left_out_with_a_line(
    tmp_path: Path, name: str
) -> None:
    coco(tmp_path, TRAIN, VAL)
    content = json.loads((tmp_path / TRAIN).read_bytes())
    del content["annotations"]
    (tmp_path / "annotations" / name).write_text(json.dumps(content))
    raw, words = found(tmp_path)
    assert [split.name for split in raw.splits] == ["train", "val"]
    assert f"left out, as it has no annotations: annotations/{name}" in words
    # An empty list says that there is nothing on the pictures.
    (tmp_path / "annotations" / name).write_text(json.dumps({**content, "annotations": []}))
    if name == "test.json":
        raw, words = found(tmp_path)
        assert len(raw.splits) == 3 and "left out" not in words


def fiftyone(root: Path, name: str) -> None:
    """Open Images' files as FiftyOne lays them out."""
    exporters.open_images(root / "raw")
    for folder in ("labels", "metadata"):
        (root / folder).mkdir(parents=True)
    (root / "raw/train").rename(root / "data")
    for path in list((root / "data").iterdir()):
        path.rename(path.with_name(f"{name}{path.name}"))
    text = (root / "raw/train-annotations-bbox.csv").read_text(encoding="utf-8")
    head, *rows = text.splitlines(keepends=True)
    text = head + "".join(f"{name}{row}" for row in rows)
    (root / "labels/detections.csv").write_text(text, encoding="utf-8")
    (root / "labels/relationships.csv").write_text("ImageID,LabelName1,XMin1,XMax1,YMin1,YMax1\n")
    (root / "labels/segmentations.csv").write_text("MaskPath,ImageID,LabelName,BoxXMin,BoxXMax\n")
    (root / "raw/class-descriptions-boxable.csv").rename(root / "metadata/classes.csv")
    (root / "metadata/image_ids.csv").write_text("a\n")
    shutil.rmtree(root / "raw")


def test_open_images_as_fiftyone_lays_them_out(tmp_path: Path) -> None:
    fiftyone(tmp_path / "one", "")
    raw, _ = found(tmp_path / "one")
    assert [c.name for c in raw.classes.classes] == sorted(exporters.NAMES)
    assert sum(len(split.table) for split in raw.splits) == 3
    for split in ("train", "validation"):
        fiftyone(tmp_path / "two" / split, split)
    raw, words = found(tmp_path / "two")
    assert [c.name for c in raw.classes.classes] == sorted(exporters.NAMES)
    assert [(s.name, len(s.table), s.defects) for s in raw.splits] == [
        ("train", 3, ()),
        ("val", 3, ()),
    ]
    assert "dataset.splits.val.annotations=validation/labels/detections.csv" in words


def test_several_files_in_the_folder_of_a_split(tmp_path: Path) -> None:
    for split in ("train", "valid"):
        exporters.csv_bare(tmp_path / split)
    shutil.copy(tmp_path / "train/annotations.csv", tmp_path / "train/old.csv")
    assert listed(tmp_path) == [
        "train/annotations.csv,valid/annotations.csv",
        "train/old.csv",
    ]


def in_folders(root: Path, exporter: Callable[[Path], None], homes: list[str]) -> None:
    """The pictures of a set with their labels next to them, each in a folder of its own."""
    exporter(root / "raw")
    for home, name in zip(homes, TRUTH, strict=True):
        (root / home).mkdir(parents=True, exist_ok=True)
        for path in (root / "raw").glob(f"*/{name}.*"):
            text = path.read_bytes().replace(b"..\\\\images\\\\", b"")
            (root / home / path.name).write_bytes(text)
    shutil.rmtree(root / "raw")


@pytest.mark.parametrize("exporter", [exporters.voc, exporters.labelme])
@pytest.mark.parametrize(
    "homes",
    [
        ["a", "b/c", "b/d"],
        [".", "b", "c/d/e"],
        ["train", "train/a/b", "train/c/d"],
        ["train/a/b", "train/c/d", "train/c/d"],
        ["train/train", "train/b/c", "train/b"],
    ],
)
def test_labels_in_folders_of_uneven_depth(
    tmp_path: Path, exporter: Callable[[Path], None], homes: list[str]
) -> None:
    in_folders(tmp_path, exporter, homes)
    raw, _ = found(tmp_path)
    names = [Path(name).stem for split in raw.splits for name in split.table.file_names]
    assert sorted(names) == sorted(TRUTH)
    assert {split.name for split in raw.splits} == {"train"}


def test_sets_at_different_depths_are_listed(tmp_path: Path) -> None:
    in_folders(tmp_path, exporters.labelme, ["a/b", "c/d/e", "c/d/e"])
    with pytest.raises(DataError, match="2 data sets lie in its folders") as caught:
        found(tmp_path)
    assert f"dataset.root={tmp_path}/a " in str(caught.value)
    assert re.search(rf"dataset.root={tmp_path}/c/d ", str(caught.value))


def test_other_labels_among_those_of_each_picture_are_listed(tmp_path: Path) -> None:
    in_folders(tmp_path, exporters.labelme, ["lm", "lm", "lm/more"])
    (tmp_path / "lm/more/labels.csv").write_text("b.jpg,1,2,3,4,cat\n")
    assert listed(tmp_path) == ["lm", "lm/more/labels.csv"]


def test_two_folders_of_labels_next_to_the_same_pictures(tmp_path: Path) -> None:
    exporters.csv_bare(tmp_path)
    exporters.cvat(tmp_path)
    for folder, file in (("one", "annotations.csv"), ("two", "annotations.xml")):
        (tmp_path / folder).mkdir()
        (tmp_path / file).rename(tmp_path / folder / file)
    assert listed(tmp_path) == ["one/annotations.csv", "two/annotations.xml"]
