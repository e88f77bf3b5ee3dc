"""`dataset.group`: images of one group stay on one side of a cut by fraction; the audit suggests
one.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from data_tools.audit.audit import run_audit
from data_tools.audit.sequences import PATTERN, find_sequences
from data_tools.convert.settings import ConvertSettings
from data_tools.core.errors import SettingError
from data_tools.sources.fractions import group_keys, grouped_share
from data_tools.sources.read import read_source
from data_tools.sources.settings import SplitSettings
from tests.helpers.raw_sets import coco_settings, image_entry, write_coco

FRAMES = [f"clip{v}/walk_{k:04d}.jpg" for v in range(9) for k in range(3 + v)]


def cut_settings(root: Path, group: str, seed: int = 0) -> ConvertSettings:
    images = [{**image_entry(k), "file_name": name} for k, name in enumerate(FRAMES, 1)]
    write_coco(root, images, [], pictures=False)
    splits = {
        name: SplitSettings(annotations="train.json", images="images", fraction=share)
        for name, share in (("train", 0.7), ("val", 0.2), ("test", 0.1))
    }
    return coco_settings(root, dataset_splits=splits, dataset_group=group, dataset_split_seed=seed)


def test_groups_stay_whole_and_every_image_has_one_side(tmp_path: Path) -> None:
    cuts = set()
    for seed in range(6):
        raw = read_source(cut_settings(tmp_path, r"^(.*)_\d+", seed).dataset, {})
        parts = [list(split.table.file_names) for split in raw.splits]
        assert sorted(name for part in parts for name in part) == sorted(FRAMES)
        folders = [{name.split("/")[0] for name in part} for part in parts]
        assert sum(map(len, folders)) == 9
        cuts.add(tuple(sorted(folders[0])))
        largest = 11
        for part, share in zip(parts, (0.7, 0.2, 0.1), strict=True):
            assert abs(len(part) - share * len(FRAMES)) <= largest
    assert len(cuts) > 1


def test_shares_are_those_of_a_loop_over_groups_and_of_any_order_of_images() -> None:
    rng = np.random.default_rng(5)
    for _ in range(20):
        keys = [f"g{k}" for k in rng.integers(0, rng.integers(1, 30), rng.integers(1, 200))]
        names = sorted(set(keys))
        order = np.random.Generator(np.random.Philox(key=3)).permutation(len(names))
        expected: list[set[int]] = [set(), set(), set()]
        done = 0
        for name in (names[k] for k in order):
            members = {k for k, key in enumerate(keys) if key == name}
            middle = (done + len(members) / 2) / len(keys)
            expected[0 if middle < 0.5 else 1 if middle < 0.75 else 2] |= members
            done += len(members)
        bounds = [(0.0, 0.5), (0.5, 0.75), (0.75, 1.0)]
        assert [set(grouped_share(keys, 3, *b).tolist()) for b in bounds] == expected
        turned = [set(grouped_share(keys[::-1], 3, *b).tolist()) for b in bounds]
        assert [{len(keys) - 1 - k for k in part} for part in turned] == expected


def test_what_a_group_is_and_what_is_refused(tmp_path: Path) -> None:
    assert group_keys(["p1_a1.png", "p1_b2.png", "x.png"], r"^(p\d)_.(\d)") == [
        "p1\x001",
        "p1\x002",
        "/x.png",
    ]
    assert group_keys(["p1_a.png", "p1_b.png"], r"p\d") == ["p1", "p1"]
    with pytest.raises(SettingError, match="no regular expression"):
        read_source(cut_settings(tmp_path, "(").dataset, {})
    with pytest.raises(SettingError, match="found in none"):
        read_source(cut_settings(tmp_path, "zebra").dataset, {})
    whole = {"train": SplitSettings(annotations="train.json", images="images")}
    with pytest.raises(SettingError, match="no split is a `fraction`"):
        read_source(coco_settings(tmp_path, dataset_splits=whole, dataset_group="a").dataset, {})


def test_the_setting_is_named_in_a_manifest_only_where_it_is_used(tmp_path: Path) -> None:
    assert "group" not in cut_settings(tmp_path, "").content()["dataset"]
    assert cut_settings(tmp_path, "a").content()["dataset"]["group"] == "a"


def test_names_of_frames_are_told_from_others(tmp_path: Path) -> None:
    found = find_sequences({"train": FRAMES[::2], "val": FRAMES[1::2]})
    assert found is not None and (found["sequences"], found["images"]) == (9, len(FRAMES))
    assert found["in_several_splits"] == 9 and found["group"] == PATTERN
    assert len(set(group_keys(FRAMES, PATTERN))) == 9
    for names in (
        [f"{k:012d}.jpg" for k in range(0, 9000, 37)],  # COCO
        [f"raccoon-{k}.jpg" for k in range(1, 200)],  # one series is no reason
        [f"IMG_2024{k:02d}_{k * 977}.jpg" for k in range(60)],
        ["a.jpg", "b.jpg", "c3.jpg"],
        [],
    ):
        assert find_sequences({"train": names}) is None


def test_the_audit_suggests_a_group(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    images = [{**image_entry(k), "file_name": f"v{k % 2}_{k // 2}.jpg"} for k in range(1, 11)]
    write_coco(tmp_path, images, [])
    splits = {
        name: SplitSettings(annotations="train.json", images="images", fraction=0.5)
        for name in ("train", "val")
    }
    given = coco_settings(
        tmp_path, check=True, check_out=str(tmp_path / "check"), dataset_splits=splits
    )
    assert run_audit(given, None) == 0
    said = capsys.readouterr().out
    assert "10 images of 2 series such as v" in said and "2 of the series lie in several" in said
    assert f"'dataset.group={PATTERN}'" in said


def test_images_that_no_split_takes_have_a_line(tmp_path: Path) -> None:
    # Two files are named, the fractions of a single one left as they were.
    images = [image_entry(k) for k in range(1, 21)]
    write_coco(tmp_path, images, [], pictures=False)
    (tmp_path / "val.json").write_bytes((tmp_path / "train.json").read_bytes())
    splits = {
        name: SplitSettings(annotations=f"{name}.json", images="images", fraction=share)
        for name, share in (("train", 0.9), ("val", 0.1))
    }
    raw = read_source(coco_settings(tmp_path, dataset_splits=splits).dataset, {})
    assert [len(split.table) for split in raw.splits] == [18, 2]
    lines = [d for split in raw.splits for d in split.defects if d.kind == "cut_away"]
    assert [(d.file, d.action) for d in lines] == [("train.json", "skip"), ("val.json", "skip")]
    assert "about 2 of 20 images are in no split" in lines[0].detail
    assert "about 18 of 20 images are in no split" in lines[1].detail
    assert "dataset.splits.val.fraction=null" in lines[1].detail
    splits["val"] = SplitSettings(annotations="train.json", images="images", fraction=0.1)
    whole = read_source(coco_settings(tmp_path, dataset_splits=splits).dataset, {})
    assert not [d for split in whole.splits for d in split.defects if d.kind == "cut_away"]
