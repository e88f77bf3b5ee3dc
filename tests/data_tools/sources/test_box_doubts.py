"""Boxes that are hardly meant: pairs against every pair, each kind with each policy, and what stays
out of a conversion.
"""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from data_tools.command import run
from data_tools.convert.settings import PolicySettings
from data_tools.core.boxes import iou
from data_tools.shards.manifest import open_split
from data_tools.sources.box_doubts import CROWDED, deviations, overlapping_pairs
from data_tools.sources.raw_split import RawSplit
from data_tools.sources.read import read_source
from tests.helpers.raw_sets import box_entry, coco_settings, image_entry, write_coco

WHOLE = [0.3, 0.2, 59.5, 39.7]


def read(root: Path, boxes: list[Any], **policy: str) -> RawSplit:
    write_coco(root, [image_entry(k) for k in (1, 2)], boxes, pictures=False)
    settings = coco_settings(root)
    return read_source(settings.dataset, settings.content()["policy"] | policy).splits[0]


def found(split: RawSplit) -> list[tuple[str, int | None]]:
    return [(d.kind, d.annotation_id) for d in split.defects]


def test_pairs_of_a_crowd_are_those_of_a_comparison_of_all() -> None:
    rng = np.random.default_rng(6)
    boxes = np.zeros((900, 4))
    boxes[:, :2] = rng.integers(0, 5, (900, 2)) * 3.0
    # Sides whose ratio is the overlap's border, or a hair off it.
    boxes[:, 2:] = boxes[:, :2] + 10 * 0.9 ** rng.integers(0, 4, (900, 2)) * rng.choice(
        [1, 1 - 1e-12, 1 + 1e-12], (900, 2)
    )
    images = np.sort(rng.choice([0, 1, 2, 3], 900, p=[0.05, 0.05, 0.2, 0.7]))
    assert np.bincount(images).min() <= CROWDED < np.bincount(images).max()
    first, second, overlap = overlapping_pairs(boxes, images, 0.9)
    table = np.where(images[:, None] == images, iou(boxes, boxes), 0)
    wanted = np.argwhere(np.triu(table >= 0.9, 1))
    assert len(wanted) > 1000
    np.testing.assert_array_equal(np.stack([first, second], axis=1), wanted)
    np.testing.assert_array_equal(overlap, table[first, second])


def test_pairs_are_those_of_a_comparison_of_all() -> None:
    rng = np.random.default_rng(5)
    corners = rng.integers(0, 4, (300, 2)) * 8.0
    boxes = np.hstack([corners, corners + 10 + rng.integers(0, 2, (300, 2)) * 0.6])
    images = np.sort(rng.integers(0, 6, 300))
    first, second, overlap = overlapping_pairs(boxes, images, 0.9)
    table = iou(boxes, boxes)
    wanted = {
        (i, j): table[i, j]
        for i in range(300)
        for j in range(i + 1, 300)
        if images[i] == images[j] and table[i, j] >= 0.9
    }
    assert len(wanted) > 100 and any(v < 1 for v in wanted.values())
    assert dict(zip(zip(first, second, strict=True), overlap, strict=True)) == wanted
    assert not overlapping_pairs(boxes[:0], images[:0], 0.9)[0].size


def test_the_same_box_twice_and_of_two_classes(tmp_path: Path) -> None:
    boxes = [
        box_entry(1, 1, [10, 10, 20, 20]),
        box_entry(2, 1, [10.5, 10, 20, 20]),  # 0.951 of the first
        box_entry(3, 1, [10, 10.5, 20, 20], 3),  # and of both another class
        box_entry(4, 2, [10, 10, 20, 20]),  # another image
        box_entry(5, 2, [10, 12, 20, 20]),  # 0.818
        box_entry(6, 2, [10, 10, 20, 20], iscrowd=1),  # crowds cover what they like
    ]
    split = read(tmp_path, boxes)
    assert found(split) == [("similar_box", 2), ("classes_overlap", 3)]
    assert "'cat' overlaps by 0.951 that of 'cat' at" in split.defects[0].detail
    assert "'dog' overlaps by 0.951 that of 'cat' at [y1, x1" in split.defects[1].detail
    left = read(tmp_path, boxes, similar_box="skip", classes_overlap="skip")
    assert left.table.annotation_ids.tolist() == [1, 4, 5, 6]
    assert [d.action for d in left.defects] == ["skip", "skip"]


def test_areas_of_something_else(tmp_path: Path) -> None:
    areas = [400, 419, 421, 4, 3.9]  # of a box of 400: as it is, rounding, too much, thin, too thin
    boxes = [box_entry(k, 1, [9 * k, 1, 20, 20]) | {"area": a} for k, a in enumerate(areas, 1)]
    split = read(tmp_path, boxes)
    assert found(split) == [("area_mismatch", 3), ("area_mismatch", 5)]
    assert split.table.areas_px.tolist() == areas
    fixed = read(tmp_path, boxes, area_mismatch="fix").table.areas_px.tolist()
    assert fixed == [400, 419, 400, 4, 400]


def test_boxes_far_from_their_class(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    boxes = [
        box_entry(k, 1 + k % 2, [1, 1, *(float(v) for v in 10 * np.exp(rng.normal(0, 0.1, 2)))])
        for k in range(1, 31)
    ]
    boxes += [
        box_entry(50, 1, [1, 1, 50, 45]),  # five times as large
        box_entry(51, 1, [1, 1, 22, 4.5]),  # five times as wide as high
        *[box_entry(60 + k, 2, [1, 1, 40, 1 + 2 * k], 3) for k in range(4)],  # too few to tell
    ]
    far = [("size_far_off", 50), ("aspect_far_off", 51)]
    split = read(tmp_path, boxes)
    assert [entry for entry in found(split) if "far_off" in entry[0]] == far
    assert "times the median of 'cat'" in split.defects[-1].detail
    left = read(tmp_path, boxes, size_far_off="skip", aspect_far_off="skip")
    assert len(split.table.category_ids) - len(left.table.category_ids) == 2


def test_deviations_by_hand() -> None:
    values = np.exp(np.concatenate([np.arange(21) - 10.0, [50.0], [1.0, 2.0]]))
    ratio, far = deviations(values, np.array([1] * 22 + [2, 2]))
    # Of class 1 the median is 0.5; the deviations 0.5, 0.5, 1.5, 1.5, ... have the median 5.5.
    np.testing.assert_allclose(far[21], 49.5 / (1.4826 * 5.5))
    np.testing.assert_allclose(ratio[11], np.exp(0.5))
    assert far[22:].tolist() == [0, 0]
    alike = deviations(np.array([8.0] * 30 + [16.0]), np.zeros(31, np.int64))[1]
    np.testing.assert_allclose(alike[-1], np.log(2) / 0.1)


@pytest.mark.parametrize("action", ["keep", "skip"])
def test_boxes_of_whole_pictures(tmp_path: Path, action: str) -> None:
    boxes = [
        box_entry(1, 1, WHOLE),
        box_entry(2, 1, [2, 0, 58, 40]),  # two of sixty pixels are three per cent
        box_entry(3, 2, [-5, -5, 90, 90]),  # cut to the picture
        box_entry(4, 2, [0, 0, 60, 40], iscrowd=1),
    ]
    write_coco(tmp_path, [image_entry(k) for k in (1, 2)], boxes)
    policy = PolicySettings(box_whole_image=action)
    out = tmp_path / "out"
    assert run(coco_settings(tmp_path, out, policy=policy)) == 0
    report = json.loads((out / "train/report.json").read_text())
    assert report["defects"]["box_whole_image"] == {action: 2}

    truth = json.loads((out / "train/annotations.json").read_text())["annotations"]
    ids = [entry["id"] for entry in truth]
    assert ids == ([1, 2, 3, 4] if action == "keep" else [2, 4])
    # The audit counts the same, and a set made with the defaults is what it was before these kinds.
    check = coco_settings(tmp_path, check=True, check_out=str(tmp_path / "check"), policy=policy)
    assert run(check) == 0
    split = json.loads((tmp_path / "check/audit.json").read_text())["splits"]["train"]
    assert split["defects"]["box_whole_image"] == {action: 2}
    named = open_split(out, "train").manifest.settings["policy"]
    assert ("box_whole_image" in named) == (action == "skip")


def test_a_box_that_is_left_out_may_be_the_last(tmp_path: Path) -> None:
    copies = [box_entry(k, k, WHOLE) for k in (1, 2)]
    write_coco(
        tmp_path, [image_entry(k) for k in (1, 2, 3)], [*copies, box_entry(3, 3, [1, 1, 9, 9])]
    )
    settings = coco_settings(
        tmp_path, tmp_path / "out", policy=PolicySettings(box_whole_image="skip")
    )
    assert run(settings) == 0
    report = json.loads((tmp_path / "out/train/report.json").read_text())
    assert Counter({k: sum(v.values()) for k, v in report["defects"].items()}) == {
        "box_whole_image": 2,
        "lost_all_boxes": 2,
    }
