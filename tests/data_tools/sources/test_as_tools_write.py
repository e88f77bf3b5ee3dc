"""What people's tools really write: each fault is a kind, read rightly or refused in words."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from data_tools.convert.settings import ConvertSettings
from data_tools.core.errors import DataError, SettingError
from data_tools.sources.data_yaml import labels_for, read_data_yaml, splits_of, with_data_yaml
from data_tools.sources.names import class_names
from data_tools.sources.raw_split import RawDataset
from data_tools.sources.read import read_source
from data_tools.sources.safe_xml import XmlError, parse_xml
from data_tools.sources.settings import DatasetSettings, SplitSettings
from tests.helpers.brush import packed
from tests.helpers.raw_sets import jpeg, voc_xml


def read(kind: str, root: Path, split: dict[str, str], **more: Any) -> RawDataset:
    dataset = DatasetSettings(
        kind=kind, root=str(root), splits={"train": SplitSettings(**split)}, **more
    )
    return read_source(dataset, ConvertSettings().content()["policy"])


def yolo(root: Path, lines: str, yaml: str = "names: [cat]", **more: Any) -> RawDataset:
    for folder in ("images/train", "labels/train"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    (root / "images/train/a.jpg").write_bytes(jpeg(60, 80))
    (root / "labels/train/a.txt").write_text(lines)
    (root / "data.yaml").write_text(yaml, encoding="utf-8")
    split = {"annotations": "labels/train", "images": "images/train"}
    return read("yolo", root, split, **{"names_file": "data.yaml", **more})


def voc(root: Path, xml: dict[str, str | bytes], images: list[str], list_: str = "") -> RawDataset:
    for name in [*(f"Annotations/{n}.xml" for n in xml), *(f"JPEGImages/{n}" for n in images)]:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
    for name, text in xml.items():
        data = text if isinstance(text, bytes) else text.encode()
        (root / f"Annotations/{name}.xml").write_bytes(data)
    for name in images:
        (root / f"JPEGImages/{name}").write_bytes(jpeg(40, 60))
    (root / "list.txt").write_text(list_)
    split = {"annotations": "Annotations", "images": "JPEGImages"}
    return read("voc", root, {**split, "list": "list.txt" if list_ else ""})


def kinds(raw: RawDataset) -> list[str]:
    return [defect.kind for defect in raw.splits[0].defects]


def files(raw: RawDataset) -> list[str]:
    return list(raw.splits[0].table.file_names)


# data.yaml


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("names: [off, on]", ["off", "on"]),
        ("names: {0: no, 1: yes}", ["no", "yes"]),
        ("names: [010, 1.10, 12:30, 1e3, 0x10, 2024-05-01]", None),
        ("names: [null, ~]", ["null", "~"]),
        ("names:\n- 猫\n- 'a: b'\n- \"q\\u00e9\"", ["猫", "a: b", "qé"]),
        ("nc: 2\nnames:\n  1: b\n  0: a\n", ["a", "b"]),
    ],
)
def test_names_are_text(tmp_path: Path, text: str, names: list[str] | None) -> None:
    (tmp_path / "data.yaml").write_text(text, encoding="utf-8")
    expected = names or ["010", "1.10", "12:30", "1e3", "0x10", "2024-05-01"]
    assert class_names(tmp_path, [], "data.yaml", "dataset") == expected


BOMB = "a: &a [x, x]\n" + "".join(
    f"{chr(98 + k)}: &{chr(98 + k)} [*{chr(97 + k)}, *{chr(97 + k)}]\n" for k in range(24)
)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (BOMB + "names: [*y]", "alias"),
        ("names: &n [a]\nold: *n", "alias"),
        ("base: &b {names: [a]}\n<<: *b", "alias"),
        ("names: " + "[" * 50_000, "nests deeper|names"),
        ("names:\n" + "".join("  " * k + "- \n" for k in range(1, 40)), "names"),
        ("names: [[a], b]", "no text"),
        ("names: [a, '']", "empty"),
        ("names: {0: a, 2: b}", "expected the numbers 0..1"),
        ("names: {0: a, 0: b}", "stands twice"),
        ("names: {[1]: a}", "no text"),
        ("names: cat", "expected `names:`"),
        ("names: []", "expected `names:`"),
        ("- a", "names"),
        ("names: [a\x00]", "names"),
    ],
)
def test_data_yaml_is_refused_in_words(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "data.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=message):
        class_names(tmp_path, [], "data.yaml", "dataset")


def test_name_files_have_a_bound(tmp_path: Path) -> None:
    for name in ("data.yaml", "names.txt"):
        with open(tmp_path / name, "wb") as file:
            file.truncate(1 << 33)  # a hole: nothing on the disk
        with pytest.raises(DataError, match="at most"):
            class_names(tmp_path, [], name, "dataset")


# XML


@pytest.mark.parametrize(
    "data",
    [
        b"<a>" * 200 + b"</a>" * 200,
        b"<a>" + b"<b/>" * 2000 + b"</a>",
        b"<a " + b" ".join(b"k%d=''" % k for k in range(2000)) + b"/>",
        b"<!DOCTYPE x [<!ENTITY a 'ha'>]><x>&a;</x>",
        b"<?xml version='1.0' encoding='klingon'?><x/>",
        b"\xff\xfe\x00",
        b"",
    ],
)
def test_xml_has_bounds(data: bytes) -> None:
    with pytest.raises(XmlError):
        parse_xml(data, most_elements=1000)


@pytest.mark.parametrize("encoding", ["GB2312", "gbk", "Shift_JIS", "utf-8", "utf-16", "Big5"])
def test_xml_of_any_encoding(encoding: str) -> None:
    text = f'<?xml version="1.0" encoding="{encoding}"?><annotation><name>中</name></annotation>'
    assert parse_xml(text.encode(encoding)).findtext("name") == "中"


# VOC


def test_voc_objects_with_several_boxes_and_names(tmp_path: Path) -> None:
    box = "<bndbox><xmin>{0}</xmin><ymin>1</ymin><xmax>{1}</xmax><ymax>9</ymax></bndbox>"
    both = box.format(1, 9) + box.format(11, 19)
    part = f"<part><name>head</name>{box.format(2, 3)}</part>"
    twice = box.format(5, 9).replace("<ymin>", "<xmin>4</xmin><ymin>")
    body = (
        f"<object><name>car</name>{both}{part}</object>"
        f"<object><name>a</name><name>b</name>{box.format(1, 9)}</object>"
        f"<object><name>car</name>{twice}</object>"
        f"<Object><name>car</name>{box.format(1, 9)}</Object>"
        f"<objects><object><name>car</name>{box.format(1, 9)}</object></objects>"
    )
    raw = voc(tmp_path, {"a": f"<annotation>{body}</annotation>"}, ["a.jpg"])
    table = raw.splits[0].table
    np.testing.assert_array_equal(table.boxes_yxyx_px, [[0, 0, 9, 9], [0, 10, 9, 19]])
    assert sorted(kinds(raw)) == ["malformed_box", *["malformed_entry"] * 3]
    assert raw.splits[0].found == {"images": 1, "boxes": 6}


@pytest.mark.parametrize(
    "outline, kind, box",
    [
        ("<polygon><x1>11</x1><y1>5</y1><x2>31</x2><y2>9</y2><x3>20</x3><y3>25</y3></polygon>",)
        + ("polygon", [4, 10, 25, 31]),
        ("<bndbox/><polygon><pt><x>11</x><y>5</y></pt><pt><x>31</x><y>9</y></pt>",)
        + ("polygon", [4, 10, 25, 31]),
        ("<polygon><point x='11' y='5'/><point x='31' y='9'/><point x='20' y='25'/></polygon>",)
        + ("polygon", [4, 10, 25, 31]),
        ("<segmentation>11 5 31 9, 20 25</segmentation>", "segmentation", [4, 10, 25, 31]),
        ("<robndbox><cx>30</cx><cy>20</cy><w>20</w><h>10</h><angle>1.5707963</angle></robndbox>",)
        + ("robndbox", [9, 24, 30, 35]),
    ],
)
def test_voc_outlines_without_a_box_give_their_extent(
    tmp_path: Path, outline: str, kind: str, box: list[float]
) -> None:
    if "<pt>" in outline:
        outline += "<pt><x>20</x><y>25</y></pt></polygon>"
    xml = f"<annotation><object><name>leaf</name>{outline}</object></annotation>"
    raw = voc(tmp_path, {"a": xml}, ["a.jpg"])
    np.testing.assert_allclose(raw.splits[0].table.boxes_yxyx_px, [box], atol=1e-5)
    (defect,) = raw.splits[0].defects
    assert defect.kind == "extent_taken" and f"{kind} 'leaf'" in defect.detail


def test_voc_outlines_beside_a_box_or_of_no_use(tmp_path: Path) -> None:
    box = "<bndbox><xmin>1</xmin><ymin>1</ymin><xmax>9</xmax><ymax>9</ymax></bndbox>"
    turned = "<robndbox><cx>9</cx><cy>9</cy><w>4</w><h>4</h><angle>90</angle></robndbox>"
    bodies = [
        f"{box}<polygon><x1>2</x1><y1>2</y1></polygon>",
        "<polygon><x1>2</x1><y1>2</y1><x2>9</x2></polygon>",
        "<polygon><x1>2</x1><y1>2</y1><x2>9</x2><y2>9</y2></polygon>",
        "<polygon><x1>nought</x1><y1>2</y1></polygon>",
        turned,
        "<polygon/>",
    ]
    objects = "".join(f"<object><name>leaf</name>{body}</object>" for body in bodies)
    raw = voc(tmp_path, {"a": f"<annotation>{objects}</annotation>"}, ["a.jpg"])
    np.testing.assert_array_equal(raw.splits[0].table.boxes_yxyx_px, [[0, 0, 9, 9]])
    assert kinds(raw) == ["malformed_box"] * 5
    assert any("angle 90 is no angle in radians" in d.detail for d in raw.splits[0].defects)


def test_voc_which_picture(tmp_path: Path) -> None:
    good = [("x", (1.0, 1.0, 9.0, 9.0))]
    xml: dict[str, str | bytes] = {
        "day1/a": voc_xml(good),
        "day2/a": voc_xml(good),
        "b": voc_xml(good, filename="b.png"),
        "c": voc_xml(good, filename="other.jpg"),
        "d": voc_xml(good, filename="e.jpg"),
        "e": voc_xml(good),
    }
    pictures = ["day1/a.jpg", "day2/a.jpg", "b.jpg", "b.png", "c.jpg", "c.png", "e.jpg"]
    raw = voc(tmp_path, xml, pictures)
    # c fits two pictures; d says that it is e's, which has an XML of its own.
    assert sorted(files(raw)) == ["b.png", "day1/a.jpg", "day2/a.jpg"]
    assert kinds(raw).count("ambiguous_image") == 3
    unlabelled = [d.file for d in raw.splits[0].defects if d.kind == "missing_annotation"]
    assert not unlabelled


def test_voc_pictures_without_xml_are_reported(tmp_path: Path) -> None:
    raw = voc(tmp_path, {"a": voc_xml([("x", (1, 1, 9, 9))])}, ["a.jpg", "b.jpg"])
    assert files(raw) == ["a.jpg"] and kinds(raw) == ["missing_annotation"]
    assert raw.splits[0].defects[0].file == "JPEGImages/b.jpg"
    assert raw.splits[0].found["images"] == 2
    listed = voc(tmp_path, {}, [], list_="a\n")
    assert files(listed) == ["a.jpg"] and not kinds(listed)


@pytest.mark.parametrize(
    "line", ["a.b", "a.b.jpg", "a.b.jpg 1", "a.b -1", "JPEGImages/a.b.png", "./a.b", "a.b.xml"]
)
def test_voc_lists_as_tools_write_them(tmp_path: Path, line: str) -> None:
    xml: dict[str, str | bytes] = {n: voc_xml([("x", (1, 1, 9, 9))]) for n in ("a.b", "a")}
    raw = voc(tmp_path, xml, ["a.b.jpg", "a.jpg"], list_=f"{line}\n")
    assert files(raw) == ["a.b.jpg"] and not kinds(raw)


def test_a_name_in_a_list_that_fits_two_is_refused(tmp_path: Path) -> None:
    xml: dict[str, str | bytes] = {f"{d}/a": voc_xml([("x", (1, 1, 9, 9))]) for d in "xy"}
    with pytest.raises(DataError, match=r"'a' fits x/a\.xml and y/a\.xml"):
        voc(tmp_path, xml, ["x/a.jpg", "y/a.jpg"], list_="a\n")
    assert files(voc(tmp_path, xml, [], list_="y/a\n")) == ["y/a.jpg"]


# YOLO

POSE = "0 0.5 0.5 0.25 0.5 0.45 0.4 2 0.55 0.6 1\n"


@pytest.mark.parametrize(
    ("line", "yaml"),
    [
        ("0 0.5 0.5 0.25 0.5 0.45 0.4 0.55 0.6", "kpt_shape: [2, 2]\nnames: [cat]"),
        (POSE, "kpt_shape: [2, 3]\nnames: [cat]"),
        ("0 0.5 0.5 0.25 0.5", "kpt_shape: [2, 3]\nnames: [cat]"),
    ],
)
def test_yolo_pose_by_data_yaml(tmp_path: Path, line: str, yaml: str) -> None:
    raw = yolo(tmp_path, line, yaml)
    np.testing.assert_allclose(raw.splits[0].table.boxes_yxyx_px, [[0.25, 0.375, 0.75, 0.625]])
    assert not kinds(raw)


def test_yolo_pose_with_another_count_is_a_defect(tmp_path: Path) -> None:
    raw = yolo(tmp_path, POSE, "kpt_shape: [3, 3]\nnames: [cat]")
    assert kinds(raw) == ["malformed_box", "lost_all_boxes"]
    assert "13" in raw.splits[0].defects[0].detail


@pytest.mark.parametrize(
    "line", [POSE, "0 0.5 0.5 0.4 0.4 0.45 0.4 0.55 0.6", "0 .5 .5 .4 .4 .4 .4 2 .5 .5 2 .6 .6 0"]
)
def test_yolo_pose_without_a_word_is_refused(tmp_path: Path, line: str) -> None:
    with pytest.raises(DataError, match=r"key points.*kpt_shape.*yolo_lines=pose"):
        yolo(tmp_path, line)
    raw = yolo(tmp_path, line, yolo_lines="pose")
    assert raw.splits[0].table.boxes_yxyx_px[0, 0] >= 0.25 and not kinds(raw)


def test_yolo_polygons_and_oriented_boxes(tmp_path: Path) -> None:
    diamond = "0 0.5 0.2 0.8 0.5 0.5 0.8 0.2 0.5\n"
    with pytest.raises(DataError, match="oriented boxes"):
        yolo(tmp_path, diamond * 3)
    extent = [[0.2, 0.2, 0.8, 0.8]]
    for lines, more in ((diamond, {"yolo_lines": "polygon"}), (diamond + "0 0 0 1 0 1 1\n", {})):
        raw = yolo(tmp_path, lines, **more)
        np.testing.assert_allclose(raw.splits[0].table.boxes_yxyx_px[:1], extent)
    upright = "0 0.2 0.2 0.8 0.2 0.8 0.8 0.2 0.8\n"
    np.testing.assert_allclose(yolo(tmp_path, upright).splits[0].table.boxes_yxyx_px, extent)


def test_yolo_lines_of_a_tracker_are_no_triangles(tmp_path: Path) -> None:
    tracked = "0 .5 .5 .2 .2 .93 7\n0 .3 .3 .2 .2 .5 1\n"
    with pytest.raises(DataError, match=r"score and its track.*yolo_lines=box"):
        yolo(tmp_path, tracked)
    raw = yolo(tmp_path, tracked, yolo_lines="box")
    expected = [[0.4, 0.4, 0.6, 0.6], [0.2, 0.2, 0.4, 0.4]]
    np.testing.assert_allclose(raw.splits[0].table.boxes_yxyx_px, expected)
    assert not kinds(raw)


@pytest.mark.parametrize(
    "line",
    [
        "0 .5 .5 .2 .2 1.57",  # a turned box's angle
        "0 .5 .5 .2 .2 -.3",
        "0 0 0 50 0 50 40 1 30",  # an outline in pixels
        "0 .5 .5 .2 .2 inf",
    ],
)
def test_yolo_numbers_that_are_no_scores_and_no_shares(tmp_path: Path, line: str) -> None:
    raw = yolo(tmp_path, f"0 .5 .5 .2 .2 .9\n{line}\n")
    assert kinds(raw) == ["malformed_box"] and len(raw.splits[0].table.category_ids) == 1


def test_yolo_numbers_are_numbers(tmp_path: Path) -> None:
    good = "0 0.5 0.5 0.2 0.2\n"
    raw = yolo(tmp_path, good + "0 0_5 0.5 0.2 0.2\n1_0 .5 .5 .2 .2\n\u0661 .5 .5 .2 .2\n")
    assert kinds(raw) == ["malformed_box"] * 3 and len(raw.splits[0].table.category_ids) == 1


def test_yolo_one_label_file_for_two_pictures(tmp_path: Path) -> None:
    yolo(tmp_path, "0 0.5 0.5 0.2 0.2\n")
    (tmp_path / "images/train/a.png").write_bytes(jpeg(60, 80))
    (tmp_path / "images/train/b.jpg").write_bytes(jpeg(60, 80))
    (tmp_path / "labels/train/b.txt").write_text("0 0.5 0.5 0.2 0.2\n")
    raw = yolo(tmp_path, "0 0.5 0.5 0.2 0.2\n")
    assert files(raw) == ["b.jpg"] and kinds(raw) == ["ambiguous_image"] * 2


def test_yolo_without_any_label_file(tmp_path: Path) -> None:
    yolo(tmp_path, "0 0.5 0.5 0.2 0.2\n")
    (tmp_path / "labels/train/a.txt").rename(tmp_path / "labels/train/other.txt")
    split = {"annotations": "labels/train", "images": "images/train"}
    with pytest.raises(DataError, match=r"none of the 1 images has a label file.*a\.txt.*other"):
        read("yolo", tmp_path, split, names=["cat"])


def test_hidden_folders_are_reported_and_left_out(tmp_path: Path) -> None:
    yolo(tmp_path, "0 0.5 0.5 0.2 0.2\n")
    for name in (".ipynb_checkpoints/a-checkpoint.jpg", "@eaDir/a.jpg/t.jpg", "._a.jpg"):
        (tmp_path / "images/train" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "images/train" / name).write_bytes(jpeg(60, 80))
    raw = yolo(tmp_path, "0 0.5 0.5 0.2 0.2\n")
    assert files(raw) == ["a.jpg"] and kinds(raw) == ["hidden_files"] * 3
    assert raw.splits[0].found == {"images": 1, "boxes": 1}


@pytest.mark.parametrize(
    ("yaml", "places"),
    [
        ("train: ../train/images\nval: ../valid/images", ("train/images", "valid/images")),
        ("train: train/images\nval: valid/images", ("train/images", "valid/images")),
        ("path: /home/me/set\ntrain: train/images\nvalid: valid/images", None),
        ("train: C:\\set\\train\\images\nval: ./valid/images", None),
    ],
)
def test_data_yaml_names_the_splits(
    tmp_path: Path, yaml: str, places: tuple[str, str] | None
) -> None:
    for name in ("train", "valid"):
        (tmp_path / name / "images").mkdir(parents=True)
        (tmp_path / name / "labels").mkdir(parents=True)
    (tmp_path / "data.yaml").write_text(yaml)
    usual = {
        n: SplitSettings(annotations=f"labels/{n}", images=f"images/{n}") for n in ("train", "val")
    }
    dataset = DatasetSettings(kind="yolo", root=str(tmp_path), splits=usual, names_file="data.yaml")
    found = with_data_yaml(dataset).splits
    train, val = places or ("train/images", "valid/images")
    assert (found["train"].images, found["val"].images) == (train, val)
    assert found["train"].annotations == "train/labels"
    mine = {"train": SplitSettings(annotations="x", images="y")}
    kept = DatasetSettings(kind="yolo", root=str(tmp_path), splits=mine, names_file="data.yaml")
    assert with_data_yaml(kept).splits == mine


def test_data_yaml_with_lists_and_several_folders(tmp_path: Path) -> None:
    for folder in ("a", "b", "c"):
        for part, suffix in (("images", "jpg"), ("labels", "txt")):
            path = tmp_path / "data" / part / folder / f"{folder}.{suffix}"
            path.parent.mkdir(parents=True)
            path.write_bytes(jpeg(60, 80) if suffix == "jpg" else b"0 .5 .5 .2 .2\n")
    yaml = "train: [data/images/a, data/images/b]\nval: val.txt\nnames: [cat]\n"
    (tmp_path / "data.yaml").write_text(yaml)
    (tmp_path / "val.txt").write_text("./data/images/c/c.jpg\n/home/me/data/images/b/b.jpg\n")
    splits = splits_of(read_data_yaml(tmp_path / "data.yaml"), tmp_path)
    dataset = DatasetSettings(kind="yolo", root=str(tmp_path), splits=splits, names=["cat"])
    raw = read_source(dataset, {})
    assert [s.table.file_names for s in raw.splits] == [
        ["data/images/a/a.jpg", "data/images/b/b.jpg"],
        ["data/images/b/b.jpg", "data/images/c/c.jpg"],
    ]
    assert [len(s.table.category_ids) for s in raw.splits] == [2, 2]
    assert labels_for("images/x/images/a.jpg") == "images/x/labels/a.jpg"
    (tmp_path / "data.yaml").write_text("train: nowhere/images\n")
    with pytest.raises(DataError, match="nowhere/images` is not there"):
        splits_of(read_data_yaml(tmp_path / "data.yaml"), tmp_path)


# Text lists


def txt(root: Path, line: str, names: list[str]) -> RawDataset:
    (root / "list.txt").write_text(line, encoding="utf-8")
    split = {"annotations": "list.txt", "images": "."}
    return read("txt", root, split, names=names, box_origin=0)


def test_txt_names_of_several_words(tmp_path: Path) -> None:
    line = "my a.jpg 1,2,3,4,traffic light 5,6,7,8,cat 1,2,9,9,0"
    table = txt(tmp_path, line, ["cat", "traffic light"]).splits[0].table
    assert table.file_names == ["my a.jpg"] and table.category_ids.tolist() == [2, 1, 1]
    line = "a.jpg 1,2,3,4,cat 5,6,7,8,traffic light"
    table = txt(tmp_path, line, ["cat", "traffic light"]).splits[0].table
    assert table.category_ids.tolist() == [1, 2]


def test_txt_class_that_is_number_and_name(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="'1' is the name of class number 0 and the number of '0'"):
        txt(tmp_path, "a.jpg 1,2,3,4,1", ["1", "0"])
    same = txt(tmp_path, "a.jpg 1,2,3,4,1", ["0", "1"])
    assert same.splits[0].table.category_ids.tolist() == [2]
    odd = txt(tmp_path, "a.jpg 1,2,3,4,cat 1,2,3,4,1_0 1,2,3,4,\u0661", ["cat"])
    assert kinds(odd) == ["unknown_category"] * 2


# Label Studio


def label_studio(root: Path, tasks: list[dict[str, Any]], pictures: int = 2) -> RawDataset:
    (root / "images").mkdir(parents=True, exist_ok=True)
    for k in range(pictures):
        (root / f"images/{k}.jpg").write_bytes(jpeg(40, 60))
    (root / "all.json").write_text(json.dumps(tasks))
    return read("label_studio", root, {"annotations": "all.json", "images": "images"})


def region(x: float, shape: str = "rectangle", **value: Any) -> dict[str, Any]:
    box = {"x": x, "y": 10, "width": 20, "height": 30, f"{shape}labels": ["cat"], **value}
    return {**box, "original_width": 60, "original_height": 40}


def test_label_studio_min_has_an_entry_for_each_annotation(tmp_path: Path) -> None:
    tasks = [
        {"image": f"/data/upload/1/0a1b2c3d-{k}.jpg", "id": task, "label": [region(x)], **more}
        for k, task, x, more in (
            (0, 7, 10, {"annotator": 2, "annotation_id": 9}),
            (1, 8, 20, {"annotator": 1}),
            (0, 7, 50, {"annotator": 1, "annotation_id": 3}),
        )
    ]
    raw = label_studio(tmp_path / "a", tasks)
    assert files(raw) == ["0.jpg", "1.jpg"] and kinds(raw) == ["duplicate_annotation"]
    assert raw.splits[0].defects[0].file == "all.json: task 3"
    assert raw.splits[0].table.boxes_yxyx_px[:, 1].tolist() == [6, 12]
    # Two tasks of one picture, or tasks without ids, are no annotations of one task.
    for ids in ((7, 9), (None, None)):
        pair = [{**tasks[0], "id": ids[0]}, tasks[1], {**tasks[2], "id": ids[1]}]
        assert files(label_studio(tmp_path / "b", pair)) == ["1.jpg"]


def test_a_brush_mask_costs_no_other_box_of_the_picture(tmp_path: Path) -> None:
    mask = region(0, "brush", format="rle", rle=[0, 0, 1])
    tasks = [{"image": "0.jpg", "id": 1, "label": [mask, region(10)]}]
    raw = label_studio(tmp_path, tasks, pictures=1)
    assert files(raw) == ["0.jpg"] and len(raw.splits[0].table.boxes_yxyx_px) == 1
    assert kinds(raw) == ["malformed_box"]
    assert "a mask that is cut short" in raw.splits[0].defects[0].detail


def test_a_brush_mask_gives_its_extent(tmp_path: Path) -> None:
    picture = np.zeros((40, 60, 4), np.uint8)
    picture[5:9, 20:31] = 255
    mask = region(0, "brush", format="rle", rle=packed(picture.reshape(-1).tolist(), 3))
    tasks = [{"image": "0.jpg", "id": 1, "label": [mask, region(10)]}]
    raw = label_studio(tmp_path, tasks, pictures=1)
    assert raw.splits[0].table.boxes_yxyx_px.tolist()[0] == [5, 20, 9, 31]
    assert kinds(raw) == ["extent_taken"]


def test_a_yolo_list_may_name_a_picture_that_is_not_there(tmp_path: Path) -> None:
    yolo(tmp_path, "0 0.5 0.5 0.2 0.4")
    listed = {"images": ".", "list": "train.txt"}
    (tmp_path / "train.txt").write_text("./images/train/a.jpg\n./images/train/gone.jpg\n")
    raw = read("yolo", tmp_path, listed, names=["cat"])
    assert files(raw) == ["images/train/a.jpg"] and kinds(raw) == ["missing_image"]
    assert raw.splits[0].found["images"] == 2
    assert raw.splits[0].defects[0].file == "images/train/gone.jpg"
    (tmp_path / "train.txt").write_text("./images/other/gone.jpg\n")
    with pytest.raises(DataError, match="1 of its lines name no image"):
        read("yolo", tmp_path, listed, names=["cat"])


@pytest.mark.parametrize("key", ["images", "annotations", "list"])
def test_only_the_root_may_be_an_address(tmp_path: Path, key: str) -> None:
    with pytest.raises(SettingError, match=rf"splits.train.{key}='s3://b/x'.*dataset.root may be"):
        read("coco", tmp_path, {"annotations": "a.json", "images": "i", key: "s3://b/x"})
