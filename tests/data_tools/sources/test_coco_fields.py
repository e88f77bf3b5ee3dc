"""Fields of COCO entries as exporters write them: the right type, a conversion, or a defect."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from data_tools.sources import coco_fields as fields
from data_tools.sources.defects import DefectLog
from data_tools.sources.raw_split import RawSplit
from data_tools.sources.read import read_source
from tests.helpers.raw_sets import CATEGORIES, box_entry, coco_settings, image_entry, write_coco


def read(root: Path, boxes: list[Any], **more: Any) -> RawSplit:
    images = more.pop("images", [image_entry(1), image_entry(2)])
    write_coco(root, images, boxes, pictures=False)
    if "categories" in more:
        content = json.loads((root / "train.json").read_text())
        (root / "train.json").write_text(json.dumps(content | more))
    settings = coco_settings(root)
    return read_source(settings.dataset, settings.content()["policy"]).splits[0]


NO = [None, 0, 0.0, False, "0", "false", "False", " no ", math.nan, "", "nan"]
YES = [1, 1.0, True, "1", "true", "True"]


@pytest.mark.parametrize("field", ["iscrowd", "ignore"])
def test_flags(tmp_path: Path, field: str) -> None:
    odd = [2, -1, "x", [], {}, 0.5, math.inf]
    values: list[Any] = [*NO, *YES, *odd]
    boxes = [box_entry(k, 1, [k, 1, 5, 5], **{field: v}) for k, v in enumerate(values, 1)]
    split = read(tmp_path, boxes)
    found = split.table.iscrowd if field == "iscrowd" else split.table.difficult
    assert found.tolist() == [False] * len(NO) + [True] * len(YES)
    assert [d.kind for d in split.defects] == ["malformed_entry"] * len(odd)


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        ([1, 2, 3, 4], [1, 2, 3, 4]),
        (["1", "2.5", 3, 4.0], [1, 2.5, 3, 4]),
        ("[1, 2, 3.5, 4]", [1, 2, 3.5, 4]),
        *[(bad, None) for bad in ("1234", "x", {"a": 1}, [True, 1, 2, 3], ["1_0", 1, 2, 3], 7)],
        *[(bad, None) for bad in ([1, 2, 3], [1, 2, 3, None], [[1], 2, 3, 4], "[1,2,3]")],
    ],
)
def test_boxes(value: Any, wanted: list[float] | None) -> None:
    if wanted is not None:
        assert fields.box(value) == wanted
        return
    with pytest.raises(ValueError):
        fields.box(value)


def test_outlines_and_masks_give_their_extent() -> None:
    pycocotools = pytest.importorskip("pycocotools.mask")
    rng = np.random.default_rng(0)
    for trial in range(60):
        height, width = (int(n) for n in rng.integers(1, 40, 2))
        mask = rng.random((height, width)) < rng.choice([0.02, 0.5, 0.98])
        if not mask.any():
            continue
        if trial % 3 == 0:
            mask[: height // 2], mask[:, : width // 2] = False, False
        coded = pycocotools.encode(np.asfortranarray(mask.astype(np.uint8)))
        text = {"size": coded["size"], "counts": coded["counts"].decode()}
        rows, columns = np.nonzero(mask)
        if not len(rows):
            with pytest.raises(ValueError, match="empty"):
                fields.outline_extent(text)
            continue
        low = [int(columns.min()), int(rows.min())]
        wanted = [*low, int(columns.max()) - low[0] + 1, int(rows.max()) - low[1] + 1]
        assert fields.outline_extent(text) == wanted
        flat = mask.T.reshape(-1).astype(int)
        edges = np.flatnonzero(np.diff(np.concatenate([[0], flat]))).tolist()
        counts = np.diff([0, *edges, flat.size]).tolist()
        assert fields.outline_extent({"size": [height, width], "counts": counts}) == wanted
    assert fields.outline_extent([[1, 2, 5, 2, 5, 9], [0, 4, "2", 4]]) == [0, 2, 5, 7]
    assert fields.outline_extent([1, 2, 5, 2, 5, 9]) == [1, 2, 4, 7]


@pytest.mark.parametrize(
    "value",
    [
        None, [], [[]], [[1, 2, 3]], "x", {}, [[1, None, 2, 3]], [[True, 1, 2, 3]],
        {"size": [4, 4], "counts": "PPYo0"}, {"size": [4, 4], "counts": [16]},
        {"size": [4, 4], "counts": [-1, 17]}, {"size": [1 << 29, 1 << 29], "counts": [1 << 58]},
        {"size": [4, 4], "counts": "p" * 50}, {"size": "x", "counts": [1]}, {"size": [4, 4]},
    ],
)  # fmt: skip
def test_no_extent(value: Any) -> None:
    with pytest.raises(ValueError):
        fields.outline_extent(value)


def test_boxes_from_outlines_are_counted(tmp_path: Path) -> None:
    outline = {"segmentation": [[10, 10, 40, 10, 40, 30]]}
    boxes = [
        {"id": 1, "image_id": 1, "category_id": 1, **outline},
        {"id": 2, "image_id": 1, "category_id": 1, "bbox": [], "area": 7, "iscrowd": 1, **outline},
        {"id": 3, "image_id": 1, "category_id": 1, "bbox": None, "segmentation": []},
    ]
    split = read(tmp_path, boxes)
    assert split.table.boxes_yxyx_px.tolist() == [[10, 10, 30, 40]] * 2
    assert split.table.areas_px.tolist() == [600, 7]
    assert [d.kind for d in split.defects] == ["extent_taken", "extent_taken", "malformed_box"]


def test_annotation_ids_are_not_needed(tmp_path: Path) -> None:
    odd: list[Any] = [None, 13572468109876543210, 1.5, True, [], "7f3c", math.nan, 0, 0, -1]
    boxes = [box_entry(1, 1, [1 + k, 1, 5, 5]) | {"id": v} for k, v in enumerate(odd)]
    split = read(tmp_path, [*boxes, box_entry(4, 1, [1, 1, 9, 9])])
    ids = split.table.annotation_ids.tolist()
    assert not split.defects and len(set(ids)) == len(ids) == len(odd) + 1 and min(ids) > 0


def test_texts_and_hashes_as_ids_are_named_in_messages(tmp_path: Path) -> None:
    images = [image_entry(1) | {"id": v} for v in ("im-a", 2**63, 4, "5.0", math.nan, True)]
    for k, image in enumerate(images):
        image["file_name"] = f"{k}.jpg"
    boxes = [
        {"id": "n1", "image_id": "im-a", "category_id": "c1", "bbox": [1, 1, 5, 5]},
        {"id": "n2", "image_id": 2**63, "category_id": "c2", "bbox": [1, 1, 5, 0]},
        {"id": "n3", "image_id": "im-zz", "category_id": "c1", "bbox": [1, 1, 5, 5]},
        {"id": "n4", "image_id": 4.0, "category_id": "c9", "bbox": [1, 1, 5, 5]},
        {"id": "n5", "image_id": 5, "category_id": "c1", "bbox": [1, 1, 5]},
        {"id": "n6", "image_id": "a-0", "category_id": "a-0", "bbox": [1, 1, 5, 5]},
    ]
    categories = [{"id": "c2", "name": "cat"}, {"id": "c1", "name": "dog"}]
    split = read(tmp_path, boxes, images=images, categories=categories)
    table = split.table
    assert table.file_names == ["0.jpg"] and table.image_ids.tolist() == [7]
    assert table.category_ids.tolist() == [1]
    text = " | ".join(d.line() for d in split.defects)
    for name in ("'im-zz'", "'c9'", "'n2'", "'n3'", "'n5'", f"'{2**63}'", "image 'a-0'"):
        assert name in text, name
    assert "-46116" not in text
    assert [d.kind for d in split.defects].count("unknown_image") == 2


def test_class_names_are_texts(tmp_path: Path) -> None:
    odd: list[Any] = [None, "", "  ", True, [], math.nan, "\ud800"]
    categories = [{"id": k, "name": name} for k, name in enumerate(odd, 10)]
    split = read(
        tmp_path,
        [box_entry(1, 1, [1, 1, 5, 5]), box_entry(2, 1, [1, 1, 5, 6], 10)],
        categories=[*CATEGORIES, *categories, {"id": 40, "name": 7}],
    )
    assert [d.kind for d in split.defects] == [
        *["malformed_entry"] * len(odd),
        "unknown_category",
    ]
    assert fields.class_name(7) == "7"


def test_sizes_that_are_none_count_as_undeclared(tmp_path: Path) -> None:
    odd: list[Any] = ["x", 40.5, True, math.nan, None, -1, [], 1 << 40]
    images = [image_entry(k) | {"height": v} for k, v in enumerate([*odd, "40", 40.0], 1)]
    table = read(tmp_path, [box_entry(1, 1, [1, 1, 5, 5])], images=images).table
    assert table.heights.tolist() == [0] * len(odd) + [40, 40]


def test_a_log_without_texts_says_numbers() -> None:
    log = DefectLog({})
    log.add("malformed_box", "f", "x", image_id=3, annotation_id=4)
    assert log.called("image", 3) == "3"
    assert log.defects[0].line() == "f, image 3, annotation 4: malformed_box: x"
