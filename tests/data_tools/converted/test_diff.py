"""What differs between two converted sets is named: every change that was made, and nothing
else.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from data_tools.command import run
from data_tools.convert.settings import ConvertSettings, ImageSettings
from data_tools.converted import diff
from data_tools.converted.box_changes import Boxes, Change, box_changes, renamed_classes
from data_tools.core.errors import DataError, SettingError
from data_tools.sources.settings import SplitSettings
from tests.helpers.raw_sets import (
    CATEGORIES,
    box_entry,
    coco_settings,
    image_entry,
    jpeg,
    write_coco,
    write_plain_coco,
)


def compared(tmp_path: Path, before: Path, after: Path, **more: Any) -> dict[str, Any]:
    out = tmp_path / "diff"
    assert run(ConvertSettings(diff=[str(before), str(after)], out=str(out), **more)) == 0
    content: dict[str, Any] = json.loads((out / "diff.json").read_text())
    return content


def edit(root: Path, name: str, change: Any) -> None:
    content = json.loads((root / f"{name}.json").read_text())
    change(content)
    (root / f"{name}.json").write_text(json.dumps(content))


def test_every_change_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = tmp_path / "raw"
    images = [image_entry(k) for k in range(1, 8)]
    boxes = [
        box_entry(10 * k + j, k, [2.0 + 18 * j, 3.0, 12.0, 14.0], [1, 3, 7][j])
        for k in range(1, 8)
        for j in range(3)
    ]
    write_coco(root, images, boxes)
    write_plain_coco(root, 3, split="val", first=20)
    splits = {
        name: SplitSettings(annotations=f"{name}.json", images="images")
        for name in ("train", "val")
    }
    run(coco_settings(root, tmp_path / "a", dataset_splits=splits))

    def change(content: dict[str, Any]) -> None:
        by_id = {e["id"]: e for e in content["annotations"]}
        by_id[10]["bbox"][0] += 3.0  # moved
        by_id[21]["category_id"] = 7  # another class
        by_id[32]["iscrowd"] = 1
        content["annotations"].remove(by_id[41])
        content["annotations"].append(box_entry(99, 4, [40.0, 20.0, 9.0, 9.0], 3))
        content["images"] = [e for e in content["images"] if e["id"] != 6]
        content["annotations"] = [e for e in content["annotations"] if e["image_id"] != 6]
        content["images"].append(image_entry(9))
        content["annotations"].append(box_entry(98, 9, [1.0, 2.0, 9.0, 9.0], 3))
        content["categories"][2]["name"] = "bird"

    edit(root, "train", change)
    edit(root, "val", lambda content: content["categories"][2].update(name="bird"))
    (root / "images/000005.jpg").write_bytes(jpeg(40, 60, 77))
    (root / "images/000009.jpg").write_bytes(jpeg(40, 60, 9))
    run(coco_settings(root, tmp_path / "b", dataset_splits=splits))
    capsys.readouterr()
    content = compared(tmp_path, tmp_path / "a", tmp_path / "b")
    assert content["classes"] == {
        "added": [],
        "removed": [],
        "renamed": {"big bird": "bird"},
        "other_label": {},
    }
    assert content["counts"] == {
        "train": {
            "boxes added": 1,
            "boxes added with their images": 1,
            "boxes class": 1,
            "boxes flags": 1,
            "boxes moved": 1,
            "boxes removed": 1,
            "boxes removed with their images": 3,
            "images added": 1,
            "images picture": 1,
            "images removed": 1,
        },
        "val": {},
    }
    assert [e["file_name"] for e in content["images"]["removed"]] == ["000006.jpg"]
    assert [e["file_name"] for e in content["images"]["added"]] == ["000009.jpg"]
    changed = {e["file_name"]: e for e in content["images"]["changed"]}
    assert sorted(changed) == [f"00000{k}.jpg" for k in (1, 2, 3, 4, 5)]
    assert changed["000001.jpg"]["boxes"] == [
        {
            "change": "moved",
            "before": {"class": "cat", "bbox": [2.0, 3.0, 12.0, 14.0]},
            "after": {"class": "cat", "bbox": [5.0, 3.0, 12.0, 14.0]},
        }
    ]
    assert changed["000002.jpg"]["boxes"][0]["after"]["class"] == "bird"
    assert changed["000005.jpg"]["picture"] and not changed["000005.jpg"]["boxes"]
    printed = capsys.readouterr().out
    assert "class big bird is called bird" in printed
    lines = {line[:28].strip(): line[28:].split() for line in printed.splitlines()}
    assert lines["boxes moved"] == ["1", "0"]
    sheet = cv2.imread(str(tmp_path / "diff/diff.png"))
    assert sheet is not None and sheet.std() > 10


def test_images_that_one_set_alone_has_are_on_the_sheet(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_plain_coco(tmp_path, 4)
    run(coco_settings(tmp_path, tmp_path / "a"))

    def change(content: dict[str, Any]) -> None:
        content["images"] = [e for e in content["images"] if e["id"] != 2]
        content["images"].append(image_entry(9))  # without objects
        content["annotations"] = [e for e in content["annotations"] if e["image_id"] != 2]
        content["annotations"][0]["bbox"][0] += 3.0

    edit(tmp_path, "train", change)
    (tmp_path / "images/000009.jpg").write_bytes(jpeg(40, 60, 9))
    run(coco_settings(tmp_path, tmp_path / "b"))
    drawn: list[Any] = []
    draw = diff.draw_changes
    monkeypatch.setattr(diff, "draw_changes", lambda images: draw(drawn.append(images) or images))
    compared(tmp_path, tmp_path / "a", tmp_path / "b")
    (entries,) = drawn
    assert [(entry[5], {c.kind for c in entry[4]}) for entry in entries] == [
        ("train/000001.jpg", {"moved"}),
        ("image removed: train/000002.jpg", {"removed"}),
        ("image added: train/000009.jpg", set()),
    ]
    assert cv2.imread(str(tmp_path / "diff/diff.png")) is not None


def test_a_set_does_not_differ_from_itself(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_plain_coco(tmp_path, 8)
    run(coco_settings(tmp_path, tmp_path / "a", shards=1))
    run(coco_settings(tmp_path, tmp_path / "b", shards=3))
    content = compared(tmp_path, tmp_path / "a", tmp_path / "b")
    assert not any(content["images"].values()) and not any(content["classes"].values())
    assert "no difference" in capsys.readouterr().out
    assert not (tmp_path / "diff/diff.png").exists()


def test_images_that_changed_their_split_or_name_have_moved(tmp_path: Path) -> None:
    write_plain_coco(tmp_path, 8)
    write_plain_coco(tmp_path, 3, split="val", first=20)
    splits = {
        name: SplitSettings(annotations=f"{name}.json", images="images")
        for name in ("train", "val")
    }
    run(coco_settings(tmp_path, tmp_path / "a", dataset_splits=splits))
    train = json.loads((tmp_path / "train.json").read_text())
    moved = train["images"].pop(4)
    mine = [e for e in train["annotations"] if e["image_id"] == moved["id"]]
    train["annotations"] = [e for e in train["annotations"] if e not in mine]
    (tmp_path / "images/000001.jpg").rename(tmp_path / "images/new.jpg")
    train["images"][0]["file_name"] = "new.jpg"
    (tmp_path / "train.json").write_text(json.dumps(train))

    def take(content: dict[str, Any]) -> None:
        content["images"].append(moved)
        content["annotations"] += [{**e, "id": e["id"] + 900} for e in mine]

    edit(tmp_path, "val", take)
    run(coco_settings(tmp_path, tmp_path / "b", dataset_splits=splits))
    content = compared(tmp_path, tmp_path / "a", tmp_path / "b")
    assert content["images"]["moved"] == [
        {"from": "train/000001.jpg", "to": "train/new.jpg"},
        {"from": "train/000005.jpg", "to": "val/000005.jpg"},
    ]
    assert not content["images"]["changed"]
    assert not content["images"]["added"] and not content["images"]["removed"]


def test_smaller_pictures_have_the_same_boxes(tmp_path: Path) -> None:
    write_coco(tmp_path, [image_entry(1, 80, 120)], [box_entry(1, 1, [10.0, 20.0, 40.0, 30.0])])
    run(coco_settings(tmp_path, tmp_path / "a"))
    run(coco_settings(tmp_path, tmp_path / "b", image=ImageSettings(max_side=60)))
    content = compared(tmp_path, tmp_path / "a", tmp_path / "b")
    assert [(e["picture"], e["boxes"]) for e in content["images"]["changed"]] == [(True, [])]


def test_classes_in_another_order_are_told(tmp_path: Path) -> None:
    write_plain_coco(tmp_path, 6)
    run(coco_settings(tmp_path, tmp_path / "a"))
    names = [str(entry["name"]) for entry in CATEGORIES]
    run(coco_settings(tmp_path, tmp_path / "b", dataset_classes=[names[1], names[0]]))
    classes = compared(tmp_path, tmp_path / "a", tmp_path / "b")["classes"]
    assert classes["other_label"] == {"cat": [1, 2], "dog": [2, 1]}
    assert classes["removed"] == ["big bird"]


def test_what_is_no_set_is_refused(tmp_path: Path) -> None:
    write_plain_coco(tmp_path, 3)
    run(coco_settings(tmp_path, tmp_path / "a"))
    with pytest.raises(DataError, match="no converted set"):
        compared(tmp_path, tmp_path / "a", tmp_path / "images")
    with pytest.raises(SettingError, match="expected two folders"):
        run(ConvertSettings(diff=[str(tmp_path / "a")]))
    with pytest.raises(SettingError, match="a converted set"):
        run(ConvertSettings(diff=[str(tmp_path / "a")] * 2, out=str(tmp_path / "a")))


def boxes(*entries: tuple[list[float], str]) -> Boxes:
    corners = np.array([corner for corner, _ in entries], float).reshape(-1, 4)
    return Boxes(corners, [name for _, name in entries], [(False, False)] * len(entries))


def test_random_edits_are_found_again() -> None:
    """Boxes far apart are edited at random; the changes are those that were made."""
    rng = np.random.default_rng(3)
    for _ in range(200):
        count = int(rng.integers(0, 12))
        places = rng.permutation(16)[:count]
        before = [
            ([100.0 * (p // 4), 100.0 * (p % 4), 100.0 * (p // 4) + 40, 100.0 * (p % 4) + 30],
             "ab"[k % 2])
            for k, p in enumerate(places)
        ]  # fmt: skip
        after, expected = [], []
        for k, (corners, name) in enumerate(before):
            what = rng.choice(["same", "removed", "moved", "class"])
            if what == "removed":
                expected.append(("removed", k))
                continue
            shift = float(rng.uniform(0.1, 5.0)) if what == "moved" else 0.0
            other = {"a": "b", "b": "a"}[name] if what == "class" else name
            after.append(([v + shift for v in corners], other))
            if what != "same":
                expected.append((what, k))
        after.append(([900.0, 900.0, 950.0, 950.0], "a"))
        order = rng.permutation(len(after))
        changes = box_changes(boxes(*before), boxes(*[after[k] for k in order]), {})
        assert [(c.kind, c.before) for c in changes[:-1]] == expected
        assert changes[-1] == Change("added", None, int(np.flatnonzero(order == len(after) - 1)[0]))


def test_crowded_boxes_keep_their_own_place() -> None:
    """A box that stayed is never paired with a neighbour that overlaps it."""
    first = boxes(([0, 0, 10, 10], "a"), ([0, 2, 10, 12], "a"))
    second = boxes(([0, 2, 10, 12], "a"), ([0, 1, 10, 11], "a"))
    assert box_changes(first, second, {}) == [Change("moved", 0, 1)]


def test_classes_are_renamed_where_most_of_their_boxes_are() -> None:
    first = boxes(([0, 0, 10, 10], "old"), ([20, 0, 30, 10], "old"), ([40, 0, 50, 10], "kept"))
    second = boxes(([0, 0, 10, 10], "new"), ([20, 0, 30, 10], "new"), ([40, 0, 50, 10], "kept"))
    ids = {"old": 1, "kept": 2}, {"new": 7, "kept": 2}
    assert renamed_classes([(first, second)], *ids) == {"old": "new"}
    split_up = boxes(([0, 0, 10, 10], "new"), ([20, 0, 30, 10], "kept"), ([40, 0, 50, 10], "kept"))
    assert renamed_classes([(first, split_up)], *ids) == {}
    assert renamed_classes([], {"old": 1}, {"new": 1}) == {"old": "new"}
    assert renamed_classes([], {"old": 1}, {"new": 2}) == {}
