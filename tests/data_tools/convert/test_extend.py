"""A set that grew is the one that converting all at once makes, in everything but the cut into
shards.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from data_tools.augment.settings import AugmentSettings
from data_tools.command import run
from data_tools.convert.settings import ConvertSettings, ImageSettings
from data_tools.converted.verify import run_verify
from data_tools.core.errors import DataError, UserError
from data_tools.pipeline.batches import TrainBatch
from data_tools.pipeline.pipeline import TrainPipeline
from data_tools.pipeline.settings import PipelineSettings
from data_tools.shards.manifest import open_split
from data_tools.shards.reader import RowReader
from data_tools.sources.settings import DatasetSettings, SplitSettings
from tests.helpers.raw_sets import (
    CATEGORIES,
    box_entry,
    coco_settings,
    image_entry,
    jpeg,
    pathological,
    tree_bytes,
    write_coco,
    write_plain_coco,
)
from training.boxes.codec import BoxEncoder


def only(root: Path, name: str, keep: set[int]) -> None:
    """Write `<name>.json`: train.json with the images whose ids are in `keep`."""
    content = json.loads((root / "train.json").read_text())
    content["images"] = [e for e in content["images"] if e["id"] in keep]
    content["annotations"] = [e for e in content["annotations"] if e["image_id"] in keep]
    (root / f"{name}.json").write_text(json.dumps(content))


def of(name: str) -> dict[str, SplitSettings]:
    return {"train": SplitSettings(annotations=f"{name}.json", images="images")}


def rows(out: Path) -> list[tuple[Any, ...]]:
    """Every row in the order in which training reads it."""
    reader = RowReader(open_split(out, "train"))
    return [
        (
            *(row.image_id, row.image.tobytes(), row.height, row.width),
            *(row.boxes_yxyx_px.tolist(), row.labels.tolist()),
            *(row.iscrowd.tolist(), row.difficult.tolist()),
        )
        for row in map(reader.__getitem__, range(len(reader)))
    ]


def assert_same_but_for_the_cut(grown: Path, whole: Path) -> None:
    # Lines of annotations.json end where a shard does; the lists themselves are the same, in order.
    ours, theirs = (json.loads((o / "train/annotations.json").read_text()) for o in (grown, whole))
    assert ours == theirs
    assert (grown / "train/report.json").read_bytes() == (whole / "train/report.json").read_bytes()
    made, expected = (open_split(out, "train").manifest for out in (grown, whole))
    for name in ("classes", "totals", "settings", "format"):
        assert getattr(made, name) == getattr(expected, name)
    assert rows(grown) == rows(whole)
    assert run_verify(grown) == 0


def test_an_annotation_id_may_be_0(tmp_path: Path) -> None:
    write_plain_coco(tmp_path, 4)
    content = json.loads((tmp_path / "train.json").read_text())
    for index, entry in enumerate(content["annotations"]):
        # 0 is the first of the three boxes of image 3.
        entry.update(id=0 if index == 3 else index + 1, area=100.0 + index)
    (tmp_path / "train.json").write_text(json.dumps(content))
    only(tmp_path, "some", {1, 2, 3})
    run(coco_settings(tmp_path, tmp_path / "a", dataset_splits=of("some")))
    grown = coco_settings(tmp_path, tmp_path / "b", dataset_splits=of("train"))
    assert run(replace(grown, extend=str(tmp_path / "a"))) == 0


@pytest.mark.parametrize(
    "first", [set(range(1, 9)), {3, 4, 7, 11}, {9, 10, 11, 12}], ids=["before", "between", "after"]
)
def test_grown_is_converted_at_once(
    tmp_path: Path, first: set[int], capsys: pytest.CaptureFixture[str]
) -> None:
    write_plain_coco(tmp_path, 12)
    (tmp_path / "images" / "000003.jpg").write_bytes(b"broken")
    (tmp_path / "images" / "000010.jpg").write_bytes(b"broken")
    (tmp_path / "images" / "000012.jpg").unlink()
    only(tmp_path, "some", first)
    set_a, set_b, whole = tmp_path / "a", tmp_path / "b", tmp_path / "whole"
    run(coco_settings(tmp_path, set_a, dataset_splits=of("some"), shards=2))
    before = tree_bytes(set_a)
    settings = coco_settings(tmp_path, set_b, extend=str(set_a), shards=2)
    run(settings)
    run(coco_settings(tmp_path, whole, shards=2))
    assert tree_bytes(set_a) == before
    assert_same_but_for_the_cut(set_b, whole)
    parent, child = open_split(set_a, "train").manifest, open_split(set_b, "train").manifest
    assert child.source["parent"]["fingerprint"] == parent.fingerprint != child.fingerprint
    for shard in parent.shards:
        assert shard in child.shards
        for name in shard.digests:
            assert (set_a / "train" / name).samefile(set_b / "train" / name)
    assert len(child.shards) == len(parent.shards) + 2
    written = tree_bytes(set_b)
    capsys.readouterr()
    run(settings)
    assert "already there" in capsys.readouterr().out
    assert tree_bytes(set_b) == written
    # Nothing is new now: no third set appears.
    run(replace(settings, extend=str(set_b), out=str(tmp_path / "c")))
    assert "nothing to add" in capsys.readouterr().out
    assert not (tmp_path / "c").exists()


def test_every_defect_is_reported_as_at_once(tmp_path: Path) -> None:
    pathological(tmp_path)
    content = json.loads((tmp_path / "train.json").read_text())
    keep = {e["id"] for e in content["images"] if isinstance(e.get("id"), int)}
    some = sorted(keep)[::2]
    full = content["images"]
    content["images"] = [e for e in full if e.get("id") in some]
    content["annotations"] = [
        e for e in content["annotations"] if isinstance(e, dict) and e.get("image_id") in some
    ]
    (tmp_path / "some.json").write_text(json.dumps(content))
    run(coco_settings(tmp_path, tmp_path / "a", dataset_splits=of("some")))
    run(coco_settings(tmp_path, tmp_path / "b", extend=str(tmp_path / "a")))
    run(coco_settings(tmp_path, tmp_path / "whole"))
    assert_same_but_for_the_cut(tmp_path / "b", tmp_path / "whole")


def test_batches_of_a_grown_set_are_those_of_one_made_at_once(tmp_path: Path) -> None:
    write_plain_coco(tmp_path, 12)
    only(tmp_path, "some", {2, 5, 8, 11})
    run(coco_settings(tmp_path, tmp_path / "a", dataset_splits=of("some"), shards=2))
    run(coco_settings(tmp_path, tmp_path / "b", extend=str(tmp_path / "a"), shards=3))
    reader = RowReader(open_split(tmp_path / "b", "train"))
    assert reader.image_ids().tolist() == list(range(1, 13))
    assert [reader[k].image_id for k in range(12)] == list(range(1, 13))
    assert reader.shard_of(0).name == "train-00002.mindrecord"  # image 1 is new
    assert reader.shard_of(1).name == "train-00000.mindrecord"
    run(coco_settings(tmp_path, tmp_path / "whole"))
    grown, whole = (list(batches(tmp_path / out)) for out in ("b", "whole"))
    assert len(grown) == 5
    for ours, theirs in zip(grown, whole, strict=True):
        for name in ("images", "loc_targets", "labels", "image_ids"):
            assert np.array_equal(getattr(ours, name), getattr(theirs, name))


def batches(out: Path) -> Iterator[TrainBatch]:
    """Five augmented batches, over more than an epoch, from a start in the middle."""
    settings = PipelineSettings(workers=2)
    anchors = np.random.default_rng(0).uniform(0.1, 0.9, (40, 4)).astype(np.float32)
    pipeline = TrainPipeline(
        open_split(out, "train"), settings, AugmentSettings(), (64, 48),
        BoxEncoder(anchors), seed=1, batch_size=4,
    )  # fmt: skip
    try:
        yield from pipeline.batches(1, 6)
    finally:
        pipeline.close()


def other_source(root: Path, first: int = 1, count: int = 3) -> None:
    """A source of its own whose ids and annotation ids start at 1 again."""
    images, boxes = [], []
    for number in range(first, first + count):
        images.append({**image_entry(number), "file_name": f"more{number}.jpg"})
        boxes.append(box_entry(number, number, [1.0, 2.0, 20.0, 21.0], 9))
    write_coco(root, images, boxes, [{"id": 9, "name": "dog"}])


def test_a_source_of_only_new_images(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first, more = tmp_path / "first", tmp_path / "more"
    write_plain_coco(first, 6)
    (first / "images" / "000002.jpg").write_bytes(b"broken")
    other_source(more)
    (more / "images" / "more3.jpg").write_bytes(b"broken")
    run(coco_settings(first, tmp_path / "a"))
    run(coco_settings(more, tmp_path / "b", extend=str(tmp_path / "a")))
    assert "ids of new images are taken in the set; they get 7" in capsys.readouterr().out
    content = json.loads((tmp_path / "b/train/annotations.json").read_text())
    assert [e["id"] for e in content["images"]] == [1, 3, 4, 5, 6, 7, 8]
    assert [e["category_id"] for e in content["annotations"][-2:]] == [3, 3]  # "dog" of the set
    assert len({e["id"] for e in content["annotations"]}) == len(content["annotations"])
    report = json.loads((tmp_path / "b/train/report.json").read_text())
    assert report["found"]["images"] == 9
    assert report["written"]["images"] == 7
    assert sorted(report["files"]) == ["000002.jpg", "more3.jpg"]
    assert run_verify(tmp_path / "b") == 0


def test_retry_adds_what_was_mended(tmp_path: Path) -> None:
    write_plain_coco(tmp_path, 9)
    mended = {n: (tmp_path / f"images/00000{n}.jpg").read_bytes() for n in (2, 5, 8)}
    (tmp_path / "images/000002.jpg").write_bytes(b"broken")
    (tmp_path / "images/000005.jpg").unlink()
    (tmp_path / "images/000008.jpg").write_bytes(b"broken")
    run(coco_settings(tmp_path, tmp_path / "a", image=ImageSettings(max_side=64)))
    retry = ConvertSettings(
        dataset=DatasetSettings(root=str(tmp_path)),
        extend=str(tmp_path / "a"),
        retry=True,
        out=str(tmp_path / "b"),
    )
    with pytest.raises(DataError, match=r"(?s)none of the new images can be used.*000002"):
        run(retry)
    assert not (tmp_path / "b").exists()
    for number in (2, 5):
        (tmp_path / f"images/00000{number}.jpg").write_bytes(mended[number])
    run(retry)
    run(coco_settings(tmp_path, tmp_path / "whole", image=ImageSettings(max_side=64)))
    assert_same_but_for_the_cut(tmp_path / "b", tmp_path / "whole")
    assert json.loads((tmp_path / "b/train/report.json").read_text())["defects"] == {
        "undecodable_image": {"skip": 1}
    }


def test_a_retry_counts_what_the_set_had_and_not_what_else_is_new(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_plain_coco(tmp_path, 9)
    content = json.loads((tmp_path / "train.json").read_text())
    first = {i["id"] for i in content["images"][:7]}
    part = {
        **content,
        "images": [i for i in content["images"] if i["id"] in first],
        "annotations": [a for a in content["annotations"] if a["image_id"] in first],
    }
    name = part["images"][2]["file_name"]
    picture = (tmp_path / "images" / name).read_bytes()
    (tmp_path / "images" / name).write_bytes(b"broken")
    (tmp_path / "train.json").write_text(json.dumps(part))
    run(coco_settings(tmp_path, tmp_path / "a"))
    (tmp_path / "images" / name).write_bytes(picture)
    (tmp_path / "train.json").write_text(json.dumps(content))
    capsys.readouterr()
    run(coco_settings(tmp_path, tmp_path / "b", extend=str(tmp_path / "a"), retry=True))
    assert "not in the source" not in capsys.readouterr().out
    reports = [json.loads((tmp_path / s / "train/report.json").read_text()) for s in ("a", "b")]
    assert reports[0]["found"] == reports[1]["found"]
    assert reports[1]["written"]["images"] == 7


def test_nothing_to_retry_is_no_error_where_a_defect_cost_no_image(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_plain_coco(tmp_path, 5)
    content = json.loads((tmp_path / "train.json").read_text())
    alike = {**content["categories"][0], "id": 99, "name": content["categories"][0]["name"].upper()}
    content["categories"].append(alike)
    (tmp_path / "train.json").write_text(json.dumps(content))
    run(coco_settings(tmp_path, tmp_path / "a"))
    assert (
        "class_names_alike" in json.loads((tmp_path / "a/train/report.json").read_text())["defects"]
    )
    retry = coco_settings(tmp_path, tmp_path / "b", extend=str(tmp_path / "a"), retry=True)
    capsys.readouterr()
    assert run(retry) == 0 and "no image was skipped" in capsys.readouterr().out
    assert not (tmp_path / "b").exists()


def test_splits_that_do_not_grow_are_linked_as_they_are(tmp_path: Path) -> None:
    write_plain_coco(tmp_path, 6)
    write_plain_coco(tmp_path, 3, split="val", first=20)
    both = {**of("train"), "val": SplitSettings(annotations="val.json", images="images")}
    only(tmp_path, "some", {1, 2, 3})
    run(coco_settings(tmp_path, tmp_path / "a", dataset_splits={**both, **of("some")}))
    run(coco_settings(tmp_path, tmp_path / "b", dataset_splits=both, extend=str(tmp_path / "a")))
    assert (
        open_split(tmp_path / "b", "val").fingerprint
        == open_split(tmp_path / "a", "val").fingerprint
    )
    assert run_verify(tmp_path / "b") == 0


@pytest.mark.parametrize("what", ["picture", "box", "class", "crowd", "area"])
def test_a_source_that_changed_is_refused(tmp_path: Path, what: str) -> None:
    write_plain_coco(tmp_path, 6)
    only(tmp_path, "some", {1, 2, 3})
    run(coco_settings(tmp_path, tmp_path / "a", dataset_splits=of("some")))
    content = json.loads((tmp_path / "train.json").read_text())
    entry = next(e for e in content["annotations"] if e["image_id"] == 3)
    if what == "picture":
        (tmp_path / "images/000003.jpg").write_bytes(jpeg(43, 66, 99))
    elif what == "box":
        entry["bbox"][0] += 0.5
    elif what == "class":
        entry["category_id"] = 7 if entry["category_id"] != 7 else 1
    elif what == "crowd":
        entry["iscrowd"] = 1 - entry["iscrowd"]
    else:
        entry["area"] += 1
    (tmp_path / "train.json").write_text(json.dumps(content))
    before = tree_bytes(tmp_path / "a")
    with pytest.raises(DataError, match=r"(?s)1 of the 3 images .* differ:\n  000003.jpg"):
        run(coco_settings(tmp_path, tmp_path / "b", extend=str(tmp_path / "a")))
    assert not (tmp_path / "b").exists() and tree_bytes(tmp_path / "a") == before


def test_new_classes_come_last_and_only_when_asked(tmp_path: Path) -> None:
    write_plain_coco(tmp_path, 3)
    run(coco_settings(tmp_path, tmp_path / "a"))
    more = tmp_path / "more"
    categories = [{"id": 1, "name": "ant"}, {"id": 2, "name": "dog"}]
    write_coco(
        more,
        [{**image_entry(1), "file_name": "x.jpg"}],
        [box_entry(1, 1, [1, 2, 9, 9])],
        categories,
    )
    asked = coco_settings(more, tmp_path / "b", extend=str(tmp_path / "a"))
    with pytest.raises(DataError, match=r"has not: ant.*'dataset.classes=\[dog,ant\]'"):
        run(asked)
    run(replace(asked, dataset=replace(asked.dataset, classes=["dog", "ant"])))
    classes = open_split(tmp_path / "b", "train").classes
    assert [c.name for c in classes] == [*(str(c["name"]) for c in CATEGORIES), "ant"]
    assert [c.label for c in classes] == [1, 2, 3, 4]
    assert len({c.category_id for c in classes}) == 4
    reader = RowReader(open_split(tmp_path / "b", "train"))
    assert reader[len(reader) - 1].labels.tolist() == [4]
    assert run_verify(tmp_path / "b") == 0


def test_a_class_that_converting_at_once_puts_last_needs_no_word(tmp_path: Path) -> None:
    write_coco(tmp_path, [image_entry(1)], [box_entry(1, 1, [1, 2, 9, 9])], CATEGORIES[:1])
    run(coco_settings(tmp_path, tmp_path / "a"))
    entries = [image_entry(1), image_entry(2)]
    write_coco(tmp_path, entries, [box_entry(1, 1, [1, 2, 9, 9]), box_entry(2, 2, [1, 2, 9, 9], 3)])
    run(coco_settings(tmp_path, tmp_path / "b", extend=str(tmp_path / "a")))
    run(coco_settings(tmp_path, tmp_path / "whole"))
    assert_same_but_for_the_cut(tmp_path / "b", tmp_path / "whole")


def test_what_cannot_be_asked(tmp_path: Path) -> None:
    write_plain_coco(tmp_path, 3)
    set_a = str(tmp_path / "a")
    run(coco_settings(tmp_path, set_a))
    with pytest.raises(DataError, match=r"image.max_side: 0 there, 64 now"):
        run(coco_settings(tmp_path, tmp_path / "b", extend=set_a, image=ImageSettings(max_side=64)))
    with pytest.raises(UserError, match="the set itself"):
        run(coco_settings(tmp_path, set_a, extend=set_a))
    with pytest.raises(DataError, match="no converted set"):
        run(coco_settings(tmp_path, tmp_path / "b", extend=str(tmp_path / "images")))
    with pytest.raises(UserError, match="retry"):
        coco_settings(tmp_path, tmp_path / "b", retry=True)


def test_in_place_and_after_a_kill(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_plain_coco(tmp_path, 12)
    only(tmp_path, "some", {1, 2, 3, 4})
    set_a = tmp_path / "a"
    run(coco_settings(tmp_path, set_a, dataset_splits=of("some")))
    settings = coco_settings(tmp_path, set_a, extend=str(set_a), shards=4, overwrite=True)
    before = tree_bytes(set_a)
    with monkeypatch.context() as patch:
        patch.setattr(
            "data_tools.convert.extend.assemble_splits",
            lambda *_: (_ for _ in ()).throw(KeyboardInterrupt),
        )
        with pytest.raises(KeyboardInterrupt):
            run(settings)
    assert tree_bytes(set_a) == before
    run(settings)
    run(coco_settings(tmp_path, tmp_path / "whole", shards=4))
    assert_same_but_for_the_cut(set_a, tmp_path / "whole")


def test_a_source_without_ids_numbers_new_images_after_the_old(tmp_path: Path) -> None:
    for name in ("b", "d"):
        (tmp_path / "images").mkdir(exist_ok=True)
        (tmp_path / "labels").mkdir(exist_ok=True)
        (tmp_path / f"images/{name}.jpg").write_bytes(jpeg(40, 60, ord(name)))
        (tmp_path / f"labels/{name}.txt").write_text("0 0.5 0.5 0.2 0.4\n")
    dataset = DatasetSettings(
        kind="yolo",
        root=str(tmp_path),
        names=["cat"],
        splits={"train": SplitSettings(images="images", annotations="labels")},
    )
    run(ConvertSettings(dataset=dataset, out=str(tmp_path / "a")))
    for name in ("a", "c"):
        (tmp_path / f"images/{name}.jpg").write_bytes(jpeg(40, 60, ord(name)))
        (tmp_path / f"labels/{name}.txt").write_text("0 0.5 0.5 0.2 0.4\n")
    run(ConvertSettings(dataset=dataset, out=str(tmp_path / "b"), extend=str(tmp_path / "a")))
    content = json.loads((tmp_path / "b/train/annotations.json").read_text())
    assert [(e["id"], e["file_name"]) for e in content["images"]] == [
        (1, "b.jpg"), (2, "d.jpg"), (3, "a.jpg"), (4, "c.jpg"),
    ]  # fmt: skip
    assert np.unique([e["id"] for e in content["annotations"]]).size == 4
    assert run_verify(tmp_path / "b") == 0
