"""One kind of fault in every reader that can meet it: typed fields, names, copies, boxes that are
lost, hidden files. Each is read rightly, or has a line; nothing is taken for something else.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from data_tools.convert.make_plan import make_plan
from data_tools.convert.settings import ConvertSettings
from data_tools.core.errors import DataError
from data_tools.sources.defects import PolicyError
from data_tools.sources.raw_split import RawDataset
from data_tools.sources.read import read_source
from data_tools.sources.settings import DatasetSettings, SplitSettings
from tests.helpers.raw_sets import jpeg

WIDTH, HEIGHT = 80, 60
Entry = tuple[str, list[Any]]
"""Class name, and x1, y1, x2, y2 as the file has them."""


@dataclass
class Reader:
    """Writes pictures with boxes in one layout, and reads them."""

    kind: str
    split: dict[str, str]
    write: Callable[[Path, dict[str, list[Entry]]], None]
    suffix: str = ".jpg"
    named: bool = True
    shares: bool = False

    def read(self, root: Path, content: dict[str, list[Entry]], **policy: str) -> RawDataset:
        (root / "images").mkdir(parents=True, exist_ok=True)
        for k, picture in enumerate(content):
            (root / f"images/{picture}{self.suffix}").write_bytes(jpeg(HEIGHT, WIDTH, k))
        names = _names(content)
        _text(root / "names.txt", "\n".join(names))
        self.write(root, content)
        return self.again(root, **policy)

    def again(self, root: Path, **policy: str) -> RawDataset:
        more = {} if self.named else {"names_file": "names.txt"}
        dataset = DatasetSettings(
            kind=self.kind,
            root=str(root),
            splits={"train": SplitSettings(**self.split)},
            box_origin=0,
            **more,
        )
        return read_source(dataset, ConvertSettings().content()["policy"] | policy)


def _names(content: dict[str, list[Entry]]) -> list[str]:
    found = dict.fromkeys(name for boxes in content.values() for name, _ in boxes)
    return list(found) or ["cat"]


def _text(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def _coco(root: Path, content: dict[str, list[Entry]]) -> None:
    names = _names(content)
    images = [
        {"id": k, "file_name": f"{n}.jpg", "height": HEIGHT, "width": WIDTH}
        for k, n in enumerate(content, 1)
    ]
    boxes = [
        {"id": 10 * k + j, "image_id": k, "category_id": names.index(name), "bbox": _xywh(box)}
        for k, n in enumerate(content, 1)
        for j, (name, box) in enumerate(content[n])
    ]
    categories = [{"id": k, "name": name} for k, name in enumerate(names)]
    whole = {"images": images, "annotations": boxes, "categories": categories}
    _text(root / "all.json", json.dumps(whole))


def _xywh(box: list[Any]) -> list[Any]:
    x1, y1, x2, y2 = box
    if any(isinstance(v, str) for v in box):
        return [x1, y1, "x", "y"]
    return [x1, y1, x2 - x1, y2 - y1]


def _voc(root: Path, content: dict[str, list[Entry]]) -> None:
    for n, boxes in content.items():
        objects = "".join(
            f"<object><name>{name}</name><bndbox><xmin>{x1}</xmin><ymin>{y1}</ymin><xmax>{x2}</xmax>"
            f"<ymax>{y2}</ymax></bndbox></object>"
            for name, (x1, y1, x2, y2) in boxes
        )
        _text(root / f"labels/{n}.xml", f"<annotation>{objects}</annotation>")


def _yolo(root: Path, content: dict[str, list[Entry]]) -> None:
    names = _names(content)
    for n, boxes in content.items():
        lines = []
        for name, box in boxes:
            if any(isinstance(v, str) for v in box):
                lines.append(f"{names.index(name)} {' '.join(map(str, box))}")
                continue
            x1, y1, x2, y2 = box
            centre = (x1 + x2) / 2 / WIDTH, (y1 + y2) / 2 / HEIGHT
            size = (x2 - x1) / WIDTH, (y2 - y1) / HEIGHT
            numbers = " ".join(f"{v:.9f}" for v in (*centre, *size))
            lines.append(f"{names.index(name)} {numbers}")
        _text(root / f"labels/{n}.txt", "\n".join(lines))


def _darknet(root: Path, content: dict[str, list[Entry]]) -> None:
    _yolo(root, content)
    _text(root / "train.txt", "".join(f"data/images/{n}.jpg\n" for n in content))


def _txt(root: Path, content: dict[str, list[Entry]]) -> None:
    names = _names(content)
    lines = [
        f"{n}.jpg "
        + " ".join(f"{','.join(map(str, box))},{names.index(name)}" for name, box in boxes)
        for n, boxes in content.items()
    ]
    _text(root / "all.txt", "\n".join(lines))


def _csv(root: Path, content: dict[str, list[Entry]]) -> None:
    rows = [
        f"{n}.jpg,{WIDTH},{HEIGHT},{name},{','.join(map(str, box))}"
        for n, boxes in content.items()
        for name, box in boxes
    ]
    _text(root / "all.csv", "\n".join(["filename,width,height,class,xmin,ymin,xmax,ymax", *rows]))


def _open_images(root: Path, content: dict[str, list[Entry]]) -> None:
    rows = []
    for n, boxes in content.items():
        for name, (x1, y1, x2, y2) in boxes:
            across = [v if isinstance(v, str) else v / WIDTH for v in (x1, x2)]
            down = [v if isinstance(v, str) else v / HEIGHT for v in (y1, y2)]
            rows.append(f"{n},{name},{','.join(map(str, across + down))},0")
    _text(root / "all.csv", "\n".join(["ImageID,LabelName,XMin,XMax,YMin,YMax,IsGroupOf", *rows]))


def _labelme(root: Path, content: dict[str, list[Entry]]) -> None:
    for n, boxes in content.items():
        shapes = [
            {"label": name, "points": [box[:2], box[2:]], "shape_type": "rectangle"}
            for name, box in boxes
        ]
        _text(root / f"labels/{n}.json", json.dumps({"shapes": shapes, "imagePath": f"../{n}.jpg"}))


def _cvat(root: Path, content: dict[str, list[Entry]]) -> None:
    images = "".join(
        f'<image name="{n}.jpg">'
        + "".join(
            f'<box label="{name}" xtl="{x1}" ytl="{y1}" xbr="{x2}" ybr="{y2}"/>'
            for name, (x1, y1, x2, y2) in boxes
        )
        + "</image>"
        for n, boxes in content.items()
    )
    _text(root / "all.xml", f"<annotations>{images}</annotations>")


def _region(name: Any, box: list[Any], key: str = "rectanglelabels") -> dict[str, Any]:
    x, y, width, height = _xywh(box)
    value = {"x": x, "y": y, "width": width, "height": height}
    for side, whole in (("x", WIDTH), ("width", WIDTH), ("y", HEIGHT), ("height", HEIGHT)):
        if not isinstance(value[side], str):
            value[side] = 100 * value[side] / whole
    sizes = {"original_width": WIDTH, "original_height": HEIGHT}
    return {**sizes, "value": {**value, key: [name]}}


def _label_studio(root: Path, content: dict[str, list[Entry]]) -> None:
    tasks = [
        {"data": {"image": f"{n}.jpg"}, "annotations": [{"result": [_region(*b) for b in boxes]}]}
        for n, boxes in content.items()
    ]
    _text(root / "all.json", json.dumps(tasks))


def _kitti(root: Path, content: dict[str, list[Entry]]) -> None:
    for n, boxes in content.items():
        rows = [
            f"{name} 0 0 0 {' '.join(map(str, box))} 1.5 1.6 3.7 1.8 1.5 8.4 -1.5"
            for name, box in boxes
        ]
        _text(root / f"labels/{n}.txt", "\n".join(rows))


def _file(kind: str, name: str) -> tuple[str, dict[str, str]]:
    return kind, {"annotations": name, "images": "images"}


DARKNET = {"images": ".", "list": "train.txt"}
READERS = {
    "coco": Reader(*_file("coco", "all.json"), _coco),
    "voc": Reader(*_file("voc", "labels"), _voc),
    "yolo": Reader(*_file("yolo", "labels"), _yolo, named=False, shares=True),
    "darknet": Reader("yolo", DARKNET, _darknet, named=False, shares=True),
    "txt": Reader(*_file("txt", "all.txt"), _txt, named=False),
    "csv": Reader(*_file("csv", "all.csv"), _csv),
    "open_images": Reader(*_file("open_images", "all.csv"), _open_images, shares=True),
    "labelme": Reader(*_file("labelme", "labels"), _labelme),
    "cvat": Reader(*_file("cvat", "all.xml"), _cvat),
    "label_studio": Reader(*_file("label_studio", "all.json"), _label_studio),
    "kitti": Reader(*_file("kitti", "labels"), _kitti, suffix=".png"),
}  # fmt: skip

every_reader = pytest.mark.parametrize("reader", READERS.values(), ids=READERS)
GOOD: Entry = ("cat", [5, 5, 20, 20])


def kinds(raw: RawDataset) -> list[str]:
    return sorted(defect.kind for defect in raw.splits[0].defects)


def boxes(raw: RawDataset) -> list[list[float]]:
    table = raw.splits[0].table
    scale = np.array([HEIGHT, WIDTH] * 2) if table.relative else 1
    return np.round(table.boxes_yxyx_px * scale, 4).tolist()


@every_reader
def test_doubtful_boxes(tmp_path: Path, reader: Reader) -> None:
    """Copies, boxes without extent or turned inside out, and numbers that are none."""
    odd = [[5, 5, 20, 20], [5, 5, 5, 20], [40, 40, 30, 50]]
    if reader.kind not in ("label_studio", "coco", "labelme"):  # JSON has no NaN
        odd.append([float("nan"), 5, 20, 20] if reader.kind != "yolo" else ["nan", 0.5, 0.2, 0.2])
    raw = reader.read(tmp_path, {"a": [GOOD, *(("cat", box) for box in odd)], "b": [GOOD]})
    expected = ["box_degenerate"] * 2 + ["box_not_finite"] * (len(odd) - 3) + ["duplicate_box"]
    if reader.kind == "labelme":  # two corners, in any order
        expected.remove("box_degenerate")
    assert kinds(raw) == sorted(expected)
    inside_out = [[40, 30, 50, 40]] if reader.kind == "labelme" else []
    assert boxes(raw) == [*[[5, 5, 20, 20]] * 2, *inside_out, [5, 5, 20, 20]]


@every_reader
def test_class_names(tmp_path: Path, reader: Reader) -> None:
    """Names are text, and those that differ only by case or blanks get a line."""
    entries: list[Entry] = [
        (name, [k, k, k + 9, k + 9]) for k, name in enumerate(("King ", "king", "no", "010"), 1)
    ]
    raw = reader.read(tmp_path, {"a": [GOOD, *entries]})
    assert kinds(raw) == ["class_names_alike"]
    names = {one.name.strip() for one in raw.classes.classes}
    assert names == {"cat", "King", "king", "no", "010"}


@pytest.mark.parametrize(
    "other", ["cafe\u0301", "caf\u00e9\u200b", "CAF\u00c9", "caf\u00e9\u00a0", "ｃａｆé"]
)
def test_class_names_that_look_alike(tmp_path: Path, other: str) -> None:
    reader = READERS["coco"]
    raw = reader.read(tmp_path, {"a": [("caf\u00e9", [1, 1, 9, 9]), (other, [20, 20, 29, 29])]})
    assert kinds(raw) == ["class_names_alike"]


@every_reader
def test_all_boxes_lost(tmp_path: Path, reader: Reader) -> None:
    """An error that says where the boxes went, not a set of background."""
    broken: Entry = ("cat", ["x", "y", "z", "w"])
    with pytest.raises((DataError, PolicyError), match=r"malformed_box|malformed_entry"):
        raw = reader.read(tmp_path, {"a": [broken], "b": [broken]})
        make_plan(ConvertSettings(), raw)


@every_reader
def test_an_image_that_lost_its_only_box_is_no_background(tmp_path: Path, reader: Reader) -> None:
    raw = reader.read(tmp_path, {"a": [("cat", ["x", "y", "z", "w"])], "b": [GOOD]})
    assert kinds(raw) == ["lost_all_boxes", "malformed_box"]
    assert [name.rpartition("/")[2][0] for name in raw.splits[0].table.file_names] == ["b"]
    assert raw.splits[0].found == {"images": 2, "boxes": 2}


@every_reader
def test_shares_where_pixels_are_expected(tmp_path: Path, reader: Reader) -> None:
    content: dict[str, list[Entry]] = {"a": [("cat", [0.1, 0.2, 0.5, 0.9])]}
    if reader.shares:
        assert len(boxes(reader.read(tmp_path, content))) == 1
        return
    if reader.kind == "label_studio":  # percent: less than a pixel, but no shares of the size
        content = {"a": [("cat", [0.01, 0.02, 0.05, 0.09])]}
    with pytest.raises(DataError, match="shares of the images' sizes"):
        reader.read(tmp_path, content)


@pytest.mark.parametrize("reader", [READERS[k] for k in READERS if k != "coco"])
def test_no_box_anywhere(tmp_path: Path, reader: Reader) -> None:
    """Images with nothing on them are background; a set of nothing else is a mistake."""
    with pytest.raises((DataError, PolicyError), match=r"no_box|no class|names no picture"):
        make_plan(ConvertSettings(), reader.read(tmp_path, {"a": [], "b": []}))


@every_reader
def test_hidden_folders(tmp_path: Path, reader: Reader) -> None:
    reader.read(tmp_path, {"a": [GOOD]})
    copies = list(tmp_path.glob("*/a.*"))
    for path in copies:
        hidden = path.parent / ".ipynb_checkpoints" / path.name
        hidden.parent.mkdir(exist_ok=True)
        hidden.write_bytes(path.read_bytes())
    raw = reader.again(tmp_path)
    assert len(raw.splits[0].table) == 1 and boxes(raw) == [[5, 5, 20, 20]]
    # COCO and text lists name their pictures: nothing looks into the folders.
    looked = {"coco": 0, "txt": 0}.get(reader.kind, len({path.parent for path in copies}))
    if "list" in reader.split:
        looked = 1  # the folder of the pictures; labels are looked up by their names
    assert kinds(raw) == ["hidden_files"] * looked


@pytest.mark.parametrize(
    "folder", ["$Recycle.Bin", "System Volume Information", "@tmp", "#snapshot", "RECYCLER"]
)
def test_folders_of_systems_in_any_case(tmp_path: Path, folder: str) -> None:
    reader = READERS["yolo"]
    reader.read(tmp_path, {"a": [GOOD]})
    (picture,) = (path for path in tmp_path.rglob("a.*") if path.suffix in (".jpg", ".png"))
    (picture.parent / folder).mkdir()
    (picture.parent / folder / "b.jpg").write_bytes(picture.read_bytes())
    raw = reader.again(tmp_path)
    assert len(raw.splits[0].table) == 1 and kinds(raw) == ["hidden_files"]


def test_an_object_that_its_annotator_deleted_is_none(tmp_path: Path) -> None:
    reader = READERS["voc"]
    reader.read(tmp_path, {"a": [GOOD, ("cat", [1, 1, 9, 9])]})
    (path,) = tmp_path.rglob("a.xml")
    path.write_text(path.read_text().replace("<bndbox>", "<deleted>1</deleted><bndbox>", 1))
    raw = reader.again(tmp_path)
    assert boxes(raw) == [[1, 1, 9, 9]] and kinds(raw) == ["malformed_entry"]


# Fields that one layout has


@pytest.mark.parametrize(
    ("text", "wanted"),
    [("0", False), ("1", True), ("TRUE", True), ("yes", True), ("1.0", True), ("NaN", False),
     ("false", False), ("", False), ("2", None), ("hard", None)],
)  # fmt: skip
def test_flags(tmp_path: Path, text: str, wanted: bool | None) -> None:
    """VOC's difficult, Open Images' IsGroupOf and CVAT's outside: a yes, a no, or a line."""
    for reader, folder, old, new in (
        ("voc", "labels", "<bndbox>", f"<difficult>{text}</difficult><bndbox>"),
        ("open_images", ".", ",0\na", f",{text}\na"),
    ):
        root = tmp_path / reader
        READERS[reader].read(root, {"a": [GOOD, ("cat", [30, 30, 40, 40])]})
        (path,) = (p for p in (root / folder).glob("a*.*") if p.suffix in (".xml", ".csv"))
        path.write_text(path.read_text().replace(old, new, 1))
        raw = READERS[reader].again(root)
        table = raw.splits[0].table
        flags = table.difficult if reader == "voc" else table.iscrowd
        assert flags.tolist() == ([False] if wanted is None else [wanted, False])
        assert len(kinds(raw)) == (wanted is None)
    if not text:
        return
    track = f'<box frame="0" outside="{text}" xtl="5" ytl="5" xbr="20" ybr="20"/>'
    raw = video(tmp_path / "cvat", track)
    assert len(boxes(raw)) == 1 + (wanted is False)
    assert kinds(raw) == ["malformed_entry"] * (wanted is None)


def video(root: Path, shapes: str, beside: str = "") -> RawDataset:
    (root / "images").mkdir(parents=True, exist_ok=True)
    for k in range(2):
        (root / f"images/frame_{k:03d}.jpg").write_bytes(jpeg(HEIGHT, WIDTH, k))
    last = '<box frame="1" outside="0" xtl="5" ytl="5" xbr="20" ybr="20"/>'
    track = f'<track label="cat">{shapes}{last}</track>'
    _text(root / "all.xml", f"<annotations>{track}{beside}</annotations>")
    return READERS["cvat"].again(root)


@pytest.mark.parametrize("frame", ["abc", "-1", "1.5", "", "nan"])
def test_frames_that_are_none_are_not_the_first(tmp_path: Path, frame: str) -> None:
    shape = f'<box frame="{frame}" outside="0" xtl="5" ytl="5" xbr="20" ybr="20"/>'
    raw = video(tmp_path, shape)
    assert len(boxes(raw)) == 1 and kinds(raw) == ["malformed_entry"]


def test_images_beside_tracks_have_a_line(tmp_path: Path) -> None:
    image = '<image name="frame_000.jpg"><box label="cat" xtl="1" ytl="1" xbr="9" ybr="9"/></image>'
    assert kinds(video(tmp_path, "", image)) == ["malformed_entry"]


@pytest.mark.parametrize("tag", ["Box", "rectangle", "tag", "attribute"])
def test_shapes_that_cvat_does_not_have(tmp_path: Path, tag: str) -> None:
    reader = READERS["cvat"]
    reader.read(tmp_path, {"a": [GOOD]})
    path = tmp_path / "all.xml"
    odd = f'<{tag} label="cat" xtl="1" ytl="1" xbr="9" ybr="9"/></image>'
    path.write_text(path.read_text().replace("</image>", odd))
    known = tag in ("tag", "attribute")
    assert kinds(reader.again(tmp_path)) == ([] if known else ["malformed_box"])


@pytest.mark.parametrize(
    "points",
    [["12", "34"], "12", [[True, 5], [20, 20]], {"a": 1}, None, [[1, 2, 3], [4, 5, 6]], [5, 6],
     ["ab", "cd"], [[1, 2]]],
)  # fmt: skip
def test_points_of_labelme_and_label_studio(tmp_path: Path, points: Any) -> None:
    shape = {"label": "cat", "points": points, "shape_type": "rectangle"}
    good = {"label": "cat", "points": [[5, 5], [20, 20]], "shape_type": "rectangle"}
    reader = READERS["labelme"]
    reader.read(tmp_path / "m", {"a": [GOOD]})
    _text(tmp_path / "m/labels/a.json", json.dumps({"shapes": [shape, good], "imagePath": "a.jpg"}))
    raw = reader.again(tmp_path / "m")
    assert kinds(raw) == ["malformed_box"] and boxes(raw) == [[5, 5, 20, 20]]
    outline = {"original_width": WIDTH, "original_height": HEIGHT,
               "value": {"points": points, "polygonlabels": ["cat"]}}  # fmt: skip
    raw = label_studio(tmp_path / "s", [outline, _region(*GOOD)])
    assert kinds(raw) == ["malformed_box"] and boxes(raw) == [[5, 5, 20, 20]]


def label_studio(root: Path, result: Any, **annotation: Any) -> RawDataset:
    reader = READERS["label_studio"]
    reader.read(root, {"a": [GOOD], "b": [GOOD]})
    task = {"data": {"image": "a.jpg"}, "annotations": [{"result": result, **annotation}]}
    _text(root / "all.json", json.dumps([task]))
    (root / "images/b.jpg").unlink()
    return reader.again(root)


def test_numbers_beyond_json(tmp_path: Path) -> None:
    """NaN and huge numbers cost their own box, not the file."""
    for reader in ("labelme", "label_studio", "coco"):
        root = tmp_path / reader
        READERS[reader].read(root, {"a": [GOOD, ("cat", [30, 30, 40, 40])]})
        (path,) = root.rglob("*.json")
        for odd in ("NaN", "1" + "0" * 400):
            text = path.read_text()
            number = {"label_studio": "37.5"}.get(reader, "30")
            assert number in text
            broken = root / path.relative_to(root)
            broken.write_text(text.replace(number, odd, 1))
            raw = READERS[reader].again(root)
            assert boxes(raw) == [[5, 5, 20, 20]] and kinds(raw) == ["box_not_finite"]
            broken.write_text(text)


@pytest.mark.parametrize("result", [5, "x", {"a": 1}], ids=["a number", "a text", "an object"])
def test_label_studio_results_that_are_no_list(tmp_path: Path, result: Any) -> None:
    with pytest.raises(DataError, match="unreadable_annotation"):
        make_plan(ConvertSettings(), label_studio(tmp_path, result))


@pytest.mark.parametrize(
    ("region", "expected"),
    [
        (_region("dog", [30, 30, 40, 40], "labels"), []),
        ({"original_width": WIDTH, "original_height": HEIGHT, "type": "rectangle",
          "value": {"x": 1, "y": 1, "width": 9, "height": 9}}, ["malformed_box"]),
        (_region("", [30, 30, 40, 40]), ["malformed_box"]),
        (_region(None, [30, 30, 40, 40]), ["malformed_box"]),
        ({**_region("dog", [30, 30, 40, 40]), "original_width": 800}, ["malformed_box"]),
        ({"type": "choices", "value": {"choices": ["day"]}}, []),
        ({"type": "relation", "from_id": "a", "to_id": "b"}, []),
    ],
)  # fmt: skip
def test_label_studio_regions(tmp_path: Path, region: Any, expected: list[str]) -> None:
    raw = label_studio(tmp_path, [_region(*GOOD), region])
    assert kinds(raw) == expected
    assert len(boxes(raw)) == 1 + ("labels" in region.get("value", {}))


def test_a_rectangle_and_its_labels_are_one_box(tmp_path: Path) -> None:
    labelled = {**_region(*GOOD, "labels"), "id": "r"}
    bare = {**labelled, "value": {k: v for k, v in labelled["value"].items() if k != "labels"}}
    raw = label_studio(tmp_path, [bare, labelled])
    assert boxes(raw) == [[5, 5, 20, 20]] and not kinds(raw)


@pytest.mark.parametrize(
    ("flags", "count"), [({"was_cancelled": "false"}, 1), ({"was_cancelled": True}, 0)]
)
def test_label_studio_cancelled(tmp_path: Path, flags: dict[str, Any], count: int) -> None:
    raw = label_studio(tmp_path, [_region(*GOOD)], **flags)
    assert len(boxes(raw)) == count and kinds(raw) == ["missing_annotation"] * (1 - count)


@pytest.mark.parametrize("name", ["DontCare", "dontcare", "DONTCARE"])
def test_kitti_regions_to_ignore(tmp_path: Path, name: str) -> None:
    raw = READERS["kitti"].read(tmp_path, {"a": [GOOD, (name, [30, 30, 40, 40])]})
    assert kinds(raw) == ["ignored_region"] and boxes(raw) == [[5, 5, 20, 20]]


def test_a_refused_file_is_counted_once(tmp_path: Path) -> None:
    for reader, name in (("kitti", "labels/a.txt"), ("labelme", "labels/a.json")):
        root = tmp_path / reader
        READERS[reader].read(root, {"a": [GOOD], "b": [GOOD]})
        (root / name).write_bytes(b"\xe9\xe8")
        raw = READERS[reader].again(root)
        assert kinds(raw) == ["unreadable_annotation"]
        assert raw.splits[0].found["images"] == 2


def test_csv_quotes_and_places(tmp_path: Path) -> None:
    """An open quote does not swallow the lines behind it; errors name file and line."""
    reader = READERS["csv"]
    reader.read(tmp_path, {"a": [GOOD], "b": [GOOD]})
    path = tmp_path / "all.csv"
    good = path.read_text()
    path.write_text(good.replace(",cat", ',"cat', 1))
    with pytest.raises(DataError, match=r"all\.csv, line 3: no CSV"):
        reader.again(tmp_path)
    path.write_text(good.replace("cat", "c" * 200_000, 1))
    before = csv.field_size_limit(2**30)  # as MindSpore does when it is imported
    try:
        with pytest.raises(DataError, match=r"all\.csv, line 2: no CSV"):
            reader.again(tmp_path)
    finally:
        csv.field_size_limit(before)


@pytest.mark.parametrize("text", ["/m/1,\n", "/m/1\n", "/m/1,cat\n/m/1,dog\n"])
def test_open_images_descriptions(tmp_path: Path, text: str) -> None:
    reader = READERS["open_images"]
    reader.read(tmp_path, {"a": [GOOD]})
    _text(tmp_path / "names.csv", text)
    dataset = DatasetSettings(
        kind="open_images",
        root=str(tmp_path),
        splits={"train": SplitSettings(annotations="all.csv", images="images")},
        names_file="names.csv",
    )
    with pytest.raises(DataError, match=r"names\.csv, line [12]: '/m/1' has"):
        read_source(dataset, {})


def test_txt_lines_of_one_picture_are_joined(tmp_path: Path) -> None:
    reader = READERS["txt"]
    reader.read(tmp_path, {"a": [GOOD]})
    _text(tmp_path / "all.txt", "a.jpg 5,5,20,20,0\n./a.jpg 30,30,40,40,0\n")
    raw = reader.again(tmp_path)
    assert raw.splits[0].table.file_names == ["a.jpg"] and not kinds(raw)
    assert boxes(raw) == [[5, 5, 20, 20], [30, 30, 40, 40]]


@pytest.mark.parametrize("area", ["NaN", '"x"', "Infinity", "true"])
def test_an_area_that_is_no_number_has_a_line(tmp_path: Path, area: str) -> None:
    reader = READERS["coco"]
    reader.read(tmp_path, {"a": [GOOD]})
    path = tmp_path / "all.json"
    path.write_text(path.read_text().replace('"bbox"', f'"area": {area}, "bbox"'))
    for policy, action in (("fix", "fix"), ("keep", "fix"), ("error", "error")):
        raw = reader.again(tmp_path, area_not_positive=policy)
        assert [(d.kind, d.action) for d in raw.splits[0].defects] == [
            ("area_not_positive", action)
        ]
        assert raw.splits[0].table.areas_px.tolist() == [225]
        # It is mended, not left out: counted twice it would count as a box that was lost.
        assert raw.splits[0].found == {"images": 1, "boxes": 1}


def test_policy_error_holds_for_parents_with_the_name_of_their_child(tmp_path: Path) -> None:
    reader = READERS["coco"]
    reader.read(tmp_path, {"a": [GOOD]})
    path = tmp_path / "all.json"
    content = json.loads(path.read_text())
    content["categories"] = [
        {"id": 7, "name": "cat", "supercategory": "none"},
        {"id": 0, "name": "cat", "supercategory": "cat"},
    ]
    path.write_text(json.dumps(content))
    for policy, action in (("keep", "skip"), ("error", "error")):
        raw = reader.again(tmp_path, unused_class=policy)
        assert [(d.kind, d.action) for d in raw.splits[0].defects] == [("unused_class", action)]


@every_reader
def test_pictures_that_nothing_reads_are_counted(tmp_path: Path, reader: Reader) -> None:
    """A camera's raw file beside its own JPEG neither stands for it nor goes without a line."""
    reader.read(tmp_path, {"a": [GOOD]})
    (picture,) = (path for path in tmp_path.rglob("a.*") if path.suffix in (".jpg", ".png"))
    for name in ("a.dng", "b.DNG", "c.cr2", "favicon.ico"):
        (picture.parent / name).write_bytes(b"II*\0")
    raw = reader.again(tmp_path)
    assert len(raw.splits[0].table) == 1 and boxes(raw) == [[5, 5, 20, 20]]
    looked = reader.kind not in ("coco", "txt")  # those name their pictures
    details = sorted(d.detail for d in raw.splits[0].defects)
    assert kinds(raw) == ["unread_files"] * 3 * looked
    if looked:
        assert [d.split(" the first")[0].split(", ")[0] for d in details] == [
            ".cr2 is not read: 1 files",
            ".dng is not read: 2 files",
            ".ico is not read: 1 files",
        ]
