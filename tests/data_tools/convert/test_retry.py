"""`retry=true` finds what a set left out, whichever file its report names, and adds it once it is
mended.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from data_tools.command import run
from data_tools.convert.settings import ConvertSettings
from data_tools.converted.verify import run_verify
from data_tools.core.errors import DataError
from data_tools.sources.settings import DatasetSettings, SplitSettings
from tests.helpers.raw_sets import jpeg

NAMES = [f"im_{k:02d}.jpg" for k in range(8)]
BROKEN = 3


def a_file_each(
    folder: str, ending: str, content: Callable[[str, bool], str], cut: str, fault: str
) -> dict[str, str]:
    """A label file for each picture; that of the broken one is cut short, wrong, or not there."""
    files = {f"{folder}/{name[:-4]}.{ending}": content(name, False) for name in NAMES}
    bad = f"{folder}/{NAMES[BROKEN][:-4]}.{ending}"
    if fault == "none":
        del files[bad]
    elif fault:
        files[bad] = cut if fault == "file" else content(NAMES[BROKEN], True)
    return files


def voc(fault: str) -> dict[str, str]:
    def xml(name: str, wrong: bool) -> str:
        xmin = f"<xmin>{'abc' if wrong else '5'}</xmin>"
        box = f"{xmin}<ymin>6</ymin><xmax>25</xmax><ymax>36</ymax>"
        return (
            f"<annotation><filename>{name}</filename><object><name>cat</name>"
            f"<bndbox>{box}</bndbox></object></annotation>"
        )

    return a_file_each("xml", "xml", xml, "<annotation><filen", fault)


def labelme(fault: str) -> dict[str, str]:
    def content(name: str, wrong: bool) -> str:
        points = [["abc" if wrong else 5, 6], [25, 36]]
        shape = {"label": "cat", "points": points, "shape_type": "rectangle"}
        path = name if wrong else f"../images/{name}"
        return json.dumps({"shapes": [shape], "imagePath": path})

    return a_file_each("json", "json", content, '{"shapes":', fault)


def kitti(fault: str) -> dict[str, str]:
    def line(name: str, wrong: bool) -> str:
        return f"cat 0 0 0 {'abc' if wrong else 5} 6 25 36 0 0 0 0 0 0 0\n"

    return a_file_each("label", "txt", line, "\udce9", fault)


def yolo(fault: str) -> dict[str, str]:
    def line(name: str, wrong: bool) -> str:
        return "0 0.5 0.x 1 1" if wrong else "0 0.5 0.5 0.25 0.25\n"

    return a_file_each("labels", "txt", line, "\udce9", fault)


def cvat(fault: str) -> dict[str, str]:
    images = [
        f'<image name="{name}" width="60" height="40"><box label="cat" xtl="'
        f'{"abc" if fault and k == BROKEN else 5}" ytl="6" xbr="25" ybr="36"/></image>'
        for k, name in enumerate(NAMES)
        if fault != "none" or k != BROKEN
    ]
    return {"a.xml": f"<annotations>{''.join(images)}</annotations>"}


def csv(fault: str) -> dict[str, str]:
    lines = ["filename,class,xmin,ymin,xmax,ymax"]
    for k, name in enumerate(NAMES):
        bad = fault if k == BROKEN else ""
        numbers = {"": "5,6,25,36", "box": "abc,6,25,36", "line": "5"}
        lines += [f"{name},cat,{numbers[bad]}"] if bad != "none" else []
    return {"a.csv": "\n".join(lines)}


def label_studio(fault: str) -> dict[str, str]:
    tasks: list[dict[str, Any]] = []
    for k, name in enumerate(NAMES):
        bad = fault if k == BROKEN else ""
        value = {"x": "abc" if bad else 5, "y": 6, "width": 25, "height": 36}
        size = {"original_width": 60, "original_height": 40}
        region = {"value": {**value, "rectanglelabels": ["cat"]}, "id": "r", **size}
        done: Any = [] if bad == "undone" else [{"id": k, "result": [region]}]
        done = "x" if bad == "line" else done
        task = {"id": k, "data": {"image": f"/data/upload/1/abcdef12-{name}"}, "annotations": done}
        tasks += [task] if bad != "none" else []
    return {"a.json": json.dumps(tasks)}


Maker = Callable[[str], dict[str, str]]

CASES = [
    *((maker, kind, place, fault) for maker, kind, place, faults in (
        (voc, "voc", "xml", ("file", "box", "none")),
        (labelme, "labelme", "json", ("file", "box", "none")),
        (kitti, "kitti", "label", ("file", "box", "none")),
        (yolo, "yolo", "labels", ("file", "box")),
        (cvat, "cvat", "a.xml", ("box", "none")),
        (csv, "csv", "a.csv", ("box", "none", "line")),
        (label_studio, "label_studio", "a.json", ("box", "none", "undone", "line")),
    ) for fault in faults),
]  # fmt: skip


def write(root: Path, files: dict[str, str], pictures: list[str] = NAMES) -> Path:
    shutil.rmtree(root, ignore_errors=True)
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(text.encode(errors="surrogateescape"))
    for name in pictures:
        (root / "images").mkdir(exist_ok=True)
        (root / "images" / name).write_bytes(jpeg(40, 60, sum(name.encode())))
    return root


def settings(kind: str, place: str, root: Path, out: str) -> ConvertSettings:
    dataset = DatasetSettings(
        kind=kind,
        root=str(root),
        names=["cat"] if kind == "yolo" else [],
        splits={"train": SplitSettings(annotations=place, images="images")},
    )
    return ConvertSettings(dataset=dataset, out=str(root.parent / out))


def retry(root: Path, name: str, out: str) -> ConvertSettings:
    dataset = DatasetSettings(root=str(root))
    parent, child = root.parent / name, root.parent / out
    return ConvertSettings(dataset=dataset, extend=str(parent), retry=True, out=str(child))


def report(root: Path, name: str, split: str = "train") -> dict[str, Any]:
    content: dict[str, Any] = json.loads((root.parent / name / split / "report.json").read_text())
    return content


def images(root: Path, name: str, split: str = "train") -> list[str]:
    content = json.loads((root.parent / name / split / "annotations.json").read_text())
    return [entry["file_name"] for entry in content["images"]]


@pytest.mark.parametrize(("maker", "kind", "place", "fault"), CASES)
def test_a_mended_annotation_brings_its_image_back(
    tmp_path: Path, maker: Maker, kind: str, place: str, fault: str
) -> None:
    root = write(tmp_path / "raw", maker(fault))
    run(settings(kind, place, root, "a"))
    assert len(images(root, "a")) == 7
    with pytest.raises(DataError, match="none of its skipped images can be used now"):
        run(retry(root, "a", "b"))
    write(root, maker(""))
    run(retry(root, "a", "b"))
    run(settings(kind, place, root, "whole"))
    assert sorted(images(root, "b")) == NAMES
    assert report(root, "b") == report(root, "whole")
    assert run_verify(tmp_path / "b") == 0
    # Pictures that are new and were not left out are not what a retry is for.
    more = {"im_99": "im_03", "other": "im_05"}
    added = {
        name.replace(old, new): text.replace(old, new)
        for name, text in maker("").items()
        for new, old in more.items()
        if old in name
    }
    if added:
        write(root, maker("") | added, [*NAMES, *(f"{name}.jpg" for name in more)])
        run(retry(root, "a", "c"))
        assert sorted(images(root, "c")) == NAMES
        assert report(root, "c") == report(root, "whole")


@pytest.mark.parametrize(("maker", "kind", "place", "fault"), CASES[::2])
def test_the_mended_image_may_come_alone(
    tmp_path: Path, maker: Maker, kind: str, place: str, fault: str
) -> None:
    root = write(tmp_path / "raw", maker(fault))
    run(settings(kind, place, root, "a"))
    mended = maker("")
    if len(mended) > 1:
        mended = {n: text for n, text in mended.items() if NAMES[BROKEN][:-4] in n}
    write(root, mended, NAMES if len(mended) == 1 and "a." in next(iter(mended)) else [NAMES[3]])
    run(retry(root, "a", "b"))
    assert sorted(images(root, "b")) == NAMES
    after = report(root, "b")
    assert after["found"] == {"images": 8, "boxes": 8}
    assert after["left_out"]["images"] == after["left_out"]["boxes"] == 0
    assert not after["files"]


def cut(kind: str, path: str, root: Path, out: str, **more: Any) -> ConvertSettings:
    whole = settings(kind, path, root, out)
    split = whole.dataset.splits["train"]
    shares = {"train": replace(split, fraction=0.7), "val": replace(split, fraction=0.3)}
    return replace(whole, dataset=replace(whole.dataset, splits=shares, **more))


def both(root: Path, name: str) -> dict[str, list[str]]:
    return {split: sorted(images(root, name, split)) for split in ("train", "val")}


@pytest.mark.parametrize(("maker", "kind", "path", "fault"), CASES[1::3])
def test_a_cut_by_fraction_stays_as_it_was(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    maker: Maker,
    kind: str,
    path: str,
    fault: str,
) -> None:
    root = write(tmp_path / "raw", maker(fault))
    run(cut(kind, path, root, "a"))
    before = both(root, "a")
    with pytest.raises(DataError, match="none of its skipped images can be used now"):
        run(retry(root, "a", "b"))
    write(root, maker(""))
    capsys.readouterr()
    run(retry(root, "a", "b"))
    assert "the cut by `fraction` stays" in capsys.readouterr().out
    # Where no table had the image when the set was cut, the first split's report has it.
    assert kind == "yolo" or report(root, "a")["files"]
    split = "train" if report(root, "a")["files"] else "val"
    assert both(root, "b") == {**before, split: sorted([*before[split], NAMES[BROKEN]])}
    after = report(root, "b", split)
    assert after["found"] == after["written"] and not after["files"]
    assert run_verify(tmp_path / "b") == 0
    mended = {n: t for n, t in maker("").items() if NAMES[BROKEN][:-4] in n}
    if mended:
        write(root, mended, [NAMES[BROKEN]])
        run(retry(root, "a", "c"))
        assert both(root, "c") == both(root, "b") and report(root, "c", split) == after


@pytest.mark.parametrize("split", ["train", "val"])
def test_a_picture_that_is_back_goes_to_the_split_that_lacked_it(
    tmp_path: Path, split: str
) -> None:
    root = write(tmp_path / "raw", csv(""))
    run(cut("csv", "a.csv", root, "whole"))
    expected = both(root, "whole")
    lost = expected[split][0]
    (root / "images" / lost).unlink()
    run(cut("csv", "a.csv", root, "a"))
    write(root, csv(""))
    run(retry(root, "a", "b"))
    assert both(root, "b") == expected
    for name in ("train", "val"):
        assert report(root, "b", name) == report(root, "whole", name)
        fingerprints = [
            json.loads((tmp_path / s / name / "manifest.json").read_text()) for s in "ab"
        ]
        assert (fingerprints[0] == fingerprints[1]) == (name != split)


def test_an_image_goes_where_its_group_is(tmp_path: Path) -> None:
    root = write(tmp_path / "raw", voc(""))
    names = ["a_1.jpg", "a_2.jpg", "b_1.jpg", "b_2.jpg", "c_1.jpg", "c_2.jpg"]
    one = voc("")["xml/im_00.xml"]
    files = {f"xml/{name[:-4]}.xml": one.replace("im_00.jpg", name) for name in names}
    pattern = "^(.)_"
    for bad in names:
        write(root, {**files, f"xml/{bad[:-4]}.xml": "<annotation><filen"}, names)
        run(cut("voc", "xml", root, f"{bad}-a", group=pattern))
        before = both(root, f"{bad}-a")
        write(root, {f"xml/{bad[:-4]}.xml": files[f"xml/{bad[:-4]}.xml"]}, [bad])
        run(retry(root, f"{bad}-a", f"{bad}-b"))
        after = both(root, f"{bad}-b")
        for split, kept in before.items():
            with_group = any(name[0] == bad[0] for name in kept)
            assert after[split] == (sorted([*kept, bad]) if with_group else kept)
        if bad in after["val"]:
            write(root, files, names)
            run(retry(root, f"{bad}-b", f"{bad}-c"))
            assert not (tmp_path / f"{bad}-c").exists()


def test_an_image_that_no_split_took_is_none_that_was_skipped(tmp_path: Path) -> None:
    boxes = csv("")["a.csv"]
    root = write(tmp_path / "raw", {"a.csv": boxes})
    some = cut("csv", "a.csv", root, "whole")
    some.dataset.splits["train"].fraction = 0.4
    run(some)
    expected = both(root, "whole")
    assert sum(map(len, expected.values())) < len(NAMES)
    # The report of the first split has the lines of all images.
    bad = "\n".join([boxes, *(f"{name},cat,x,1,9,9" for name in NAMES)])
    write(root, {"a.csv": bad})
    (root / "images" / expected["train"][0]).write_bytes(b"broken")
    run(replace(some, out=str(tmp_path / "a")))
    write(root, {"a.csv": boxes})
    run(retry(root, "a", "b"))
    assert both(root, "b") == expected
