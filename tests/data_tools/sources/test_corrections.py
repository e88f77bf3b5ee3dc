"""Files of corrections: what they change, that every change is told, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from data_tools.convert.convert import run_convert
from data_tools.convert.settings import ConvertSettings
from data_tools.core.errors import DataError
from data_tools.shards.manifest import open_split
from data_tools.sources.settings import DatasetSettings, SplitSettings

HEADER = "rank,action,split,image,annotation_id,class,x,y,w,h,image_width,image_height\n"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Three images of 100 x 80 pixels with two boxes each."""
    folder = tmp_path / "raw"
    (folder / "images").mkdir(parents=True)
    annotations = []
    for k in (1, 2, 3):
        cv2.imwrite(str(folder / "images" / f"p{k}.png"), np.full((80, 100, 3), 40 * k, np.uint8))
        annotations += [
            {"id": 10 * k + n, "image_id": k, "category_id": 5 + n, "bbox": [10 * n, 5, 30, 40]}
            for n in (1, 2)
        ]
    images = [{"id": k, "file_name": f"p{k}.png", "width": 100, "height": 80} for k in (1, 2, 3)]
    categories = [{"id": 6, "name": "cat"}, {"id": 7, "name": "dog"}]
    (folder / "a.json").write_text(
        json.dumps({"images": images, "annotations": annotations, "categories": categories})
    )
    return folder


def convert(root: Path, corrections: str | None, name: str = "out") -> tuple[dict[str, Any], Any]:
    file = root.parent / "corrections.csv"
    if corrections is not None:
        file.write_text(corrections)
    settings = ConvertSettings(
        dataset=DatasetSettings(
            kind="coco",
            root=str(root),
            splits={"train": SplitSettings(annotations="a.json", images="images")},
        ),
        out=str(root.parent / name),
        exclude=str(file) if corrections is not None else "",
        overwrite=True,
    )
    assert run_convert(settings) == 0
    split = open_split(root.parent / name, "train")
    return json.loads(split.annotations_path.read_text()), split


def boxes_of(truth: dict[str, Any]) -> dict[int, tuple[str, list[float]]]:
    names = {c["id"]: c["name"] for c in truth["categories"]}
    return {a["id"]: (names[a["category_id"]], a["bbox"]) for a in truth["annotations"]}


def test_every_action(root: Path) -> None:
    before, plain = convert(root, None)
    truth, split = convert(
        root,
        HEADER
        + "1,drop,train,p1.png,11,,,,,,,\n"
        + "2,class,,p1,12,cat,,,,,,\n"
        + "3,box,train,p2.png,21,,1,2,20,25.5,100,80\n"
        + "4,add,,2,,dog,50,40,20,30,200,160\n"  # said in pixels of an image twice as large
        + "5,drop_image,train,p3.png,,,,,,,,\n"
        + "6,keep,train,p2.png,22,,,,,,,\n"
        + "7,class,val,p1,12,cat,,,,,,\n",  # of a split that is not read
        "cleaned",
    )
    assert [i["file_name"] for i in truth["images"]] == ["p1.png", "p2.png"]
    expected = {
        12: ("cat", [20, 5, 30, 40]),
        21: ("cat", [1, 2, 20, 25.5]),
        22: ("dog", [20, 5, 30, 40]),
        33: ("dog", [25, 20, 10, 15]),
    }
    found = boxes_of(truth)
    assert {k: (name, pytest.approx(box)) for k, (name, box) in expected.items()} == found
    assert len(boxes_of(before)) == 6
    assert split.fingerprint != plain.fingerprint
    report = json.loads((split.folder / "report.json").read_text())
    told = report["files"]["corrections.csv"]
    assert [d["detail"].split(": ")[1] for d in told] == [
        "class",
        "add",
        "drop",
        "box",
        "drop_image",
    ]
    assert report["left_out"]["images"] == 1


def test_without_a_file_nothing_changes(root: Path) -> None:
    _, first = convert(root, None)
    assert "corrected" not in first.manifest.settings["policy"]
    _, again = convert(root, None, "again")
    assert first.fingerprint == again.fingerprint
    _, kept = convert(root, HEADER + "1,keep,train,p1.png,11,,,,,,,\n", "kept")
    assert kept.fingerprint == first.fingerprint


def test_a_list_of_names_leaves_images_out(root: Path) -> None:
    truth, _ = convert(root, "p2.png\n\n3\n")
    assert [i["file_name"] for i in truth["images"]] == ["p1.png"]


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("1,drop,train,p1.png,99,,,,,,,\n", r"1 of its 1 lines name no image or box.*line 2"),
        ("1,drop,train,p2.png,11,,,,,,,\n", "name no image or box"),
        ("1,drop_image,,p9.png,,,,,,,,\n", "name no image or box"),
        ("1,remove,train,p1.png,11,,,,,,,\n", "line 2: action='remove'"),
        ("1,drop,train,,11,,,,,,,\n", "no image"),
        ("1,drop,train,p1.png,x,,,,,,,\n", "annotation_id='x'"),
        ("1,class,train,p1.png,11,,,,,,,\n", "needs a class"),
        ("1,class,train,p1.png,11,cow,,,,,,\n", "'cow' is none of the set's: cat, dog"),
        ("1,box,train,p1.png,11,,1,2,0,5,,\n", "a box with an area"),
        ("1,box,train,p1.png,11,,1,nan,3,5,,\n", "y='nan'"),
        ("1,box,train,p1.png,11,,1,1,3,5,80,100\n", "turned or cut"),
    ],
)
def test_what_cannot_be_done_is_refused(root: Path, lines: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        convert(root, HEADER + lines)
    assert not (root.parent / "out").exists()


def test_relative_boxes_are_put_back_relative(tmp_path: Path) -> None:
    for folder in ("images", "labels"):
        (tmp_path / "raw" / folder).mkdir(parents=True)
    cv2.imwrite(str(tmp_path / "raw/images/a.png"), np.zeros((80, 100, 3), np.uint8))
    (tmp_path / "raw/labels/a.txt").write_text("0 0.5 0.5 0.2 0.2\n")
    (tmp_path / "raw/data.yaml").write_text("names: [cat]\n")
    (tmp_path / "c.csv").write_text(HEADER + "1,box,,a.png,1,,10,20,30,40,100,80\n")
    settings = ConvertSettings(
        dataset=DatasetSettings(
            kind="yolo",
            names=["cat"],
            root=str(tmp_path / "raw"),
            splits={"train": SplitSettings(images="images", annotations="labels")},
        ),
        out=str(tmp_path / "out"),
        exclude=str(tmp_path / "c.csv"),
    )
    run_convert(settings)
    truth = json.loads(open_split(tmp_path / "out", "train").annotations_path.read_text())
    assert truth["annotations"][0]["bbox"] == pytest.approx([10, 20, 30, 40])
