"""The converter end to end: right rows, every defect handled, all or nothing, the same for any
workers.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from data_tools.command import run
from data_tools.convert.settings import ConvertSettings, ImageSettings, PolicySettings
from data_tools.convert.workspace import locked_workspace
from data_tools.converted.verify import run_verify
from data_tools.core.errors import DataError, SettingError
from data_tools.shards.manifest import open_split
from data_tools.shards.reader import RowReader
from data_tools.sources.defect_kinds import POLICIES
from data_tools.sources.settings import DatasetSettings, SplitSettings
from tests.helpers.raw_sets import (
    CATEGORIES,
    EXPECTED_REPORT,
    box_entry,
    coco_settings,
    image_entry,
    jpeg,
    pathological,
    tree_bytes,
    write_coco,
    write_plain_coco,
)


def report_of(out: Path, split: str = "train") -> dict[str, Any]:
    report: dict[str, Any] = json.loads((out / split / "report.json").read_text())
    return report


def test_rows_are_what_the_source_says(tmp_path: Path) -> None:
    write_plain_coco(tmp_path, 12)
    assert run(coco_settings(tmp_path, tmp_path / "out", shards=3)) == 0
    split = open_split(tmp_path / "out", "train")
    truth = json.loads((tmp_path / "train.json").read_text())
    assert [s.file for s in split.manifest.shards] == [
        f"train-{k:05d}.mindrecord" for k in range(3)
    ]
    reader = RowReader(split)
    label = {1: 1, 3: 2, 7: 3}
    for index, entry in enumerate(truth["images"]):
        row = reader[index]
        boxes = [a for a in truth["annotations"] if a["image_id"] == entry["id"]]
        assert row.image_id == entry["id"] and (row.height, row.width) == (
            entry["height"],
            entry["width"],
        )
        assert row.image.tobytes() == (tmp_path / "images" / entry["file_name"]).read_bytes()
        expected = np.array(
            [[y, x, y + h, x + w] for x, y, w, h in (a["bbox"] for a in boxes)], np.float32
        ).reshape(-1, 4)
        np.testing.assert_allclose(row.boxes_yxyx_px, expected, rtol=1e-6)
        assert row.labels.tolist() == [label[a["category_id"]] for a in boxes]
        assert row.iscrowd.tolist() == [bool(a["iscrowd"]) for a in boxes]
    written = json.loads(split.annotations_path.read_text())
    assert written["images"] == [
        {k: e[k] for k in ("id", "file_name", "height", "width")} for e in truth["images"]
    ]
    assert written["categories"] == CATEGORIES
    for got, entry in zip(written["annotations"], truth["annotations"], strict=True):
        assert got == {**{k: entry[k] for k in got}, "bbox": entry["bbox"]}
    assert split.manifest.totals == {
        "images": 12,
        "boxes": len(truth["annotations"]),
        "crowd_boxes": sum(a["iscrowd"] for a in truth["annotations"]),
        "images_without_boxes": 3,
    }
    assert not (tmp_path / "out.partial").exists() and run_verify(tmp_path / "out") == 0


def test_one_of_every_defect(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pathological(tmp_path)
    out = tmp_path / "out"
    assert run(coco_settings(tmp_path, out)) == 0
    report = report_of(out)
    assert report["defects"] == EXPECTED_REPORT
    assert report["written"] == {"images": 4, "boxes": 7}
    assert set(report["files"]) >= {"train.json", "000004.jpg", "000005.jpg", "000006.jpg"}
    json_defects = report["files"]["train.json"]
    assert {
        k: v
        for k, v in next(d for d in json_defects if d["kind"] == "unknown_image").items()
        if k != "detail"
    } == {"kind": "unknown_image", "action": "skip", "image_id": 99, "annotation_id": 20}
    assert report["files"]["000007.jpg"][0]["detail"] == (
        "declared height 80, width 90; the image has height 40, width 60"
    )
    split = open_split(out, "train")
    rows = {row.image_id: row for row in map(RowReader(split).__getitem__, range(4))}
    assert sorted(rows) == [1, 2, 3, 10]
    np.testing.assert_array_equal(rows[2].boxes_yxyx_px[-1], [30, 50, 40, 60])
    printed = capsys.readouterr().out
    assert "box_outside: 1 clip, 1 skip" in printed and "report.json" in printed
    assert run_verify(out) == 0


@pytest.mark.parametrize("kind", sorted(EXPECTED_REPORT))
def test_every_defect_can_be_an_error(tmp_path: Path, kind: str) -> None:
    pathological(tmp_path)
    out = tmp_path / "out"
    settings = coco_settings(tmp_path, out, policy=PolicySettings(**{kind: "error"}))
    with pytest.raises(DataError, match=rf"policy calls errors: \d+ {kind}(?s:.*)policy\.{kind}="):
        run(settings)
    assert not out.exists()
    assert run(replace(settings, policy=PolicySettings())) == 0  # the user thinks again


def test_other_policies(tmp_path: Path) -> None:
    pathological(tmp_path)
    policy = PolicySettings(
        box_outside="skip",
        size_mismatch="fix",
        duplicate_annotation_id="fix",
        duplicate_file="skip",
    )
    run(coco_settings(tmp_path, tmp_path / "out", policy=policy))
    report = report_of(tmp_path / "out")
    assert report["defects"]["box_outside"] == {"skip": 2}
    assert report["defects"]["duplicate_file"] == {"skip": 1}
    assert report["written"] == {"images": 4, "boxes": 7}  # image 7 for image 10, one box each way
    ids = [
        a["id"]
        for a in json.loads((tmp_path / "out/train/annotations.json").read_text())["annotations"]
    ]
    assert len(set(ids)) == len(ids) == 7
    policy = PolicySettings(box_outside="keep")
    run(coco_settings(tmp_path, tmp_path / "kept", policy=policy))
    boxes = [
        a["bbox"]
        for a in json.loads((tmp_path / "kept/train/annotations.json").read_text())["annotations"]
    ]
    assert [50, 30, 20, 20] in boxes


def test_the_policy_has_every_kind() -> None:
    assert set(POLICIES) == set(asdict(ConvertSettings().policy))
    # Sets made before a kind was known keep their fingerprint: a manifest names it when it is used.
    first = {kind for kind, entry in POLICIES.items() if not entry.since}
    assert set(ConvertSettings().content()["policy"]) == first
    chosen = ConvertSettings(policy=PolicySettings(hidden_files="error")).content()["policy"]
    assert set(chosen) == first | {"hidden_files"}
    for kind, entry in POLICIES.items():
        assert "error" in entry.actions and getattr(PolicySettings(), kind) == entry.actions[0]
    with pytest.raises(SettingError, match=r"policy\.box_outside='cut': expected one of clip"):
        PolicySettings(box_outside="cut")


def test_nothing_usable_is_an_error(tmp_path: Path) -> None:
    write_coco(tmp_path, [image_entry(1), image_entry(2)], [], pictures=False)
    with pytest.raises(DataError, match=r"none of its 2 images is there.*missing_image"):
        run(coco_settings(tmp_path, tmp_path / "out"))
    for number in (1, 2):
        (tmp_path / "images" / f"{number:06d}.jpg").write_bytes(b"nothing")
    with pytest.raises(DataError, match="none of its 2 images can be used"):
        run(coco_settings(tmp_path, tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def test_too_many_skipped(tmp_path: Path) -> None:
    write_coco(tmp_path, [image_entry(n) for n in range(1, 101)], [], pictures=False)
    for number in range(1, 41):
        (tmp_path / "images" / f"{number:06d}.jpg").write_bytes(jpeg(40, 60))
    with pytest.raises(
        DataError, match=r"60 of 100 images would be skipped, more than max_skipped"
    ):
        run(coco_settings(tmp_path, tmp_path / "out"))
    assert not (tmp_path / "out").exists()
    run(coco_settings(tmp_path, tmp_path / "out", max_skipped=0.6))
    assert report_of(tmp_path / "out")["written"]["images"] == 40


def test_workers_do_not_matter(tmp_path: Path) -> None:
    pathological(tmp_path)
    for workers in (1, 2):
        run(coco_settings(tmp_path, tmp_path / f"out{workers}", workers=workers, shards=3))
    assert tree_bytes(tmp_path / "out1") == tree_bytes(tmp_path / "out2")


def test_a_failing_worker_is_reported(tmp_path: Path) -> None:
    pathological(tmp_path)
    settings = coco_settings(
        tmp_path,
        tmp_path / "out",
        workers=2,
        shards=3,
        policy=PolicySettings(undecodable_image="error"),
    )
    with pytest.raises(DataError, match=r"[12] undecodable_image"):
        run(settings)
    assert not (tmp_path / "out").exists()


def test_done_changed_and_overwritten(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_plain_coco(tmp_path, 6)
    settings = coco_settings(tmp_path, tmp_path / "out")
    run(settings)
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "out").rglob("*")}
    run(replace(settings, workers=2))
    assert "already there" in capsys.readouterr().out
    assert {p: p.stat().st_mtime_ns for p in (tmp_path / "out").rglob("*")} == before
    other = replace(settings, image=ImageSettings(max_side=50))
    with pytest.raises(DataError, match=r"image\.max_side: 0 there, 50 now(?s:.*)overwrite=true"):
        run(other)
    write_plain_coco(tmp_path, 7)
    with pytest.raises(DataError, match=r"source\.train\.annotations\.train\.json"):
        run(settings)
    assert len(RowReader(open_split(tmp_path / "out", "train"))) == 6
    run(replace(other, overwrite=True))
    assert len(RowReader(open_split(tmp_path / "out", "train"))) == 7


@pytest.mark.parametrize("at", ["set", "out"])
def test_overwrite_keeps_one_whole_set_at_every_moment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: str
) -> None:
    """Stop where a kill would hurt most: before the old set moves aside, and before the new one
    appears.
    """
    write_plain_coco(tmp_path, 12)
    out = tmp_path / "out"
    run(coco_settings(tmp_path, out))
    before = open_split(out, "train").manifest.fingerprint
    other = replace(coco_settings(tmp_path, out), image=ImageSettings(max_side=50), overwrite=True)
    rename = Path.rename

    def killed(self: Path, target: Any) -> Any:
        if self.name == at:
            raise KeyboardInterrupt
        return rename(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", killed)
        with pytest.raises(KeyboardInterrupt):
            run(other)
    kept = out if at == "out" else tmp_path / "out.partial" / "old" / "out"
    assert open_split(kept, "train").manifest.fingerprint == before
    made = tmp_path / "out.partial" / "set"
    after = open_split(made, "train").manifest.fingerprint
    assert after != before
    run(other)
    assert open_split(out, "train").manifest.fingerprint == after
    assert not (tmp_path / "out.partial").exists()


def test_a_folder_with_other_things_is_never_touched(tmp_path: Path) -> None:
    write_plain_coco(tmp_path, 3)
    out = tmp_path / "out"
    out.mkdir()
    (out / "thesis.txt").write_text("years of work")
    for overwrite in (False, True):
        with pytest.raises(DataError, match=r"holds other things \(thesis.txt\)"):
            run(coco_settings(tmp_path, out, overwrite=overwrite))
    with pytest.raises(DataError, match="it is a file"):
        run(coco_settings(tmp_path, out / "thesis.txt"))
    assert (out / "thesis.txt").read_text() == "years of work"
    with pytest.raises(SettingError, match="out="):
        run(coco_settings(tmp_path, ""))
    (out / "thesis.txt").unlink()
    assert run(coco_settings(tmp_path, out)) == 0  # an empty folder is fine


def test_two_converters_on_one_folder(tmp_path: Path) -> None:
    write_plain_coco(tmp_path, 3)
    with (
        locked_workspace(tmp_path / "out"),
        pytest.raises(DataError, match=rf"another converter is at work.*process {os.getpid()}"),
    ):
        run(coco_settings(tmp_path, tmp_path / "out"))
    assert run(coco_settings(tmp_path, tmp_path / "out")) == 0


def interrupted(settings: ConvertSettings, after: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run until `after` shards are finished, then fail as a full disk does."""

    from data_tools.convert import task_pool

    real, done = task_pool.convert_shard, []

    def failing(task: Any, tick: Any) -> None:
        if len(done) == after:
            raise DataError("disk full")
        done.append(task.name)
        real(task, tick)

    with monkeypatch.context() as patch:
        patch.setattr(task_pool, "convert_shard", failing)
        with pytest.raises(DataError, match="disk full"):
            run(settings)


def test_finished_shards_are_not_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_plain_coco(tmp_path, 12)
    whole = coco_settings(tmp_path, tmp_path / "whole", shards=4)
    run(whole)
    out = tmp_path / "out"
    settings = replace(whole, out=str(out))
    interrupted(settings, 2, monkeypatch)
    assert not out.exists()
    shards = sorted((tmp_path / "out.partial").rglob("*.mindrecord"))
    assert len(shards) == 2
    before = [p.stat().st_mtime_ns for p in shards]
    # What a killed process leaves: a shard without its result, rubbish in scratch.
    (tmp_path / "out.partial/set/train/train-00003.mindrecord").write_bytes(b"half")
    (tmp_path / "out.partial/scratch/9-x").mkdir(parents=True)
    run(settings)
    after = [(out / "train" / p.name).stat().st_mtime_ns for p in shards]
    assert after == before and not (tmp_path / "out.partial").exists()
    assert tree_bytes(out) == tree_bytes(tmp_path / "whole")


def test_work_left_behind_by_other_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_plain_coco(tmp_path, 12)
    settings = coco_settings(tmp_path, tmp_path / "out", shards=4)
    interrupted(settings, 2, monkeypatch)
    other = replace(settings, image=ImageSettings(quality=50))
    with pytest.raises(DataError, match=r"unfinished conversion.*\n.*image\.quality: 0 there, 50"):
        run(other)
    run(replace(other, overwrite=True))
    assert report_of(tmp_path / "out")["images_changed"] == {"re_encoded": 12}
    interrupted(replace(settings, out=str(tmp_path / "b")), 1, monkeypatch)
    (tmp_path / "b.partial/plan.json").write_text("{")
    run(replace(settings, out=str(tmp_path / "b")))
    assert run_verify(tmp_path / "b") == 0


def test_a_refusal_leaves_no_working_folder(tmp_path: Path) -> None:
    write_plain_coco(tmp_path, 4)
    out, partial = tmp_path / "out", tmp_path / "out.partial"
    settings = coco_settings(tmp_path, out)
    run(settings)
    before = tree_bytes(out)
    with pytest.raises(DataError, match="there is a set already"):
        run(replace(settings, image=ImageSettings(quality=50)))
    assert not partial.exists() and tree_bytes(out) == before
    with locked_workspace(out):  # another converter has just begun: its folder stays
        with pytest.raises(DataError, match="another converter is at work"):
            run(replace(settings, image=ImageSettings(quality=50)))
        assert (partial / "lock").is_file()
    with contextlib.ExitStack() as late:  # one that is done must not take the next one's lock away
        late.enter_context(locked_workspace(out)).discard()
        with locked_workspace(out):
            late.close()
            assert (partial / "lock").is_file()
    assert not partial.exists()
    partial.mkdir()
    (partial / "plan.json").write_text("{")
    with locked_workspace(out):
        pass
    assert (partial / "plan.json").is_file()  # work that was begun is kept


def test_image_options_reach_the_rows(tmp_path: Path) -> None:
    write_coco(tmp_path, [image_entry(1, 100, 200)], [box_entry(1, 1, [20, 10, 40, 30])])
    run(coco_settings(tmp_path, tmp_path / "out", image=ImageSettings(max_side=100, quality=80)))
    row = RowReader(open_split(tmp_path / "out", "train"))[0]
    assert (row.height, row.width) == (50, 100)
    assert cv2.imdecode(row.image, cv2.IMREAD_COLOR).shape == (50, 100, 3)
    np.testing.assert_allclose(row.boxes_yxyx_px, [[5, 10, 20, 30]])
    written = json.loads((tmp_path / "out/train/annotations.json").read_text())
    assert written["annotations"][0]["area"] == 300 and written["images"][0]["width"] == 100
    assert run_verify(tmp_path / "out") == 0


def test_classes_and_empty_images(tmp_path: Path) -> None:
    write_plain_coco(tmp_path, 12)
    run(
        coco_settings(
            tmp_path,
            tmp_path / "out",
            dataset_classes=["pet"],
            dataset_merge={"pet": ["cat", "dog"]},
            dataset_keep_empty=False,
        )
    )
    split = open_split(tmp_path / "out", "train")
    assert [(c.label, c.name, c.category_id) for c in split.classes] == [(1, "pet", 1)]
    assert split.manifest.totals["images_without_boxes"] == 0
    report = report_of(tmp_path / "out")
    assert report["left_out"]["images_without_boxes"] == 12 - split.num_images > 0
    assert run_verify(tmp_path / "out") == 0


def test_shapes_and_two_splits(tmp_path: Path) -> None:
    dataset = DatasetSettings(
        kind="shapes", splits={"train": SplitSettings(count=5), "val": SplitSettings(count=3)}
    )
    run(ConvertSettings(dataset=dataset, out=str(tmp_path / "out")))
    assert {s: open_split(tmp_path / "out", s).num_images for s in ("train", "val")} == {
        "train": 5,
        "val": 3,
    }
    assert run_verify(tmp_path / "out") == 0
    with pytest.raises(SettingError, match=r"dataset\.splits\.train\.count"):
        run(
            ConvertSettings(
                dataset=replace(dataset, splits={"train": SplitSettings()}), out=str(tmp_path / "b")
            )
        )


def test_odd_paths(tmp_path: Path) -> None:
    root = tmp_path / "my données, ä=b"
    write_coco(root, [{**image_entry(1), "file_name": "ü 1, [x]#%.jpg"}], [])
    assert run(coco_settings(root, root / "out put ü")) == 0
    assert run_verify(root / "out put ü") == 0


def test_out_behind_a_link(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A link to a larger disk is followed, one that leads in a circle refused before any work."""
    write_plain_coco(tmp_path, 4)
    (tmp_path / "disk").mkdir()
    (tmp_path / "out").symlink_to("disk")
    run(coco_settings(tmp_path, tmp_path / "out"))
    assert (tmp_path / "out").is_symlink() and run_verify(tmp_path / "out") == 0
    assert (tmp_path / "disk/train/manifest.json").is_file()
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(DataError, match=r"loop: a link that leads to no folder"):
        run(coco_settings(tmp_path, tmp_path / "loop"))
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    run(coco_settings(tmp_path, "."))
    assert run_verify(tmp_path / "here") == 0


def test_tiny_coco(tmp_path: Path, shared_dir: Path) -> None:
    root = shared_dir / "data" / "tiny_coco"
    splits = {
        name: SplitSettings(
            annotations=f"annotations/instances_{name}2017.json", images=f"{name}2017"
        )
        for name in ("train", "val")
    }
    dataset = DatasetSettings(kind="coco", root=str(root), splits=splits)
    assert run(ConvertSettings(dataset=dataset, out=str(tmp_path / "out"))) == 0
    for name, boxes, crowds in (("train", 470, 5), ("val", 382, 5)):
        split = open_split(tmp_path / "out", name)
        assert split.num_classes == 81 and split.manifest.totals["boxes"] == boxes
        assert split.manifest.totals["crowd_boxes"] == crowds
        doubts = {"aspect_far_off": {"keep": 1}, "classes_overlap": {"keep": 2}}
        assert report_of(tmp_path / "out", name)["defects"] == (doubts if name == "val" else {})
    assert run_verify(tmp_path / "out") == 0
    shutil.rmtree(tmp_path / "out")


def test_a_finished_shard_that_a_power_cut_emptied_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_plain_coco(tmp_path, 12)
    whole = coco_settings(tmp_path, tmp_path / "whole", shards=4)
    run(whole)
    settings = replace(whole, out=str(tmp_path / "out"))
    interrupted(settings, 3, monkeypatch)
    shards = sorted((tmp_path / "out.partial").rglob("*.mindrecord"))
    shards[0].write_bytes(bytes(shards[0].stat().st_size))
    (tmp_path / "out.partial/state/train/00001.json").write_text("")
    run(settings)
    assert tree_bytes(tmp_path / "out") == tree_bytes(tmp_path / "whole")


def test_a_split_that_loses_its_boxes_is_an_error(tmp_path: Path) -> None:
    """Images that lose all boxes are out; a split that loses all, or more than half of many, is
    refused.
    """
    few = [box_entry(k, k, [100, 100, 5, 5]) for k in (1, 2)]
    write_coco(tmp_path, [image_entry(k) for k in (1, 2, 3)], few)
    with pytest.raises(DataError, match=r"2 of its 2 boxes.*\n  box_outside: 2 "):
        run(coco_settings(tmp_path, tmp_path / "out"))
    assert not (tmp_path / "out").exists()
    mixed = [*few, box_entry(3, 3, [1, 1, 5, 5])]
    write_coco(tmp_path, [image_entry(k) for k in (1, 2, 3)], mixed)
    run(coco_settings(tmp_path, tmp_path / "out"))
    truth = json.loads((tmp_path / "out" / "train" / "annotations.json").read_text())
    assert [image["id"] for image in truth["images"]] == [3]
    kept = {"policy": PolicySettings(lost_all_boxes="keep")}
    run(coco_settings(tmp_path, tmp_path / "kept", **kept))
    truth = json.loads((tmp_path / "kept" / "train" / "annotations.json").read_text())
    assert [image["id"] for image in truth["images"]] == [1, 2, 3]
    many = [box_entry(k, 1, [1, 1, 5, 5 if k < 50 else -5]) for k in range(1, 121)]
    write_coco(tmp_path, [image_entry(1)], many)
    with pytest.raises(DataError, match=r"71 of its 120 boxes.*max_skipped=0\.5"):
        run(coco_settings(tmp_path, tmp_path / "many"))
    run(coco_settings(tmp_path, tmp_path / "many", max_skipped=0.7))
