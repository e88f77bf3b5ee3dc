"""`dataset=auto` tells every layout, and one truth written in all of them is read the same."""

from __future__ import annotations

import json
import shlex
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from data_tools.command import run
from data_tools.convert.settings import ConvertSettings
from data_tools.core.errors import DataError
from data_tools.sources.raw_split import RawDataset, RawSplit
from data_tools.sources.read import read_source
from data_tools.sources.recognise import recognised
from data_tools.sources.settings import DatasetSettings, SplitSettings
from tests.helpers import exporters
from tests.helpers.exporters import EXPORTERS, TRUTH
from training.command_line.configure import compose

POLICY = ConvertSettings().content()["policy"]


def auto(root: Path) -> RawDataset:
    settings, _ = recognised(DatasetSettings(kind="auto", root=str(root)))
    return read_source(settings, POLICY)


def boxes_of(raw: RawDataset) -> dict[str, list[tuple[str, list[float]]]]:
    """Picture without folder and ending -> class and box in pixels, edges from 0."""
    found: dict[str, list[tuple[str, list[float]]]] = {}
    names = {}
    for info in raw.classes.classes:
        names[info.category_id] = info.name
    for split in raw.splits:
        scale = [exporters.HEIGHT, exporters.WIDTH] * 2 if split.table.relative else [1] * 4
        for sample in split.table:
            boxes = (sample.boxes_yxyx_px * scale).tolist()
            key = sample.file_name.rsplit("/", 1)[-1].rsplit(".", 1)[0]
            found[key] = [
                (names[int(c)], [x1, y1, x2, y2])
                for c, (y1, x1, y2, x2) in zip(sample.category_ids, boxes, strict=True)
            ]
    return found


@pytest.mark.parametrize("name", list(EXPORTERS))
def test_one_truth_in_every_format(tmp_path: Path, name: str) -> None:
    EXPORTERS[name](tmp_path)
    found = boxes_of(auto(tmp_path))
    keys = {n: n for n in TRUTH}
    if name == "cvat_video":
        keys = {n: f"frame_{k:06d}" for k, n in enumerate(TRUTH)}
    assert set(found) == set(keys.values())
    for picture, truth in TRUTH.items():
        got = sorted(found[keys[picture]])
        assert [c for c, _ in got] == [c for c, _ in sorted(truth)]
        expected = [box for _, box in sorted(truth)]
        np.testing.assert_allclose([box for _, box in got], expected, atol=1e-4)


@pytest.mark.parametrize("name", ["coco", "yolo", "voc", "cvat", "open_images", "csv_bare"])
def test_the_command_it_amounts_to_gives_the_same_set(tmp_path: Path, name: str) -> None:
    root = tmp_path / "my set"
    EXPORTERS[name](root)
    _, words = recognised(DatasetSettings(kind="auto", root=str(root)))
    arguments = shlex.split(words.split("the same as: ")[1])[2:]
    by_hand = [a.replace("out=OUT", f"out={tmp_path / 'hand'}") for a in arguments]
    # A tenth of three pictures is none: only the first split is made.
    by_hand = [a.replace("dataset.only=[train,val]", "dataset.only=[train]") for a in by_hand]
    schema = "data_tools.convert.settings:ConvertSettings"
    run(compose("convert", schema, by_hand))
    run(
        compose(
            "convert",
            schema,
            [
                "dataset=auto",
                f"dataset.root={root}",
                "dataset.only=[train]",
                f"out={tmp_path / 'auto'}",
            ],
        )
    )
    truths = [
        json.loads((tmp_path / out / "train/annotations.json").read_text())
        for out in ("hand", "auto")
    ]
    assert truths[0] == truths[1] and truths[0]["images"]


def test_several_layouts_or_none_are_refused_with_commands(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no layout.*It holds nothing"):
        auto(tmp_path)
    exporters.cvat(tmp_path)
    exporters.csv_bare(tmp_path)
    with pytest.raises(DataError, match="several layouts fit") as caught:
        auto(tmp_path)
    for kind in ("cvat", "csv"):
        assert f"python convert.py dataset={kind} dataset.root={tmp_path}" in str(caught.value)


def test_every_candidate_is_listed_also_beside_a_data_yaml(tmp_path: Path) -> None:
    exporters.yolo(tmp_path)
    exporters.cvat(tmp_path)
    with pytest.raises(DataError, match="several layouts fit") as caught:
        auto(tmp_path)
    assert "dataset=yolo" in str(caught.value) and "dataset=cvat" in str(caught.value)


def pack(folder: Path, target: Path, method: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(target, "w", method) as file:
        for path in sorted(p for p in folder.rglob("*") if p.is_file()):
            file.write(path, f"set/{path.relative_to(folder).as_posix()}")
    return target


@pytest.mark.parametrize("name", list(EXPORTERS))
def test_an_archive_is_looked_into_as_a_folder_is(tmp_path: Path, name: str) -> None:
    EXPORTERS[name](tmp_path / "raw")
    path = pack(tmp_path / "raw", tmp_path / "set.zip")
    assert boxes_of(auto(path)) == boxes_of(auto(tmp_path / "raw"))


def test_coco_as_it_is_downloaded_in_zips(tmp_path: Path) -> None:
    exporters.coco(tmp_path / "raw")
    truth = (tmp_path / "raw/train/_annotations.coco.json").read_bytes()
    with zipfile.ZipFile(tmp_path / "annotations_trainval2017.zip", "w") as file:
        for split in ("train2017", "val2017"):
            file.writestr(f"annotations/instances_{split}.json", truth)
            file.writestr(f"annotations/captions_{split}.json", "{}")
    for split in ("train2017", "val2017"):
        with zipfile.ZipFile(tmp_path / f"{split}.zip", "w") as file:
            for path in sorted((tmp_path / "raw/train").glob("*.jpg")):
                file.write(path, f"{split}/{path.name}")
    shutil.rmtree(tmp_path / "raw")
    raw = auto(tmp_path)
    assert [(s.name, len(s.table), s.table.root.name) for s in raw.splits] == [
        ("train", 3, "train2017.zip"),
        ("val", 3, "val2017.zip"),
    ]
    assert all(sample.read_bytes() for split in raw.splits for sample in split.table)


def test_folders_of_folders(tmp_path: Path) -> None:
    exporters.pictures(tmp_path / "classes/cat")
    exporters.pictures(tmp_path / "classes/dog/young")
    with pytest.raises(DataError, match=r"cat, dog/young.*classification.*label the pictures"):
        auto(tmp_path / "classes")
    exporters.coco(tmp_path / "sets/deep/one")
    assert len(auto(tmp_path / "sets").splits[0].table) == 3
    exporters.voc(tmp_path / "sets/deep/two")
    with pytest.raises(DataError, match="2 data sets lie in its folders") as caught:
        auto(tmp_path / "sets")
    for name in ("one", "two"):
        assert f"dataset=auto dataset.root={tmp_path}/sets/deep/{name} out=OUT" in str(caught.value)


def test_a_set_of_few_pictures_is_not_cut(tmp_path: Path) -> None:
    exporters.cvat(tmp_path)
    dataset, words = recognised(DatasetSettings(kind="auto", root=str(tmp_path)))
    assert "3 pictures are too few to cut" in words and dataset.only == ["train"]
    assert [len(s.table) for s in read_source(dataset, POLICY).splits] == [3]
    exporters.pictures(tmp_path / "images", ".png")  # six pictures now, three of them labelled
    assert recognised(DatasetSettings(kind="auto", root=str(tmp_path)))[0].only == ["train"]
    text = (tmp_path / "annotations.xml").read_text(encoding="utf-8")
    more = text[text.index("<image") :].replace(".jpg", ".png")
    text = text.replace("</annotations>", more)
    (tmp_path / "annotations.xml").write_text(text, encoding="utf-8")
    assert recognised(DatasetSettings(kind="auto", root=str(tmp_path)))[0].only == ["train", "val"]


def test_names_of_tools_refuse_what_the_tool_does_not_export(tmp_path: Path) -> None:
    exporters.cvat(tmp_path)
    for kind, marks in (("darknet", "obj.data"), ("roboflow", "_annotations.coco.json")):
        with pytest.raises(DataError, match=rf"nothing that .*{marks}.*dataset=auto"):
            recognised(DatasetSettings(kind=kind, root=str(tmp_path)))


def test_darknet_as_roboflow_exports_it(tmp_path: Path) -> None:
    exporters.yolo(tmp_path / "raw")
    (tmp_path / "set/train").mkdir(parents=True)
    for path in (tmp_path / "raw/train").glob("*/*"):
        shutil.copy(path, tmp_path / "set/train" / path.name)
    (tmp_path / "set/train/_darknet.labels").write_text("big bird\ncat\n")
    assert boxes_of(auto(tmp_path / "set")) == boxes_of(auto(tmp_path / "raw"))


@pytest.mark.parametrize(
    "value",
    [
        "train.txt",
        "[train.txt, more.txt]",
        "[other/images, more.txt, train.txt]",
        "/home/somebody/set/train/images",
        "./train/images",
        "[train/images]",
        "set/train/images",
    ],
)
def test_forms_of_a_data_yaml(tmp_path: Path, value: str) -> None:
    exporters.yolo(tmp_path)
    (tmp_path / "other/images").mkdir(parents=True)
    shutil.move(tmp_path / "train/images/ü.jpg", tmp_path / "other/images/ü.jpg")
    shutil.copytree(tmp_path / "train/labels", tmp_path / "other/labels")
    (tmp_path / "train.txt").write_text("./train/images/a 1.jpg\n", encoding="utf-8")
    (tmp_path / "more.txt").write_text("D:\\set\\train\\images\\b.jpg\n", encoding="utf-8")
    (tmp_path / "data.yaml").write_text(f"train: {value}\ntest:\nnames: [big bird, cat]\n")
    if value in (
        "./train/images",
        "/home/somebody/set/train/images",
        "[train/images]",
        "set/train/images",
    ):
        shutil.rmtree(tmp_path / "other")
        (tmp_path / "train/labels/ü.txt").unlink()
    listed = {"train.txt": {"a 1"}, "[other/images, more.txt, train.txt]": {"a 1", "b", "ü"}}
    found = boxes_of(auto(tmp_path))
    assert found.keys() == listed.get(value, {"a 1", "b"})
    for name, boxes in found.items():
        np.testing.assert_allclose([b for _, b in boxes], [b for _, b in TRUTH[name]], atol=1e-4)


def test_a_split_that_is_not_wanted_may_lack_its_folder(tmp_path: Path) -> None:
    exporters.yolo(tmp_path)
    text = "train: train/images\nval: valid/images\nnames: [big bird, cat]\n"
    (tmp_path / "data.yaml").write_text(text)
    with pytest.raises(DataError, match="`val: valid/images` is not there") as caught:
        auto(tmp_path)
    assert str(caught.value).endswith("or convert what is there: dataset.only=[train]")
    wanted = DatasetSettings(kind="auto", root=str(tmp_path), only=["train"])
    assert list(recognised(wanted)[0].splits) == ["train"]


def test_a_list_of_darknet_that_is_not_there_stops(tmp_path: Path) -> None:
    exporters.darknet(tmp_path)
    path = tmp_path / "obj.data"
    path.write_text(path.read_text() + "valid = data/valid.txt\n")
    for kind in ("auto", "darknet"):
        with pytest.raises(DataError, match="`valid = data/valid.txt` is not there") as caught:
            recognised(DatasetSettings(kind=kind, root=str(tmp_path)))
        assert str(caught.value).endswith("dataset.only=[train]")
    wanted = DatasetSettings(kind="auto", root=str(tmp_path), only=["train"])
    assert list(recognised(wanted)[0].splits) == ["train"]
    (tmp_path / "valid.txt").write_text("data/obj_train_data/b.jpg\n")
    assert [split.name for split in auto(tmp_path).splits] == ["train", "val"]


def read(kind: str, root: Path, annotations: str, images: str = ".", **more: Any) -> RawSplit:
    splits = {"train": SplitSettings(annotations=annotations, images=images)}
    dataset = DatasetSettings(kind=kind, root=str(root), splits=splits, **{"box_origin": 0, **more})
    return read_source(dataset, POLICY).splits[0]


def kinds(split: RawSplit) -> list[str]:
    return sorted(defect.kind for defect in split.defects)


def test_labelme_shapes(tmp_path: Path) -> None:
    exporters.pictures(tmp_path)
    shapes = [
        {"label": "a", "shape_type": "polygon", "points": [[5, 5], [9, 7], [6, 20]]},
        {"label": "a", "shape_type": "circle", "points": [[30, 30], [33, 34]]},
        {"label": "a", "shape_type": "mask", "points": [[1, 2], [3, 5]], "mask": "x"},
        {"label": "a", "shape_type": "point", "points": [[1, 2]]},
        {"label": "a", "shape_type": "rectangle", "points": [[1, 2], ["x", 5]]},
        {"label": True, "shape_type": "rectangle", "points": [[1, 2], [3, 5]]},
        "nothing",
    ]
    content = {"shapes": shapes, "imagePath": "b.jpg", "imageWidth": 80, "imageHeight": 60}
    (tmp_path / "b.json").write_text(json.dumps(content))
    (tmp_path / "deep.json").write_text("[" * 100_000)
    split = read("labelme", tmp_path, ".")
    expected = [[5, 5, 20, 9], [25, 25, 35, 35], [2, 1, 5, 3]]
    np.testing.assert_allclose(split.table.boxes_yxyx_px, expected)
    assert kinds(split) == [
        *["extent_taken"] * 3,
        *["malformed_box"] * 4,
        *["missing_annotation"] * 2,
        "unreadable_annotation",
    ]


def test_cvat_shapes(tmp_path: Path) -> None:
    exporters.pictures(tmp_path)
    shapes = (
        '<box label="a" xtl="10" ytl="20" xbr="30" ybr="24" rotation="90"/>'
        '<polygon label="a" points="1,2;9,4;5,50"/>'
        '<ellipse label="a" cx="20" cy="20" rx="10" ry="5" rotation="90"/>'
        '<mask label="a" rle="1" left="3" top="4" width="10" height="20"/>'
        '<points label="a" points="1,2"/><box label="" xtl="1" ytl="2" xbr="3" ybr="4"/>'
        '<box label="a" xtl="1" ytl="2" xbr="3"/><tag label="a"/>'
    )
    image = f'<image name="sub/b.jpg" width="80" height="60">{shapes}</image>'
    (tmp_path / "x.xml").write_text(f"<annotations>{image}</annotations>")
    split = read("cvat", tmp_path, "x.xml")
    expected = [[12, 18, 32, 22], [2, 1, 50, 9], [10, 15, 30, 25], [4, 3, 24, 13]]
    np.testing.assert_allclose(split.table.boxes_yxyx_px, expected, atol=1e-9)
    assert kinds(split) == [
        *["extent_taken"] * 4,
        *["malformed_box"] * 3,
        *["missing_annotation"] * 2,
    ]


def test_label_studio_regions(tmp_path: Path) -> None:
    exporters.pictures(tmp_path)
    sizes = {"original_width": 80, "original_height": 60}
    turned = {"x": 50, "y": 50, "width": 25, "height": 10, "rotation": 90, "rectanglelabels": ["a"]}
    outline = {"points": [[0, 0], [50, 0], [50, 50]], "polygonlabels": ["a"]}
    several = {"x": 1, "y": 1, "width": 5, "height": 5, "rectanglelabels": ["a", "b"]}
    regions = [{**sizes, "value": v} for v in (turned, outline, several, {"choices": ["x"]})]
    regions.append({"value": {"x": 1, "y": 1, "width": 5, "height": 5, "rectanglelabels": ["a"]}})
    done = {"id": 1, "result": regions}
    tasks = [
        {
            "data": {"image": "b.jpg"},
            "annotations": [{"was_cancelled": True, "result": []}, done, done],
        },
        {"data": {"image": "a 1.jpg"}, "annotations": []},
        {"data": {}, "annotations": []},
    ]
    (tmp_path / "x.json").write_text(json.dumps(tasks))
    split = read("label_studio", tmp_path, "x.json")
    # Turned about the upper left corner (40, 30): 20 wide and 6 high become 6 wide and 20 high.
    np.testing.assert_allclose(split.table.boxes_yxyx_px, [[30, 34, 50, 40], [0, 0, 30, 40]])
    assert kinds(split) == [
        "duplicate_annotation",
        *["extent_taken"] * 2,
        *["malformed_box"] * 2,
        *["missing_annotation"] * 2,
        "unreadable_annotation",
    ]


def test_csv_and_kitti_defects(tmp_path: Path) -> None:
    exporters.pictures(tmp_path)
    text = (
        "b.jpg,1,2,x,4,cat\nb.jpg,1,2,30,40,cat\na 1.jpg,,,,,\nnowhere.jpg,1,2,3,4,cat\n"
        "../e.jpg,1,2,3,4,cat\nb.jpg,1\n"
    )
    (tmp_path / "x.csv").write_text("b.jpg,1,2,3,4,cat\n" + text)
    split = read("csv", tmp_path, "x.csv")
    assert sorted(split.table.file_names) == ["a 1.jpg", "b.jpg", "nowhere.jpg"]
    assert kinds(split) == ["malformed_box", "malformed_entry", "missing_annotation", "path_escape"]
    (tmp_path / "y.csv").write_text("a,b,c\n1,2,3\n")
    with pytest.raises(DataError, match="its first line is 'a,b,c'"):
        read("csv", tmp_path, "y.csv")
    (tmp_path / "labels").mkdir()
    (tmp_path / "labels/b.txt").write_text("Car 0 0 0 1 2\nCar 0 0 0 1 2 3 4 1 1 1 1 1 1 1 0.9\n")
    split = read("kitti", tmp_path, "labels")
    np.testing.assert_array_equal(split.table.boxes_yxyx_px, [[2, 1, 4, 3]])
    assert kinds(split) == ["malformed_box", *["missing_annotation"] * 2]


def test_open_images_groups_are_crowds(tmp_path: Path) -> None:
    exporters.open_images(tmp_path)
    path = tmp_path / "train-annotations-bbox.csv"
    path.write_text(
        path.read_text().replace("0,0,0\n", "0,0,1\n", 1) + "b,x,/m/9,1,0,1,0,1,0,0,0\n"
    )
    names = "class-descriptions-boxable.csv"
    split = read("open_images", tmp_path, path.name, "train", names_file=names)
    assert split.table.iscrowd.sum() == 1 and split.table.relative
    assert kinds(split) == ["unknown_category"]


Exporter = Callable[[Path], None]


@pytest.mark.parametrize("exporter", [exporters.voc, exporters.coco])
def test_folders_for_each_split(tmp_path: Path, exporter: Exporter) -> None:
    exporter(tmp_path)
    (tmp_path / "more").mkdir()
    exporter(tmp_path / "more")
    (tmp_path / "more/train").rename(tmp_path / "valid")
    raw = auto(tmp_path)
    assert [(s.name, len(s.table)) for s in raw.splits] == [("train", 3), ("val", 3)]


@pytest.mark.parametrize(
    ("files", "splits"),
    [
        (
            ["annotations/instances_train2017.json", "annotations/instances_val2017.json"],
            {"train": "train2017", "val": "val2017"},
        ),
        (["train.json", "valid.json"], {"train": "images/train", "val": "images/val"}),
        (["train_labels.csv", "test_labels.csv"], {"train": "images", "test": "images"}),
    ],
)
def test_a_file_for_each_split(tmp_path: Path, files: list[str], splits: dict[str, str]) -> None:
    exporters.coco(tmp_path / "coco")
    exporters.csv_bare(tmp_path / "csv")
    for name in files:
        source = (
            "coco/train/_annotations.coco.json" if name.endswith("json") else "csv/annotations.csv"
        )
        (tmp_path / "set" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "set" / name).write_bytes((tmp_path / source).read_bytes())
    (tmp_path / "set/annotations").mkdir(exist_ok=True)
    (tmp_path / "set/annotations/captions_train2017.json").write_text(
        '{"images": [], "annotations": []}'
    )
    for images in splits.values():
        exporters.pictures(tmp_path / "set" / images)
    raw = auto(tmp_path / "set")
    assert {s.name: s.table.root for s in raw.splits} == {
        name: tmp_path / "set" / images for name, images in splits.items()
    }
    assert all(len(s.table) == 3 for s in raw.splits)


def test_voc_with_lists(tmp_path: Path) -> None:
    exporters.voc(tmp_path)
    (tmp_path / "JPEGImages").mkdir()
    (tmp_path / "ImageSets/Main").mkdir(parents=True)
    for path in sorted((tmp_path / "train").glob("*.jpg")):
        path.rename(tmp_path / "JPEGImages" / path.name)
    (tmp_path / "train").rename(tmp_path / "Annotations")
    (tmp_path / "ImageSets/Main/train.txt").write_text("a 1\nb\n")
    (tmp_path / "ImageSets/Main/val.txt").write_text("ü\n", encoding="utf-8")
    raw = auto(tmp_path)
    assert [(s.name, len(s.table)) for s in raw.splits] == [("train", 2), ("val", 1)]


def test_a_missing_folder_names_its_neighbours_and_auto(tmp_path: Path) -> None:
    exporters.voc(tmp_path)
    with pytest.raises(DataError, match=r"Annotations.*Next to it: train\. dataset=auto"):
        read("voc", tmp_path, "Annotations")


@pytest.mark.parametrize("exporter", [exporters.labelme, exporters.cvat, exporters.csv_bare])
def test_lists_beside_the_only_source_cut_it(tmp_path: Path, exporter: Exporter) -> None:
    exporter(tmp_path)
    (tmp_path / "train.txt").write_text("a 1\nb.jpg\n")
    (tmp_path / "val.txt").write_text("images/ü.jpg\n", encoding="utf-8")
    raw = auto(tmp_path)
    assert {s.name: list(s.table.file_names) for s in raw.splits} == {
        "train": ["a 1.jpg", "b.jpg"],
        "val": ["ü.jpg"],
    }


def test_yolo_with_a_file_of_names(tmp_path: Path) -> None:
    exporters.yolo(tmp_path / "old")
    (tmp_path / "new").mkdir()
    for part in ("images", "labels"):
        (tmp_path / "old/train" / part).rename(tmp_path / "new" / part)
    (tmp_path / "new/classes.txt").write_text("big bird\ncat\n")
    (tmp_path / "new/train.txt").write_text("a 1\nb\nü\n", encoding="utf-8")
    assert {
        k: sorted(v) for k, v in boxes_of(auto(tmp_path / "new")).items()
    }.keys() == TRUTH.keys()


@pytest.mark.parametrize(
    ("line", "box"),
    [
        ('images/b.jpg,1,2,3,4,"cat, big"', ("cat, big", [1, 2, 3, 4])),
        ('images/b.jpg,1,2,3,4,"cat; big"', ("cat; big", [1, 2, 3, 4])),
        ("images/b.jpg;1,5;2,5;9;9,25;cat", ("cat", [1.5, 2.5, 9, 9.25])),
    ],
    ids=["comma in quotes", "semicolon in quotes", "decimal commas"],
)
def test_separators_of_a_csv_without_header(
    tmp_path: Path, line: str, box: tuple[str, list[float]]
) -> None:
    exporters.pictures(tmp_path / "images")
    (tmp_path / "annotations.csv").write_text(line + "\n")
    assert boxes_of(auto(tmp_path))["b"] == [box]


@pytest.mark.parametrize(
    ("name", "given", "origin"),
    [("voc", None, 1), ("voc", 0, 0), ("csv_bare", None, 0), ("csv_bare", 1, 1), ("kitti", 1, 0)],
)
def test_where_pixels_count_from_is_the_users_word(
    tmp_path: Path, name: str, given: int | None, origin: int
) -> None:
    EXPORTERS[name](tmp_path)
    settings, words = recognised(DatasetSettings("auto", str(tmp_path), box_origin=given))
    assert settings.first_pixel == origin
    kept = given is not None and name != "kitti"
    assert (f"dataset.box_origin={given}" in words.split("the same as: ")[1]) == kept
    assert ("says nothing here" in words) == (name == "kitti")


def test_the_command_names_what_was_given(tmp_path: Path) -> None:
    exporters.voc(tmp_path)
    dataset = DatasetSettings(
        "auto", str(tmp_path), classes=["cat", "big bird"], keep_empty=False,
        merge={"animal": ["cat"]},
    )  # fmt: skip
    command = shlex.split(recognised(dataset)[1].split("the same as: ")[1])
    composed = compose("convert", "data_tools.convert.settings:ConvertSettings", command[2:])
    for key in ("classes", "keep_empty", "merge"):
        assert getattr(composed.dataset, key) == getattr(dataset, key)
    assert composed.dataset.first_pixel == 1
