"""What is legal and hardly meant: copies of boxes, areas of nothing, classes that look alike or
that nothing uses.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from data_tools.sources.raw_split import RawDataset
from data_tools.sources.read import read_source
from tests.helpers.raw_sets import box_entry, coco_settings, image_entry, write_coco


def read(root: Path, boxes: list[Any], categories: Any = None, **policy: str) -> RawDataset:
    write_coco(root, [image_entry(1), image_entry(2)], boxes, categories, pictures=False)
    settings = coco_settings(root)
    return read_source(settings.dataset, settings.content()["policy"] | policy)


def kinds(raw: RawDataset) -> list[tuple[str, str]]:
    return [(d.kind, d.action) for d in raw.splits[0].defects]


def test_copies_of_boxes(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    rows = [
        (int(rng.integers(1, 3)), int(rng.choice([1, 3])), int(rng.integers(0, 2)),
         *rng.integers(1, 3, 4))
        for _ in range(60)
    ]  # fmt: skip
    boxes = [
        box_entry(k, row[0], [float(v) for v in row[3:]], row[1], iscrowd=row[2])
        for k, row in enumerate(rows, 1)
    ]
    copies = sum(row in rows[:k] for k, row in enumerate(rows))
    assert 5 < copies < 50
    kept = read(tmp_path, boxes)
    assert kinds(kept)[:copies] == [("duplicate_box", "keep")] * copies
    assert {kind for kind, _ in kinds(kept)[copies:]} == {"classes_overlap"}
    assert len(kept.splits[0].table.category_ids) == 60
    left = read(tmp_path, boxes, duplicate_box="skip").splits[0].table
    firsts = [k for k, row in enumerate(rows, 1) if row not in rows[: k - 1]]
    assert sorted(left.annotation_ids.tolist()) == firsts


@pytest.mark.parametrize("area", [-900, 0, -0.0, "-5"])
def test_areas_that_cannot_be(tmp_path: Path, area: Any) -> None:
    boxes = [box_entry(1, 1, [1, 1, 5, 6]), box_entry(2, 1, [2, 2, 6, 7]) | {"area": area}]
    raw = read(tmp_path, boxes)
    assert raw.splits[0].table.areas_px.tolist() == [30, 42]
    assert kinds(raw) == [("area_not_positive", "fix")]
    assert read(tmp_path, boxes, area_not_positive="keep").splits[0].table.areas_px[1] <= 0


def test_names_that_look_alike(tmp_path: Path) -> None:
    categories = [
        {"id": k, "name": n} for k, n in enumerate(["King ", "king", "big  cat", "Big cat", "x"])
    ]
    raw = read(tmp_path, [box_entry(1, 1, [1, 1, 5, 6])], categories)
    assert kinds(raw) == [("class_names_alike", "keep")] * 2
    assert "'King ', 'king'" in raw.splits[0].defects[0].detail


@pytest.mark.parametrize("order", [1, -1])
def test_a_parent_without_boxes(tmp_path: Path, order: int) -> None:
    """Roboflow's root: named in the report; where a child has its name, the child is the class."""
    root: dict[str, Any] = {"id": 0, "name": "pets", "supercategory": "none"}
    cat = {"id": 1, "name": "cat", "supercategory": "pets"}
    box = box_entry(1, 1, [1, 1, 5, 6])
    raw = read(tmp_path, [box], [root, cat][::order])
    assert kinds(raw) == [("unused_class", "keep")] and len(raw.classes.classes) == 2
    assert "dataset.classes=['cat']" in raw.splits[0].defects[0].detail
    same = [root | {"name": "cat"}, cat | {"supercategory": "cat"}][::order]
    raw = read(tmp_path, [box], same)
    assert kinds(raw) == [("unused_class", "skip")]
    assert [(c.name, c.category_id) for c in raw.classes.classes] == [("cat", 1)]
    own = {"id": 1, "name": "cat", "supercategory": "cat"}  # as COCO's person
    assert kinds(read(tmp_path, [box], [own, root | {"name": "dog"}])) == []
