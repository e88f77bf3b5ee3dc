"""The modes beside converting: the doctor, the preview, and upgrades of published shards."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from data_tools.audit.audit import run_audit
from data_tools.audit.coverage import best_matches, coverage_table, size_of
from data_tools.audit.picture import bar_parts
from data_tools.command import run
from data_tools.convert.settings import ConvertSettings, PolicySettings
from data_tools.converted.verify import run_verify
from data_tools.core.errors import DataError
from data_tools.shards.manifest import open_split
from data_tools.shards.reader import RowReader
from data_tools.sources.settings import DatasetSettings, SplitSettings
from tests.helpers.raw_sets import (
    EXPECTED_REPORT,
    box_entry,
    coco_settings,
    image_entry,
    jpeg,
    pathological,
    write_coco,
    write_plain_coco,
)

ANCHORS = np.array(
    [[y, x, 0.5, 0.5] for y in (0.25, 0.75) for x in (0.25, 0.75)], np.float32
)  # the four quarters of the image, as cy cx h w


# The doctor


def test_audit_finds_what_the_converter_finds(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pathological(tmp_path)
    settings = coco_settings(tmp_path, check=True, check_out=str(tmp_path / "check"))
    assert run(settings, ANCHORS) == 0
    report = json.loads((tmp_path / "check/audit.json").read_text())
    split = report["splits"]["train"]
    # Two images name one file: copies, which only the audit looks for unless a policy asks.
    copies = {"duplicate_image": {"keep": 1}, "copies_disagree": {"keep": 2}}
    assert split["defects"] == {**EXPECTED_REPORT, **copies}
    assert split["usable"] == {"images": 4, "boxes": 7}
    assert sum(split["boxes_by_class"].values()) == 7
    printed = capsys.readouterr().out
    for kind in EXPECTED_REPORT:
        assert kind in printed
    assert "default boxes of ssd300 over the objects" in printed
    with open(tmp_path / "check/audit.csv", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    by_file = {row["file"]: row for row in rows}
    assert by_file["000004.jpg"]["defects"] == "missing_image"
    assert by_file["000002.jpg"]["defects"] == "box_outside; box_outside"
    assert by_file["000003.jpg"]["defects"] == "" and by_file["000003.jpg"]["boxes"] == "2"
    picture = cv2.imread(str(tmp_path / "check/audit.png"))
    assert picture.shape[0] > 500 and picture.std() > 10
    assert not (tmp_path / "check.partial").exists() and not (tmp_path / "out").exists()


def test_audit_counts_sides_and_aspects_of_every_split(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Histograms by hand, crowds left out, in the JSON and on the terminal; the picture has all
    splits.
    """
    boxes = [[0, 0, 16, 16], [0, 0, 4, 4], [0, 0, 40, 10], [0, 0, 10, 30]]
    entries = [box_entry(k, 1, [float(v) for v in box]) for k, box in enumerate(boxes, 1)]
    entries.append(box_entry(9, 1, [0, 0, 40, 40], iscrowd=1))
    write_coco(tmp_path, [image_entry(1, 40, 40)], entries)
    for split in ("train", "val"):
        (tmp_path / f"{split}.json").write_bytes((tmp_path / "train.json").read_bytes())
    heights = []
    for names in (("train",), ("train", "val")):
        splits = {n: SplitSettings(annotations=f"{n}.json", images="images") for n in names}
        settings = coco_settings(
            tmp_path, check=True, check_out=str(tmp_path / "check"), dataset_splits=splits
        )
        assert run_audit(settings, None) == 0
        heights.append(cv2.imread(str(tmp_path / "check/audit.png")).shape[0])
    assert heights[1] == 2 * heights[0]
    split = json.loads((tmp_path / "check/audit.json").read_text())["splits"]["val"]
    sides, aspects = split["boxes_by_side_px"], split["boxes_by_aspect"]
    assert {k: n for k, n in sides.items() if n} == {"<8": 1, "16..32": 3}
    assert {k: n for k, n in aspects.items() if n} == {"0.333..0.5": 1, "0.75..1.33": 2, "3..5": 1}
    assert ("<8" in sides) and (">=512" in sides)
    lines = capsys.readouterr().out.splitlines()
    header = next(k for k, line in enumerate(lines) if line.startswith("  side, pixels"))
    assert lines[header].split()[2:] == ["<8", "8..16", "16..32"]
    assert lines[header + 1].split() == ["boxes", "1", "0", "3"]


def test_audit_says_what_would_stop_the_converter(tmp_path: Path) -> None:
    pathological(tmp_path)
    settings = coco_settings(
        tmp_path,
        check=True,
        check_out=str(tmp_path / "check"),
        policy=PolicySettings(box_degenerate="error"),
    )
    assert run_audit(settings, None) == 1
    assert json.loads((tmp_path / "check/audit.json").read_text())["model"] is None


def test_coverage_by_hand() -> None:
    boxes = np.array(
        [
            [0.0, 0.0, 0.5, 0.5],  # a default box itself
            [0.0, 0.5, 0.4, 1.0],  # IoU 0.8 with the second
            [0.6, 0.1, 0.7, 0.2],  # IoU 0.04 with the third: forced
            [0.8, 0.3, 0.9, 0.4],  # the third as well, and it came second: unmatched
        ],
        np.float32,
    )
    matches = best_matches(boxes, ANCHORS)
    np.testing.assert_allclose(matches.overlap, [1.0, 0.8, 0.04, 0.04], atol=1e-6)
    assert matches.lost.tolist() == [False, False, False, True]
    areas = np.array([100.0**2, 50.0**2, 10.0, 20.0])
    assert size_of(areas).tolist() == [2, 1, 0, 0]
    table = coverage_table(matches, areas)
    assert table["all"] == {
        "objects": 4,
        "at_least_0.5": 0.5,
        "at_least_0.4": 0.5,
        "forced_only": 0.25,
        "unmatched": 0.25,
        "mean_overlap": 0.47,
    }
    bars = np.array(list(bar_parts(coverage_table(matches, areas * 0 + 1.0)).values()))
    np.testing.assert_allclose(bars.sum(axis=0), [1, 1, 0, 0], atol=1e-3)  # all of them are small
    assert table["small"]["unmatched"] == 0.5 and table["large"]["at_least_0.5"] == 1.0


def test_audit_of_a_set_without_boxes(tmp_path: Path) -> None:
    write_coco(tmp_path, [image_entry(1)], [])
    settings = coco_settings(tmp_path, check=True, check_out=str(tmp_path / "check"))
    assert run_audit(settings, ANCHORS) == 0


def test_audit_of_a_split_with_one_box(tmp_path: Path) -> None:
    """One box, or boxes all alike: the histogram of sides has no range."""
    write_coco(tmp_path, [image_entry(1)], [box_entry(1, 1, [4, 4, 30, 20])])
    settings = coco_settings(tmp_path, check=True, check_out=str(tmp_path / "check"))
    assert run_audit(settings, ANCHORS) == 0
    assert (tmp_path / "check/audit.png").is_file()


# Preview


def test_preview(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_plain_coco(tmp_path, 9)
    run(coco_settings(tmp_path, tmp_path / "out", shards=2))
    picture = tmp_path / "sheet.png"
    run(ConvertSettings(preview=str(tmp_path / "out"), picture=str(picture), rows=5))
    sheet = cv2.imread(str(picture))
    assert sheet is not None and sheet.shape[1] > 900 and "5 of 9 images" in capsys.readouterr().out
    run(ConvertSettings(preview=str(tmp_path / "out/train"), picture=str(picture), rows=50))
    with pytest.raises(DataError, match=r"no split 'val'; it has \['train'\]"):
        run(ConvertSettings(preview=str(tmp_path / "out"), split="val"))
    with pytest.raises(DataError, match="no converted set"):
        run(ConvertSettings(preview=str(tmp_path / "nothing")))


# Published shards


def write_published(folder: Path, prefix: str, shards: int, ids: list[int]) -> None:
    from mindspore.mindrecord import FileWriter

    folder.mkdir(parents=True, exist_ok=True)
    writer = FileWriter(str(folder / prefix), shards)
    schema: dict[str, Any] = {
        "img_id": {"type": "int32", "shape": [1]},
        "image": {"type": "bytes"},
        "annotation": {"type": "int32", "shape": [-1, 5]},
    }
    writer.add_schema(schema, "ssd_json")
    for number in ids:
        boxes = np.array([[1, 2, 30, 40, 1 + number % 2], [5, 5, 5, 9, 1]], np.int32)
        row = {"img_id": np.array([number], np.int32), "image": jpeg(40, 60, number)}
        writer.write_raw_data([{**row, "annotation": boxes}])
    writer.commit()


def test_upgrade(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "records"
    write_published(folder, "ssd.mindrecord", 3, list(range(10, 18)))
    write_published(folder, "ssd_eval.mindrecord", 1, [1, 2])
    with pytest.raises(DataError, match=r"do not hold the class names.*dataset\.names"):
        run(ConvertSettings(upgrade=str(folder)))
    named = ConvertSettings(upgrade=str(folder), dataset=DatasetSettings(names=["cat", "dog"]))
    run(named)
    split = open_split(folder, "train")
    reader = RowReader(split)
    rows = [reader[k] for k in range(8)]
    assert sorted(row.image_id for row in rows) == list(range(10, 18))
    truth = json.loads(split.annotations_path.read_text())
    assert {(i["height"], i["width"]) for i in truth["images"]} == {(40, 60)}
    first = next(a for a in truth["annotations"] if a["image_id"] == 11)
    assert first["bbox"] == [2, 1, 38, 29] and first["category_id"] == 2
    assert len(truth["annotations"]) == 8 and split.num_classes == 3
    report = json.loads((folder / "train/report.json").read_text())
    assert len(report["left_out_of_the_ground_truth"]) == 8
    assert open_split(folder, "val").num_images == 2
    assert run_verify(folder) == 0
    capsys.readouterr()
    run(named)
    assert "has manifests already" in capsys.readouterr().out


def test_upgrade_of_split_folders_and_bad_ones(tmp_path: Path) -> None:
    folder = tmp_path / "records"
    with pytest.raises(DataError, match="no such folder"):
        run(ConvertSettings(upgrade=str(folder)))
    folder.mkdir()
    with pytest.raises(DataError, match="no MindRecord files"):
        run(ConvertSettings(upgrade=str(folder)))
    write_published(folder / "train", "coco", 2, [3, 4, 5])
    (tmp_path / "names.txt").write_text("cat\ndog\n")
    named = ConvertSettings(
        upgrade=str(folder), dataset=DatasetSettings(root=str(tmp_path), names_file="names.txt")
    )
    run(named)
    assert open_split(folder, "train").num_images == 3 and run_verify(folder) == 0
    none = tmp_path / "none"
    write_published(none, "ssd.mindrecord", 2, [])
    with pytest.raises(
        DataError, match=r"no row in any of \['ssd.mindrecord0', 'ssd.mindrecord1'\]"
    ):
        run(ConvertSettings(upgrade=str(none), dataset=named.dataset))
    assert not (none / "train").exists()
    other = tmp_path / "other"
    write_published(other, "ssd.mindrecord", 1, [1, 2])
    shard = other / "ssd.mindrecord"
    shard.write_bytes(shard.read_bytes()[:2000])
    with pytest.raises(DataError, match="not a whole shard of the published tools"):
        run(ConvertSettings(upgrade=str(other), dataset=named.dataset))
    assert not (other / "train").exists()


def test_upgrade_takes_shards_without_rows(tmp_path: Path) -> None:
    """Eight shards, as the published tools write them, of three images."""
    write_published(tmp_path / "train", "coco", 8, [3, 4, 5])
    names = DatasetSettings(names=["cat", "dog"])
    run(ConvertSettings(upgrade=str(tmp_path), dataset=names))
    split = open_split(tmp_path, "train")
    assert sorted(row.image_id for row in (RowReader(split)[k] for k in range(3))) == [3, 4, 5]
    assert run_verify(tmp_path) == 0
    shards = split.manifest.shards
    assert len(shards) == 8 and sum(shard.rows == 0 for shard in shards) >= 5


def test_boxes_kept_for_preview(tmp_path: Path) -> None:
    """A crowd is drawn as one, and a picture smaller than a tile is enlarged with its boxes."""
    boxes = [box_entry(1, 1, [10, 10, 20, 20], iscrowd=1)]
    write_coco(tmp_path, [image_entry(1, 40, 60)], boxes)
    run(coco_settings(tmp_path, tmp_path / "out"))
    from data_tools.converted.preview import draw_rows

    sheet = draw_rows(open_split(tmp_path / "out", "train"), [0])
    assert sheet.shape[0] > 300
