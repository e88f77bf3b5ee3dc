"""Sets as they lie about: labels beside pictures, in folders and archives of their own, names and
numbers of other machines. One truth, read the same from all of them.
"""

from __future__ import annotations

import json
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

import pytest

from data_tools.convert.settings import ConvertSettings
from data_tools.core.errors import DataError
from data_tools.sources.raw_split import RawDataset
from data_tools.sources.read import read_source
from data_tools.sources.recognise import recognised
from data_tools.sources.settings import DatasetSettings, SplitSettings
from tests.helpers import exporters
from tests.helpers.exporters import HEIGHT, NAMES, TRUTH, WIDTH
from tests.helpers.raw_sets import coco_settings, image_entry, jpeg, write_coco

POLICY = ConvertSettings().content()["policy"]


def auto(root: Path) -> RawDataset:
    settings, _ = recognised(DatasetSettings(kind="auto", root=str(root)))
    return read_source(settings, POLICY)


def agrees(raw: RawDataset) -> None:
    """Every picture is there, once, with its boxes to a hundredth of a pixel."""
    names = {c.category_id: c.name for c in raw.classes.classes}
    found = {}
    for split in raw.splits:
        scale = [HEIGHT, WIDTH] * 2 if split.table.relative else [1] * 4
        for sample in split.table:
            boxes = (sample.boxes_yxyx_px * scale).tolist()
            key = Path(sample.file_name).stem
            assert key not in found
            found[key] = [
                (names[int(c)], pytest.approx((x1, y1, x2, y2), abs=0.01))
                for c, (y1, x1, y2, x2) in zip(sample.category_ids, boxes, strict=True)
            ]
    assert found == TRUTH
    assert not [d for split in raw.splits for d in split.defects]


def rewrite(path: Path, change: Callable[[str], str], encoding: str = "utf-8") -> None:
    path.write_bytes(change(path.read_text("utf-8-sig")).encode(encoding))


def points_to_commas(text: str) -> str:
    return text.replace(".", ",")


def test_texts_in_utf_16(tmp_path: Path) -> None:
    exporters.yolo(tmp_path)
    for path in [tmp_path / "data.yaml", *(tmp_path / "train/labels").iterdir()]:
        rewrite(path, str, "utf-16")
    agrees(auto(tmp_path))
    exporters.labelme(tmp_path / "labelme")
    for path in (tmp_path / "labelme").rglob("*.json"):
        rewrite(path, str, "utf-16")
    agrees(auto(tmp_path / "labelme"))


def test_decimal_commas(tmp_path: Path) -> None:
    exporters.yolo(tmp_path / "yolo")
    for path in (tmp_path / "yolo/train/labels").iterdir():
        rewrite(path, points_to_commas)
    agrees(auto(tmp_path / "yolo"))
    exporters.voc(tmp_path / "voc")
    for path in (tmp_path / "voc").rglob("*.xml"):
        rewrite(path, lambda text: text.replace("</xmin>", ",0</xmin>"))
    agrees(auto(tmp_path / "voc"))


def labelimg(root: Path) -> None:
    """YOLO as LabelImg saves it: beside the pictures, an empty file for one without objects."""
    exporters.yolo(root)
    for path in [*(root / "train/images").iterdir(), *(root / "train/labels").iterdir()]:
        shutil.move(path, root / path.name)
    shutil.rmtree(root / "train")
    (root / "data.yaml").unlink()
    (root / "classes.txt").write_text("\n".join(NAMES))


def test_yolo_beside_the_pictures(tmp_path: Path) -> None:
    labelimg(tmp_path / "one")
    agrees(auto(tmp_path / "one"))
    (tmp_path / "one/0 none.jpg").write_bytes(jpeg(HEIGHT, WIDTH, 9))
    (tmp_path / "one/0 none.txt").write_text("")
    raw = auto(tmp_path / "one")
    assert len(raw.splits[0].table) == len(TRUTH) + 1
    labelimg(tmp_path / "two/train")
    agrees(auto(tmp_path / "two"))
    # Other texts beside pictures are no labels.
    for path in (tmp_path / "one").glob("*.txt"):
        path.write_text("seen on a walk\n")
    with pytest.raises(DataError, match="no layout of data set is recognised"):
        auto(tmp_path / "one")


@pytest.mark.parametrize(
    "written",
    [
        quote,
        lambda name: f"images/{quote(name)}",
        lambda name: f"C:\\Users\\me\\train\\{name}",
        lambda name: f"/home/me/set/train/{name}",
    ],
)
def test_names_of_a_coco_file_from_another_machine(
    tmp_path: Path, written: Callable[[str], str]
) -> None:
    exporters.coco(tmp_path)
    path = tmp_path / "train/_annotations.coco.json"
    content = json.loads(path.read_text())
    for image in content["images"]:
        image["file_name"] = written(image["file_name"])
    path.write_text(json.dumps(content))
    agrees(auto(tmp_path))


def test_a_name_of_a_coco_file_that_means_no_picture_or_two(tmp_path: Path) -> None:
    (tmp_path / "secret.jpg").write_bytes(jpeg(40, 60, 1))
    names = ["100%.jpg", "../secret.jpg", "/etc/a.jpg", "/x/b.jpg", "%2e%2e/secret.jpg", "c%20.jpg"]
    images = [image_entry(k) | {"file_name": name} for k, name in enumerate(names, 1)]
    write_coco(tmp_path, images, [], pictures=False)
    for name in ("100%.jpg", "1/b.jpg", "2/b.jpg"):
        (tmp_path / "images" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "images" / name).write_bytes(jpeg(40, 60, 2))
    (split,) = read_source(coco_settings(tmp_path).dataset, POLICY).splits
    escapes = [d.image_id for d in split.defects if d.kind == "path_escape"]
    assert escapes == [2, 3, 4]
    # The others are taken as written: one is there, two are not.
    assert split.table.file_names == ["100%.jpg", "%2e%2e/secret.jpg", "c%20.jpg"]


def test_labels_in_a_folder_beside_that_of_the_pictures(tmp_path: Path) -> None:
    exporters.csv_named(tmp_path)
    (tmp_path / "data").mkdir()
    (tmp_path / "annotations.csv").rename(tmp_path / "data/all_labels.csv")
    agrees(auto(tmp_path))
    (tmp_path / "data/all_labels.csv").rename(tmp_path / "data/train_labels.csv")
    (tmp_path / "images").rename(tmp_path / "train")
    (tmp_path / "images").mkdir()
    (tmp_path / "train").rename(tmp_path / "images/train")
    (tmp_path / "images/test").mkdir()
    (tmp_path / "images/test/other.jpg").write_bytes(jpeg(HEIGHT, WIDTH, 9))
    agrees(auto(tmp_path))


def packed(folder: Path, target: Path) -> None:
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as file:
        for path in sorted(p for p in folder.rglob("*") if p.is_file()):
            file.write(path, path.relative_to(folder).as_posix())


def test_a_folder_with_an_archive_as_it_was_downloaded(tmp_path: Path) -> None:
    exporters.cvat(tmp_path / "set")
    (tmp_path / "one").mkdir()
    packed(tmp_path / "set", tmp_path / "one/task_1.zip")
    agrees(auto(tmp_path / "one"))
    (tmp_path / "deep").mkdir()
    (tmp_path / "outer/inner").mkdir(parents=True)
    shutil.copytree(tmp_path / "set", tmp_path / "outer/inner/project")
    packed(tmp_path / "outer", tmp_path / "deep/download.zip")
    agrees(auto(tmp_path / "deep"))
    shutil.copy(tmp_path / "one/task_1.zip", tmp_path / "one/task_2.zip")
    with pytest.raises(DataError, match="2 data sets lie in its folders or archives") as caught:
        auto(tmp_path / "one")
    assert f"dataset.root={tmp_path}/one/task_2.zip" in str(caught.value)
    # What lies unpacked beside it is meant, even where the archive cannot be read.
    shutil.copytree(tmp_path / "set", tmp_path / "deep/unpacked")
    (tmp_path / "deep/download.zip").write_bytes(b"cut short")
    agrees(auto(tmp_path / "deep"))


def test_what_a_source_of_fractions_lacks_is_told_once(tmp_path: Path) -> None:
    exporters.csv_bare(tmp_path)
    for k in range(7):
        (tmp_path / f"images/bare {k}.jpg").write_bytes(jpeg(HEIGHT, WIDTH, 20 + k))
    with (tmp_path / "annotations.csv").open("a") as file:
        file.write("images/b.jpg,1,2,x,4,cat\n")
    splits = {
        name: SplitSettings("annotations.csv", "images", fraction=share)
        for name, share in (("train", 0.6), ("val", 0.4))
    }
    dataset = DatasetSettings(kind="csv", root=str(tmp_path), splits=splits)
    train, val = read_source(dataset, POLICY).splits
    assert sorted(d.kind for d in train.defects) == ["malformed_box"] + ["missing_annotation"] * 7
    assert not val.defects
    assert train.found["images"] + val.found["images"] == len(TRUTH) + 7
    dataset.only = ["val"]
    (val,) = read_source(dataset, POLICY).splits
    assert len(val.defects) == 8
    assert val.found["images"] == len(val.table) + round(0.4 * 7)


def test_what_no_split_takes_is_told_by_one_that_is_wanted(tmp_path: Path) -> None:
    images = [image_entry(k) for k in range(1, 21)]
    write_coco(tmp_path, images, [], pictures=False)
    splits = {
        name: SplitSettings("train.json", "images", fraction=share)
        for name, share in (("train", 0.5), ("val", 0.3))
    }
    dataset = coco_settings(tmp_path, dataset_splits=splits).dataset
    for only, first in (([], "train"), (["val"], "val"), (["val", "train"], "train")):
        dataset.only = only
        told = [
            s.name
            for s in read_source(dataset, {}).splits
            for d in s.defects
            if d.kind == "cut_away"
        ]
        assert told == [first], only
