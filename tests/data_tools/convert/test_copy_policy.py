"""Copies of pictures in a raw set: each kind is named in the audit, and left out as the policy
says.
"""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from data_tools.audit.audit import run_audit
from data_tools.audit.report import render
from data_tools.command import run
from data_tools.convert.copy_boxes import box_difference
from data_tools.convert.settings import ConvertSettings, PolicySettings
from data_tools.shards.manifest import read_manifest
from data_tools.sources.defect_kinds import KINDS
from data_tools.sources.defects import PolicyError
from data_tools.sources.settings import SplitSettings
from tests.helpers.raw_sets import box_entry, coco_settings, image_entry, write_coco
from tests.helpers.scenes import jpeg, scene

SPLITS = {n: SplitSettings(annotations=f"{n}.json", images="images") for n in ("val", "train")}


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    """Train: 2 has the bytes of 1 and another box, 3 the pixels of 1, 4 is 5 made darker. Val: 11
    is 5, 12 is new.
    """
    root = tmp_path / "raw"
    train, val = (
        [image_entry(k, 80, 120) for k in range(1, 7)],
        [image_entry(k, 80, 120) for k in (11, 12)],
    )
    box = [10.0, 10.0, 40.0, 30.0]
    wide = [10.0, 10.0, 50.0, 30.0]
    for split, entries in (("train", train), ("val", val)):
        boxes = [box_entry(e["id"], e["id"], wide if e["id"] == 2 else box) for e in entries]
        write_coco(root, entries, boxes, split=split)
    files = {k: jpeg(scene(k, 80, 120)) for k in (1, 5, 6, 12)}
    files |= {2: files[1], 11: files[5]}
    decoded = cv2.imdecode(np.frombuffer(files[1], np.uint8), cv2.IMREAD_COLOR)
    files[3] = cv2.imencode(".png", decoded)[1].tobytes()
    files[4] = jpeg(cv2.convertScaleAbs(scene(5, 80, 120), alpha=0.9), 60)
    for number, data in files.items():
        (root / f"images/{number:06d}.jpg").write_bytes(data)
    return root


def settings(raw: Path, out: Path, **policy: str) -> ConvertSettings:
    return coco_settings(raw, out, dataset_splits=SPLITS, policy=PolicySettings(**policy))


def images(out: Path, split: str) -> list[int]:
    content: Any = json.loads((out / split / "annotations.json").read_text())
    return [entry["id"] for entry in content["images"]]


def test_the_audit_names_each_copy(raw: Path, tmp_path: Path, capsys: Any) -> None:
    given = settings(raw, "")
    given.check, given.check_out = True, str(tmp_path / "check")
    assert run_audit(given, None) == 0
    with open(tmp_path / "check/audit.csv", newline="", encoding="utf-8") as file:
        found = {row["image_id"]: (row["defects"], row["details"]) for row in csv.DictReader(file)}
    assert {k: v for k, (v, _) in found.items()} == {
        "1": "copies_disagree",
        "2": "duplicate_image; copies_disagree",
        "3": "duplicate_image",
        "4": "leak",
        "5": "similar_image; leak",
        "6": "",
        "11": "",
        "12": "",
    }
    assert "equal bytes as 000001.jpg of train" in found["2"][1]
    assert "overlap by 0.80" in found["2"][1]
    assert "equal pixels as 000001.jpg" in found["3"][1]
    assert "equal bytes as 000011.jpg of val" in found["5"][1]
    assert "nearly equal to 000004.jpg of train" in found["5"][1]
    assert "  leak                            2  keep" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("policy", "left"),
    [
        ({"duplicate_image": "skip"}, [1, 4, 5, 6]),
        ({"similar_image": "skip"}, [1, 2, 3, 4, 6]),
        ({"copies_disagree": "skip"}, [3, 4, 5, 6]),
        ({"leak": "skip"}, [1, 2, 3, 6]),
        ({"leak": "skip", "duplicate_image": "skip", "similar_image": "skip"}, [1, 6]),
    ],
)
def test_skip_leaves_out_what_it_says(
    raw: Path, tmp_path: Path, policy: dict[str, str], left: list[int]
) -> None:
    out = tmp_path / "out"
    run(settings(raw, out, **policy))
    assert images(out, "train") == left and images(out, "val") == [11, 12]
    report = json.loads((out / "train/report.json").read_text())
    assert report["left_out"]["images"] == 6 - len(left)
    assert {k for k, v in report["defects"].items() if "skip" in v} == set(policy)


def test_error_stops_and_keep_changes_nothing(raw: Path, tmp_path: Path) -> None:
    with pytest.raises(PolicyError, match="2 leak"):
        run(settings(raw, tmp_path / "out", leak="error"))
    assert not (tmp_path / "out").exists()
    run(settings(raw, tmp_path / "out"))
    assert images(tmp_path / "out", "train") == [1, 2, 3, 4, 5, 6]
    manifest = read_manifest(tmp_path / "out/train")
    assert not {"leak", "duplicate_image"} & set(manifest.settings["policy"])
    assert json.loads((tmp_path / "out/train/report.json").read_text())["defects"] == {}


def test_boxes_of_copies_by_hand() -> None:
    two = np.array([[0.0, 0.0, 0.5, 0.5], [0.5, 0.5, 1.0, 1.0]])
    cat_dog, size = ["cat", "dog"], (100, 100)
    assert box_difference(two, cat_dog, two[::-1], cat_dog[::-1], size) == ""
    assert box_difference(two, cat_dog, two + 0.009, cat_dog, size) == ""
    assert "overlap" in box_difference(two, cat_dog, two + [0.02, 0, 0, 0], cat_dog, size)
    assert box_difference(two, cat_dog, two + [0.02, 0, 0, 0], cat_dog, None) == ""
    assert "overlap" in box_difference(two, cat_dog, two + [0.2, 0, 0, 0], cat_dog, None)
    assert "2 boxes here, 1 there" in box_difference(two, cat_dog, two[:1], ["cat"], size)
    assert "classes differ" in box_difference(two, cat_dog, two, ["cat", "cat"], size)
    assert box_difference(two[:0], [], two[:0], [], size) == ""


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_every_kind_of_defect_has_a_line_in_the_audit(kind: str) -> None:
    """Also those whose policy no manifest names because it is the default."""
    split = {
        "found": {"images": 1, "boxes": 1},
        "usable": {"images": 1, "boxes": 1},
        "images_without_boxes": 0,
        "crowd_boxes": 0,
        "defects": {kind: {"keep": 7}},
        "boxes_by_class": {},
        "boxes_by_size": {},
        "boxes_by_side_px": {},
        "boxes_by_aspect": {},
    }
    (line,) = [
        x for x in render({"splits": {"a": split}}, ConvertSettings()).splitlines() if kind in x
    ]
    assert line.split()[:3] == [kind, "7", KINDS[kind].actions[0]]
