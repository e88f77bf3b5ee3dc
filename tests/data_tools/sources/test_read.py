"""Every layout is read as it is meant: COCO in all its dialects, VOC, text lists, YOLO."""

from __future__ import annotations

import json
import os
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from data_tools.convert.settings import ConvertSettings
from data_tools.core.errors import DataError, SettingError
from data_tools.sources.image_files import numbers_for
from data_tools.sources.raw_split import RawDataset, RawSplit
from data_tools.sources.read import read_source
from data_tools.sources.settings import DatasetSettings, SplitSettings
from tests.helpers.raw_sets import (
    CATEGORIES,
    box_entry,
    coco_settings,
    image_entry,
    jpeg,
    voc_xml,
    write_coco,
    write_plain_coco,
)


def read_settings(settings: ConvertSettings) -> RawDataset:
    return read_source(settings.dataset, settings.content()["policy"])


def read(settings: ConvertSettings) -> RawSplit:
    return read_settings(settings).splits[0]


def kinds(split: RawSplit) -> list[str]:
    return [defect.kind for defect in split.defects]


# COCO


def test_coco_is_sorted_and_exact(tmp_path: Path) -> None:
    images = [image_entry(7), image_entry(3)]
    boxes = [
        box_entry(9, 7, [1.5, 2.25, 3.125, 4.0], 3, area=5.5),
        box_entry(2, 3, [0, 0, 10, 10], 7, iscrowd=1),
        box_entry(1, 7, [2, 2, 2, 2], 1, ignore=1),
    ]
    write_coco(tmp_path, images, boxes)
    table = read(coco_settings(tmp_path)).table
    assert table.image_ids.tolist() == [3, 7] and table.annotation_ids.tolist() == [2, 1, 9]
    sample = table[1]
    np.testing.assert_array_equal(sample.boxes_yxyx_px[1], [2.25, 1.5, 6.25, 4.625])
    assert sample.areas_px[1] == 5.5 and sample.difficult.tolist() == [True, False]
    assert table[0].iscrowd.tolist() == [True] and sample.category_ids.tolist() == [1, 3]


def test_coco_dialects(tmp_path: Path) -> None:
    """No area, no iscrowd, no annotation ids (LVIS, CrowdHuman-style), ids as text, no sizes."""
    images: list[dict[str, Any]] = [
        {"id": "b-2", "file_name": "x.jpg"},
        {"id": "a 1", "coco_url": "http://images/train2017/y.jpg"},
        {"id": "17", "file_name": "sub\\z.jpg", "height": None},
    ]
    boxes = [
        {"image_id": "a 1", "category_id": 1, "bbox": [1, 2, 3, 4]},
        {"image_id": 17, "category_id": "3", "bbox": ["1", "2", "3", "4"]},
    ]
    write_coco(tmp_path, images, boxes, pictures=False)
    table = read(coco_settings(tmp_path)).table
    assert table.file_names == ["sub/z.jpg", "train2017/y.jpg", "x.jpg"]
    assert table.image_ids.tolist() == [17, 18, 19]
    assert np.diff(table.offsets).tolist() == [1, 1, 0]
    assert table.areas_px.tolist() == [12.0, 12.0] and table.heights.tolist() == [0, 0, 0]
    assert len(set(table.annotation_ids.tolist())) == 2


ODD_ENTRIES: list[Any] = [
    {"id": 2**70}, {"image_id": 2**61}, {"category_id": -(2**61)}, {"id": 7.0}, {"id": 7.5},
    {"id": True}, {"id": "x"}, {"iscrowd": True}, {"iscrowd": 1.0}, {"iscrowd": None},
    {"ignore": "1"}, {"ignore": 3}, {"bbox": [1, 2, 3]}, {"bbox": [1, 2, 3, 4, 5]},
    {"bbox": ["1", 2, 3, 4]}, {"bbox": None}, {"area": None}, {"bbox": [1, 2, float("nan"), 4]},
    {"bbox": [1, 2, 10**400, 4]}, {"area": "12"}, {"area": float("inf")},
    {"segmentation": [[1, 2, 3, 4, 5, 6]], "more": {"a": [{"b": 1}, {"c": 2}]}},
    {"image_id": None}, 5, None, [1],
]  # fmt: skip


def test_usual_entries_are_judged_as_the_odd_ones_are(tmp_path: Path) -> None:
    boxes: list[Any] = []
    for odd in ODD_ENTRIES:
        for _ in range(4):
            boxes.append(box_entry(len(boxes) + 1, 1 + len(boxes) % 3, [1.25, 2, 3.5, 1e-3], 3))
        boxes.append({**boxes[-1], "id": len(boxes) + 1, **odd} if isinstance(odd, dict) else odd)
    write_coco(tmp_path, [image_entry(k) for k in (1, 2, 3)], boxes)
    quick = read(coco_settings(tmp_path))
    # A flag as a truth value is unusual and means the same: usual entries are now read as odd ones.
    spelt = [{**box, "ignore": False} if k % 5 < 4 else box for k, box in enumerate(boxes)]
    write_coco(tmp_path, [image_entry(k) for k in (1, 2, 3)], spelt)
    slow = read(coco_settings(tmp_path))
    assert [d.as_dict() for d in quick.defects] == [d.as_dict() for d in slow.defects]
    assert len(slow.defects) > 10
    for name, values in vars(slow.table).items():
        np.testing.assert_array_equal(vars(quick.table)[name], values, err_msg=name)


def test_annotation_id_zero_is_replaced(tmp_path: Path) -> None:
    write_coco(
        tmp_path, [image_entry(1)], [box_entry(0, 1, [1, 1, 5, 5]), box_entry(4, 1, [2, 2, 5, 5])]
    )
    assert 0 not in read(coco_settings(tmp_path)).table.annotation_ids


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"images": []}, "no annotations and no categories.*its keys are"),
        ({"images": [], "annotations": [], "categories": []}, "categories is empty"),
        ({"images": [], "annotations": [], "categories": CATEGORIES}, "images is empty"),
        (
            {"images": [image_entry(2**70)], "annotations": [], "categories": CATEGORIES},
            "none of its 1 images can be used.*whole number below 2.64",
        ),
        ([], "expected an object"),
        (
            {
                "images": [],
                "annotations": [],
                "categories": [{"id": 1, "name": "a"}, {"id": 1, "name": "b"}],
            },
            "collides",
        ),
    ],
)
def test_not_coco(tmp_path: Path, content: Any, message: str) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "train.json").write_text(json.dumps(content))
    with pytest.raises(DataError, match=message):
        read(coco_settings(tmp_path))


def test_missing_pieces_name_the_setting(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"dataset\.root=.*there is nothing"):
        read(coco_settings(tmp_path / "no"))
    (tmp_path / "other.json").write_text("{}")
    with pytest.raises(DataError, match=r"annotations=train\.json.*Next to it: other\.json"):
        read(coco_settings(tmp_path))
    (tmp_path / "train.json").write_text("{}")
    with pytest.raises(DataError, match=r"images=images"):
        read(coco_settings(tmp_path))
    with pytest.raises(SettingError, match=r"dataset\.root"):
        read(ConvertSettings(dataset=DatasetSettings(splits={"a": SplitSettings()})))


def test_lists_and_fractions(tmp_path: Path) -> None:
    write_plain_coco(tmp_path, 40)
    (tmp_path / "some.txt").write_text("000003.jpg\n000007\n./images/000012\n")
    listed = SplitSettings(annotations="train.json", images="images", list="some.txt")
    table = read(coco_settings(tmp_path, dataset_splits={"train": listed})).table
    assert table.image_ids.tolist() == [3, 7, 12]
    (tmp_path / "some.txt").write_text("3\n7\n12\n")  # ids, where no line is a name
    table = read(coco_settings(tmp_path, dataset_splits={"train": listed})).table
    assert table.image_ids.tolist() == [3, 7, 12]
    (tmp_path / "some.txt").write_text("000003.jpg\nnobody\n")
    with pytest.raises(DataError, match=r"some\.txt.*1 of its 2 names.*nobody"):
        read(coco_settings(tmp_path, dataset_splits={"train": listed}))

    def cut(seed: int, **shares: float) -> dict[str, list[int]]:
        splits = {
            name: SplitSettings(annotations="train.json", images="images", fraction=share)
            for name, share in shares.items()
        }
        raw = read_settings(coco_settings(tmp_path, dataset_splits=splits, dataset_split_seed=seed))
        return {split.name: split.table.image_ids.tolist() for split in raw.splits}

    parts = cut(0, train=0.75, val=0.25)
    assert sorted(parts["train"] + parts["val"]) == list(range(1, 41)) and len(parts["val"]) == 10
    assert cut(0, train=0.75, val=0.25) == parts != cut(1, train=0.75, val=0.25)
    with pytest.raises(SettingError, match=r"add up to 1\.2"):
        cut(0, train=0.8, val=0.4)
    with pytest.raises(SettingError, match=r"val\.fraction=0\.01: of 40 image\(s\) that is none"):
        cut(0, train=0.9, val=0.01)


def test_classes_empty_images_and_other_boxes(tmp_path: Path) -> None:
    write_plain_coco(tmp_path, 12)
    whole = read(coco_settings(tmp_path))
    dogs = read(coco_settings(tmp_path, dataset_classes=["dog"], dataset_keep_empty=False))
    assert set(dogs.table.category_ids.tolist()) == {3}
    assert len(dogs.table.category_ids) + dogs.other_classes == len(whole.table.category_ids)
    assert (np.diff(dogs.table.offsets) > 0).all() and dogs.empty_left_out == 12 - len(dogs.table)


# Pascal VOC


def voc(root: Path, **more: Any) -> RawDataset:
    split = {"annotations": "Annotations", "images": "JPEGImages"}
    split |= {k[6:]: more.pop(k) for k in list(more) if k.startswith("split_")}
    dataset = DatasetSettings(
        kind="voc", root=str(root), splits={"train": SplitSettings(**split)}, **more
    )
    return read_settings(ConvertSettings(dataset=dataset))


def write_voc(root: Path, files: dict[str, str | bytes], images: list[str]) -> None:
    for folder in ("Annotations", "JPEGImages"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        data = text if isinstance(text, bytes) else text.encode()
        (root / "Annotations" / f"{name}.xml").write_bytes(data)
    for name in images:
        path = root / "JPEGImages" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(jpeg(40, 60))


def test_voc_boxes_names_and_flags(tmp_path: Path) -> None:
    objects = [("dog", (1, 1, 60, 40)), ("cat", (10.5, 5, 20, 15))]
    write_voc(tmp_path, {"b": voc_xml(objects, difficult=1), "a": voc_xml([])}, ["a.jpg", "b.PNG"])
    raw = voc(tmp_path)
    table = raw.splits[0].table
    assert [c.name for c in raw.classes.classes] == ["cat", "dog"]
    assert table.file_names == ["a.jpg", "b.PNG"] and table.image_ids.tolist() == [1, 2]
    np.testing.assert_array_equal(table[1].boxes_yxyx_px, [[0, 0, 40, 60], [4, 9.5, 15, 20]])
    assert table[1].difficult.all() and table[1].category_ids.tolist() == [2, 1]
    zero = voc(tmp_path, box_origin=0).splits[0].table
    np.testing.assert_array_equal(zero[1].boxes_yxyx_px[0], [1, 1, 40, 60])


def test_voc_lists_and_one_folder(tmp_path: Path) -> None:
    names = ["000012", "000002", "my photo"]
    write_voc(tmp_path, {n: voc_xml([("a", (2, 2, 9, 9))]) for n in names}, [])
    for name in names:
        (tmp_path / "Annotations" / f"{name}.jpg").write_bytes(jpeg(40, 60))
    (tmp_path / "list.txt").write_text("000012  1\nmy photo\n\n")
    table = voc(tmp_path, split_images="Annotations", split_list="list.txt").splits[0].table
    assert table.file_names == ["000012.jpg", "my photo.jpg"]
    everything = voc(tmp_path, split_images="Annotations").splits[0].table
    assert len(everything) == 3 and everything.image_ids.tolist() == [1, 2, 3]
    (tmp_path / "list.txt").write_text("000012\n000002\n")
    numbered = voc(tmp_path, split_images="Annotations", split_list="list.txt").splits[0].table
    assert numbered.image_ids.tolist() == [2, 12]
    (tmp_path / "list.txt").write_text("../000012\n")
    with pytest.raises(DataError, match="leaves the folder"):
        voc(tmp_path, split_list="list.txt")


def test_voc_zero_area_box_is_found_whatever_the_origin(tmp_path: Path) -> None:
    write_voc(tmp_path, {"a": voc_xml([("x", (5, 5, 5, 9)), ("x", (9, 9, 5, 5))])}, ["a.jpg"])
    for origin in (0, 1):
        assert kinds(voc(tmp_path, box_origin=origin).splits[0]) == [
            *["box_degenerate"] * 2,
            "lost_all_boxes",
        ]


@pytest.mark.parametrize("side", ["1e308", "1e999", "nan", "-5", "0", "x", "9" * 30, ""])
def test_voc_sizes_that_no_image_has_count_as_undeclared(tmp_path: Path, side: str) -> None:
    text = voc_xml([("x", (1, 1, 9, 9))]).replace("<width>60<", f"<width>{side}<")
    write_voc(tmp_path, {"a": text}, ["a.jpg"])
    table = voc(tmp_path).splits[0].table
    assert (table.heights.tolist(), table.widths.tolist()) == ([0], [0])


BOMB = """<?xml version="1.0"?><!DOCTYPE lolz [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;">]>
<annotation><filename>&b;</filename></annotation>"""
OUTSIDE = """<?xml version="1.0"?><!DOCTYPE x [<!ENTITY f SYSTEM "file:///etc/passwd">]>
<annotation><filename>&f;</filename></annotation>"""


def test_voc_bad_xml(tmp_path: Path) -> None:
    good = voc_xml([("x", (1, 1, 9, 9))])
    files: dict[str, str | bytes] = {
        "bomb": BOMB,
        "outside": OUTSIDE,
        "cut": good[:60],
        "other": "<html></html>",
        "latin": "<annotation><filename>é</filename></annotation>".encode("latin-1"),
        "encoding": '<?xml version="1.0" encoding="klingon"?><annotation/>',
        "noname": good.replace("<name>x</name>", ""),
        "nobox": good.replace("<xmin>1</xmin>", ""),
        "escape": voc_xml([], filename="../../x.jpg"),
        "good": good,
    }
    write_voc(tmp_path, files, [f"{n}.jpg" for n in ("noname", "nobox", "good")])
    (tmp_path / "list.txt").write_text("\n".join([*files, "nothere"]))
    split = voc(tmp_path, split_list="list.txt").splits[0]
    found = {d.file.split("/")[-1]: d.kind for d in split.defects if d.kind != "lost_all_boxes"}
    lost = [d.file.split("/")[-1] for d in split.defects if d.kind == "lost_all_boxes"]
    assert sorted(lost) == ["nobox.xml", "noname.xml"]
    assert found == {
        **dict.fromkeys(
            ("bomb.xml", "outside.xml", "cut.xml", "other.xml", "latin.xml", "encoding.xml"),
            "unreadable_annotation",
        ),
        "noname.xml": "malformed_entry",
        "nobox.xml": "malformed_box",
        "escape.xml": "path_escape",
        "nothere.xml": "missing_annotation",
    }
    assert split.table.file_names == ["good.jpg"]
    assert "EntitiesForbidden" in next(d.detail for d in split.defects if "bomb" in d.file)


def test_voc_suffix_in_capitals_and_what_was_found(tmp_path: Path) -> None:
    """Images whose annotations cannot be read count among those found: `max_skipped` is a share of
    them.
    """
    good = voc_xml([("x", (1, 1, 9, 9))])
    write_voc(tmp_path, {"a": good, "b": BOMB, "c": good.replace("<xmin>1", "<xmin>?")}, ["a.jpg"])
    (tmp_path / "Annotations" / "a.xml").rename(tmp_path / "Annotations" / "a.XML")
    split = voc(tmp_path).splits[0]
    assert split.table.file_names == ["a.jpg"]
    assert kinds(split) == ["unreadable_annotation", "malformed_box", "lost_all_boxes"]
    assert split.found == {"images": 3, "boxes": 2}


def test_file_names_that_are_no_text(tmp_path: Path) -> None:
    r"""A name in Latin-1, as old archives have them, and `\ud800` in JSON: reported, never a
    traceback.
    """
    name = os.fsdecode(b"k\xe4fer")
    xml = voc_xml([("x", (1, 1, 9, 9))])
    write_voc(tmp_path, {"a": xml, name: xml}, ["a.jpg"])
    split = voc(tmp_path).splits[0]
    assert split.table.file_names == ["a.jpg"] and kinds(split) == ["path_escape"]
    assert split.defects[0].detail == r"file name 'k\udce4fer.xml'"
    labels, images = tmp_path / "labels", tmp_path / "pictures"
    for folder, suffix in ((labels, ".txt"), (images, ".jpg")):
        folder.mkdir()
        for stem in ("a", name):
            (folder / f"{stem}{suffix}").write_text("0 .5 .5 .2 .2")
    (labels / f"{name}2.txt").write_text("")
    dataset = DatasetSettings(
        kind="yolo",
        root=str(tmp_path),
        splits={"train": SplitSettings(annotations="labels", images="pictures")},
        names=["x"],
    )
    split = read(ConvertSettings(dataset=dataset))
    assert split.table.file_names == ["a.jpg"] and split.found["images"] == 2
    assert kinds(split) == ["path_escape", "unknown_image"]
    for defect in split.defects:
        defect.line().encode()
    write_coco(
        tmp_path,
        [image_entry(1), {**image_entry(2), "file_name": "\ud800.jpg"}],
        [],
        pictures=False,
    )
    assert kinds(read(coco_settings(tmp_path))) == ["path_escape"]
    write_coco(
        tmp_path, [image_entry(1)], [], [*CATEGORIES, {"id": 9, "name": "\ud800"}], pictures=False
    )
    assert kinds(read(coco_settings(tmp_path))) == ["malformed_entry"]


def test_boxes_without_end(tmp_path: Path) -> None:
    """1e308 pixels: finite, but no area is; left out without a warning, so that no area is NaN."""
    boxes = [[1, 1, 1e308, 1e308], [1e308, 1, 1e308, 2], [1, 1, 5, 5]]
    write_coco(tmp_path, [image_entry(1)], [box_entry(k + 1, 1, b) for k, b in enumerate(boxes)])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        split = read(coco_settings(tmp_path))
    assert kinds(split) == ["box_not_finite"] * 2 and split.table.areas_px.tolist() == [25.0]
    objects = [("x", (1.0, 1.0, 1e308, 1e308)), ("x", (1.0, 1.0, 9.0, 9.0))]
    write_voc(tmp_path, {"a": voc_xml(objects)}, ["a.jpg"])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert kinds(voc(tmp_path).splits[0]) == ["box_not_finite"]


def test_bccd(shared_dir: Path) -> None:
    root = shared_dir / "data" / "bccd"
    raw = voc(root, split_list="ImageSets/Main/trainval.txt")
    split = raw.splits[0]
    assert [c.name for c in raw.classes.classes] == ["Platelets", "RBC", "WBC"]
    assert len(split.table) == 292 and kinds(split)[:2] == ["box_degenerate"] * 2
    doubts = {"similar_box": 6, "size_far_off": 2, "aspect_far_off": 18}
    assert Counter(kinds(split)[2:]) == doubts


# Text lists


def txt(root: Path, lines: str, **more: Any) -> RawDataset:
    root.mkdir(exist_ok=True)
    (root / "list.txt").write_text(lines, encoding="utf-8")
    dataset = DatasetSettings(
        kind="txt",
        root=str(root),
        splits={"train": SplitSettings(annotations="list.txt", images=".")},
        **{"box_origin": 0, **more},
    )
    return read_settings(ConvertSettings(dataset=dataset))


def test_txt_lines(tmp_path: Path) -> None:
    text = "# a list\nb c/ü 2.jpg 1,2,30,40,1 5,6,7.5,8,0\n\na.jpg\n"
    raw = txt(tmp_path, text, names=["cat", "dog"])
    table = raw.splits[0].table
    assert table.file_names == ["a.jpg", "b c/ü 2.jpg"]
    np.testing.assert_array_equal(table[1].boxes_yxyx_px, [[2, 1, 40, 30], [6, 5, 8, 7.5]])
    assert table[1].category_ids.tolist() == [2, 1]
    turned = txt(tmp_path, "a.jpg 1,2,30,40,cat", names=["cat"], box_order="yxyx")
    np.testing.assert_array_equal(turned.splits[0].table[0].boxes_yxyx_px, [[1, 2, 30, 40]])
    counted = txt(tmp_path, "a.jpg 1,2,30,40,1", first_class=1, box_origin=1)
    np.testing.assert_array_equal(counted.splits[0].table[0].boxes_yxyx_px, [[1, 0, 40, 30]])
    assert [c.name for c in counted.classes.classes] == ["class_1"]
    unset = txt(tmp_path, "a.jpg 1,2,30,40,0", box_origin=None)
    np.testing.assert_array_equal(unset.splits[0].table[0].boxes_yxyx_px, [[2, 1, 40, 30]])


def test_txt_defects(tmp_path: Path) -> None:
    text = "a.jpg 1,2,3 1,2,3,4 1,2,3,4,9 1,2,3,x,0\n../b.jpg 1,2,3,4,0\n/etc/c.jpg\n"
    split = txt(tmp_path, text, names=["cat"]).splits[0]
    assert kinds(split) == [
        "malformed_box",
        "malformed_box",
        "unknown_category",
        "malformed_box",
        "lost_all_boxes",
        "path_escape",
        "path_escape",
    ]
    assert split.defects[0].file == "list.txt:1" and len(split.table) == 0
    assert split.found == {"images": 3, "boxes": 4}
    assert kinds(txt(tmp_path, "a.jpg 1,2,3,4,9999999999\nb.jpg").splits[0]) == [
        "unknown_category",
        "lost_all_boxes",
        "no_box",
    ]
    with pytest.raises(DataError, match="names no image"):
        txt(tmp_path, "\n\n")


# YOLO


def test_yolo(tmp_path: Path) -> None:
    for name in ("a.jpg", "sub/b.png", "c.jpg"):
        (tmp_path / "images" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "images" / name).write_bytes(jpeg(40, 60))
    (tmp_path / "labels" / "sub").mkdir(parents=True)
    (tmp_path / "labels" / "a.txt").write_text("1 0.5 0.5 0.25 0.5\n0 0 0 1 0 1 1\n")
    (tmp_path / "labels" / "sub" / "b.txt").write_text("7 .5 .5 .1 .1\n0 .5 .5\nx 1 1 1 1\n")
    (tmp_path / "labels" / "orphan.txt").write_text("0 .5 .5 .1 .1\n")
    (tmp_path / "data.yaml").write_text("names:\n  0: cat\n  1: dog\n")
    (tmp_path / "images" / "loop").symlink_to(tmp_path / "images")
    dataset = DatasetSettings(
        kind="yolo",
        root=str(tmp_path),
        splits={"train": SplitSettings(annotations="labels", images="images")},
        names_file="data.yaml",
    )
    raw = read_settings(ConvertSettings(dataset=dataset))
    split = raw.splits[0]
    assert split.table.relative and split.table.file_names == ["a.jpg", "c.jpg"]
    np.testing.assert_allclose(
        split.table[0].boxes_yxyx_px, [[0.25, 0.375, 0.75, 0.625], [0, 0, 1, 1]]
    )
    assert split.table[0].category_ids.tolist() == [2, 1]
    assert [c.name for c in raw.classes.classes] == ["cat", "dog"]
    assert sorted(kinds(split)) == [
        "lost_all_boxes",
        "malformed_box",
        "malformed_box",
        "unknown_category",
        "unknown_image",
    ]
    (tmp_path / "data.yaml").write_text("nothing: here")
    with pytest.raises(DataError, match="expected `names:`"):
        read_settings(ConvertSettings(dataset=dataset))


def test_numbers_for_names() -> None:
    assert numbers_for(["b/7.jpg", "c/10.jpg"]) == [7, 10]
    assert numbers_for(["a/7.jpg", "b/7.jpg"]) == [1, 2]
    assert numbers_for(["x1.jpg", "7.jpg"]) == [1, 2]
