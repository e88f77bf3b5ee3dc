"""What `unpack=` writes for other tools is read back with every box."""

from __future__ import annotations

import ast
import json
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from data_tools.command import run
from data_tools.convert.settings import UNPACK_FORMATS, ConvertSettings
from data_tools.converted.label_formats import WRITERS
from data_tools.core.errors import DataError, SettingError
from data_tools.shards.manifest import open_split
from data_tools.sources.settings import DatasetSettings, SplitSettings
from tests.helpers.raw_sets import (
    CATEGORIES,
    box_entry,
    coco_settings,
    image_entry,
    jpeg,
    write_coco,
)


@pytest.fixture(scope="module")
def converted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("unpack")
    names = ["my a.jpg", "sub/ü.jpg", "sub/a.b.jpg", "my a.png", "empty.jpg"]
    images = [{**image_entry(k + 1, 41, 67), "file_name": n} for k, n in enumerate(names)]
    boxes: list[dict[str, Any]] = []
    for number in range(1, 5):
        for k in range(number):
            bbox = [1 / 3 + k, 2.5, 10.123456789 + number, 20.7]
            category = int(str(CATEGORIES[k % 3]["id"]))
            flags = {"iscrowd": int(k == 2), "ignore": int(k == 1)}
            boxes.append(box_entry(10 * number + k, number, bbox, category, **flags))
    categories = [*CATEGORIES[:2], {"id": 7, "name": 'off: <&> "x" #1'}]
    for name in names:
        (root / "images" / name).parent.mkdir(parents=True, exist_ok=True)
        (root / "images" / name).write_bytes(jpeg(41, 67))
    write_coco(root, images, boxes, categories, pictures=False)
    run(coco_settings(root, root / "set"))
    return root / "set"


def truth(folder: Path) -> dict[str, list[tuple[str, list[float], int, int]]]:
    """Picture's stem -> class, box, crowd, difficult, sorted."""
    content = json.loads((folder / "train/annotations.json").read_text())
    names = {c["id"]: c["name"] for c in content["categories"]}
    stems = {i["id"]: i["file_name"].rpartition(".")[0] for i in content["images"]}
    found: dict[str, list[tuple[str, list[float], int, int]]] = {s: [] for s in stems.values()}
    for a in content["annotations"]:
        entry = (names[a["category_id"]], a["bbox"], a["iscrowd"], a.get("ignore", 0))
        found[stems[a["image_id"]]].append(entry)
    return {stem: sorted(entries) for stem, entries in found.items()}


@pytest.mark.parametrize("form", UNPACK_FORMATS)
def test_round_trip(
    converted: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], form: str
) -> None:
    run(ConvertSettings(unpack=str(converted), format=form, out=str(tmp_path / "given")))
    said = capsys.readouterr().out
    assert f"look at it: the pictures are below {tmp_path / 'given'}" in said
    assert ("2 boxes are crowd regions" in said) == (form != "coco")
    assert ("3 boxes are difficult" in said) == (form in ("yolo", "labelme"))
    assert "order of classes" not in said
    again = DatasetSettings(kind="auto", root=str(tmp_path / "given"), only=["train"])
    run(ConvertSettings(dataset=again, out=str(tmp_path / "again")))
    before, after = truth(converted), truth(tmp_path / "again")
    # Two pictures had one stem.
    assert sorted(after) == sorted(["my a", "sub/ü", "sub/a.b", "my a_4", "empty"])
    for name in ("sub/ü", "sub/a.b", "empty"):  # the two pictures of one stem follow below
        assert [e[0] for e in before[name]] == [e[0] for e in after[name]]
        boxes = [np.array([e[1] for e in entries[name]]) for entries in (before, after)]
        np.testing.assert_allclose(*boxes, atol=1e-6)
        if form == "coco":
            assert [e[2:] for e in before[name]] == [e[2:] for e in after[name]]
        if form == "voc":
            assert [e[3] for e in before[name]] == [e[3] for e in after[name]]
    assert len(after["my a"]) == 1 and len(after["my a_4"]) == 4 and not after["empty"]
    pictures = list((tmp_path / "given").rglob("*.jpg"))
    assert len(pictures) == 5 and {p.read_bytes() for p in pictures} == {jpeg(41, 67)}


@pytest.mark.parametrize("form", UNPACK_FORMATS)
def test_the_order_of_classes_is_kept_or_said(
    converted: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], form: str
) -> None:
    names = ['off: <&> "x" #1', "dog", "cat"]
    source = DatasetSettings(
        kind="coco",
        root=str(converted.parent),
        classes=names,
        splits={"train": SplitSettings(annotations="train.json", images="images")},
    )
    run(ConvertSettings(dataset=source, out=str(tmp_path / "set")))
    run(ConvertSettings(unpack=str(tmp_path / "set"), format=form, out=str(tmp_path / "given")))
    said = capsys.readouterr().out
    lost = form != "yolo"
    assert (f"{form} cannot hold this order of classes" in said) == lost
    again = DatasetSettings(kind="auto", root=str(tmp_path / "given"), only=["train"])
    if lost:
        (word,) = [w for w in shlex.split(said) if w.startswith("dataset.classes=")]
        assert ast.literal_eval(word.removeprefix("dataset.classes=")) == names
        again.classes = names
    run(ConvertSettings(dataset=again, out=str(tmp_path / "again")))
    assert [entry.name for entry in open_split(tmp_path / "again", "train").classes] == names


@pytest.mark.parametrize("form", UNPACK_FORMATS)
def test_boxes_of_a_pixel_or_less_are_not_lost(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], form: str
) -> None:
    one_pixel = [[10.0, 10, 1, 5], [66, 0, 1, 41], [3.25, 40, 9, 1], [5, 5, 2, 2], [0, 0, 67, 1]]
    narrower = [[20.3, 20.2, 0.5, 9.7], [66.75, 0.25, 0.25, 30], [0, 40.9, 12, 0.1], [0, 0, 0.2, 9]]
    boxes = [box_entry(k + 1, 1, box) for k, box in enumerate(one_pixel + narrower)]
    write_coco(tmp_path, [image_entry(1, 41, 67)], boxes)
    run(coco_settings(tmp_path, tmp_path / "set"))
    run(ConvertSettings(unpack=str(tmp_path / "set"), format=form, out=str(tmp_path / "given")))
    said = f"{form} cannot hold that 4 boxes are narrower than a pixel; they are made a pixel wide"
    assert (said in capsys.readouterr().out) == (form == "voc")
    again = DatasetSettings(kind="auto", root=str(tmp_path / "given"), only=["train"])
    run(ConvertSettings(dataset=again, out=str(tmp_path / "again")))
    ((_, found),) = truth(tmp_path / "again").items()
    if form != "voc":
        expected = one_pixel + narrower
    else:
        wide = [[20.05, 20.2, 1, 9.7], [66, 0.25, 1, 30], [0, 40, 12, 1], [0, 0, 1, 9]]
        expected = one_pixel + wide
        text = next((tmp_path / "given").rglob("*.xml")).read_text()
        assert "<xmin>11.0</xmin>" in text and "<xmax>11.0000001</xmax>" in text
    np.testing.assert_allclose(sorted(e[1] for e in found), sorted(expected), atol=1e-6)


def test_yolo_labels_lie_where_its_tools_look(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = ["images/a.jpg", "b/images/c/d.jpg", "images_/a.jpg", "images.jpg", "e/images"]
    images = [{**image_entry(k), "file_name": name} for k, name in enumerate(names, 1)]
    boxes = [box_entry(k, k, [1.0, 2, 10 + k, 20]) for k in range(1, 6)]
    write_coco(tmp_path, images, boxes, pictures=False)
    for name in names:
        (tmp_path / "images" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "images" / name).write_bytes(jpeg(40, 60))
    splits = {
        name: SplitSettings(annotations="train.json", images="images")
        for name in ("train", "images")
    }
    run(coco_settings(tmp_path, tmp_path / "set", dataset_splits=splits))
    given = tmp_path / "images" / "given"  # the folder around may be called so too
    run(ConvertSettings(unpack=str(tmp_path / "set"), format="yolo", out=str(given)))
    assert "2 pictures lie below images_ in place of images" in capsys.readouterr().out
    pictures = [path.as_posix() for path in given.rglob("*.jpg")]
    assert len(pictures) == 10
    for path in pictures:  # as YOLO's tools do it
        labels = "/labels/".join(path.rsplit("/images/", 1)).rsplit(".", 1)[0] + ".txt"
        assert Path(labels).is_relative_to(given / "labels") and Path(labels).is_file()
    again = DatasetSettings(kind="auto", root=str(given), only=["train"])
    run(ConvertSettings(dataset=again, out=str(tmp_path / "again")))
    before, after = (truth(tmp_path / name).values() for name in ("set", "again"))
    assert sorted(e for entries in before for e in entries) == sorted(
        e for entries in after for e in entries
    )


def test_what_is_there_is_never_touched(converted: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("x")
    settings = ConvertSettings(unpack=str(converted), out=str(tmp_path))
    with pytest.raises(DataError, match="something already"):
        run(settings)
    assert (tmp_path / "mine").read_text() == "x"
    with pytest.raises(SettingError, match="format='tf': expected one of coco"):
        ConvertSettings(unpack="x", format="tf")
    with pytest.raises(SettingError, match="out="):
        run(ConvertSettings(unpack=str(converted)))
    assert set(WRITERS) == set(UNPACK_FORMATS)
