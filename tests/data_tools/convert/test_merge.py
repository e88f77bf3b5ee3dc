"""Parts made apart become, once merged, the very set that one machine makes."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from data_tools.command import run
from data_tools.convert.make_plan import make_plan
from data_tools.convert.plan import FORMAT, Plan
from data_tools.convert.raw_data import read_raw
from data_tools.convert.settings import ConvertSettings, ImageSettings
from data_tools.convert.shard_result import write_result
from data_tools.converted.verify import run_verify
from data_tools.core.errors import DataError, SettingError
from tests.helpers.raw_sets import coco_settings, tree_bytes, write_plain_coco


def make_parts(root: Path, out: Path, parts: int, shards: int = 5) -> ConvertSettings:
    settings = coco_settings(root, out, shards=shards, parts=parts)
    for part in range(1, parts + 1):
        run(replace(settings, part=part))
    return settings


@pytest.mark.parametrize("parts", [2, 3, 7])
def test_merged_parts_are_the_whole(tmp_path: Path, parts: int) -> None:
    write_plain_coco(tmp_path, 12)
    (tmp_path / "images" / "000005.jpg").write_bytes(b"broken")
    run(coco_settings(tmp_path, tmp_path / "whole", shards=5))
    make_parts(tmp_path, tmp_path / "out", parts)
    assert len(list((tmp_path / "out").iterdir())) == parts
    assert run(ConvertSettings(merge=str(tmp_path / "out"))) == 0
    assert tree_bytes(tmp_path / "out") == tree_bytes(tmp_path / "whole")
    assert run_verify(tmp_path / "out") == 0


def test_parts_are_done_once_and_merged_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_plain_coco(tmp_path, 12)
    settings = make_parts(tmp_path, tmp_path / "out", 2)
    capsys.readouterr()
    run(replace(settings, part=2))
    assert "already there" in capsys.readouterr().out
    with pytest.raises(DataError, match=r"shards: 5 there, 3 now"):
        run(replace(settings, part=2, shards=3))
    merge = ConvertSettings(merge=str(tmp_path / "out"))
    run(merge)
    run(merge)
    assert "already one set" in capsys.readouterr().out


def test_missing_mixed_and_damaged_parts(tmp_path: Path) -> None:
    write_plain_coco(tmp_path, 12)
    out = tmp_path / "out"
    merge = ConvertSettings(merge=str(out))
    with pytest.raises(DataError, match="no parts"):
        run(merge)
    settings = make_parts(tmp_path, out, 2)
    before = tree_bytes(out)
    shutil.move(out / "part-00001-of-00002", tmp_path / "aside")
    with pytest.raises(DataError, match=r"of 2 parts these are missing: \[1\]"):
        run(merge)
    shutil.move(tmp_path / "aside", out / "part-00001-of-00002")
    shutil.copytree(out / "part-00001-of-00002", out / "part-00001-of-00003")
    with pytest.raises(DataError, match="different cuts are mixed"):
        run(merge)
    shutil.rmtree(out / "part-00001-of-00003")

    shard = out / "part-00002-of-00002/train/train-00001.mindrecord"
    good = shard.read_bytes()
    shard.write_bytes(good[:-1] + b"?")
    with pytest.raises(DataError, match=r"train-00001\.mindrecord: missing, or not what"):
        run(merge)
    shard.write_bytes(good)
    state = out / "part-00002-of-00002/state/train/00003.json"
    text = state.read_text()
    state.write_text(text[:-3])
    with pytest.raises(DataError, match=r"00003\.json: missing or damaged"):
        run(merge)
    for old, new in (('"boxes":', '"boxes":1'), ('"plan":"', '"plan":"0'), ("{", "[" * 9999)):
        state.write_text(text.replace(old, new, 1))
        with pytest.raises(DataError, match=r"00003\.json: missing or damaged .*Make part-00002"):
            run(merge)
    state.write_text(text)
    assert {k: v for k, v in tree_bytes(out).items() if not k.startswith(".merge")} == before

    run(replace(settings, part=2, image=ImageSettings(quality=70), overwrite=True))
    with pytest.raises(
        DataError, match=r"part-00002-of-00002 was made with other(?s:.*)image\.quality"
    ):
        run(merge)


def test_a_merge_that_was_killed_goes_on(tmp_path: Path) -> None:
    write_plain_coco(tmp_path, 12)
    run(coco_settings(tmp_path, tmp_path / "whole", shards=5))
    make_parts(tmp_path, tmp_path / "out", 2)
    # As after a kill: the split is in place, the parts are not yet removed.
    shutil.copytree(tmp_path / "whole" / "train", tmp_path / "out" / "train")
    (tmp_path / "out" / ".merge" / "train").mkdir(parents=True)
    run(ConvertSettings(merge=str(tmp_path / "out")))
    assert tree_bytes(tmp_path / "out") == tree_bytes(tmp_path / "whole")


def test_part_settings() -> None:
    with pytest.raises(SettingError, match=r"part=3: expected 1\.\.parts \(2\)"):
        ConvertSettings(parts=2, part=3)
    with pytest.raises(SettingError, match="one of them at a time"):
        ConvertSettings(merge="a", verify="b")


@pytest.mark.parametrize("what", ["plan", "result"])
def test_parts_that_name_files_elsewhere_are_refused(tmp_path: Path, what: str) -> None:
    write_plain_coco(tmp_path, 12)
    out = tmp_path / "out"
    make_parts(tmp_path, out, 2)
    if what == "plan":
        for part in out.glob("part-*"):
            text = (part / "plan.json").read_text()
            (part / "plan.json").write_text(text.replace('"name":"train"', '"name":"../../away"'))
            assert "away" in (part / "plan.json").read_text()
    else:
        path = next(out.glob("part-00001-*/state/train/00000.json"))
        result = json.loads(path.read_text())
        del result["seal"]
        result["shard"]["file"] = "../../../secret"
        write_result(path, result)  # it agrees with its own hash
    with pytest.raises(DataError, match="leaves the folder"):
        run(ConvertSettings(merge=str(out)))
    assert not (tmp_path / "away").exists() and not (tmp_path.parent / "away").exists()


def test_a_plan_in_json_is_what_copying_all_of_it_gives(tmp_path: Path) -> None:
    write_plain_coco(tmp_path, 6)
    file = tmp_path / "train.json"
    content = json.loads(file.read_text())
    for entry in content["annotations"]:
        entry["area"] = 1e6  # as many defects as boxes
    file.write_text(json.dumps(content))
    settings = coco_settings(tmp_path, tmp_path / "out")
    raw = read_raw(settings)
    plan, _ = make_plan(settings, raw)
    assert len(plan.splits[0].defects) == len(content["annotations"])
    plan = replace(plan, splits=(*plan.splits, replace(plan.splits[0], name="more", first_shard=3)))
    copied = {"format": FORMAT, **asdict(plan)}
    del copied["splits"][0]["first_shard"]
    assert plan.as_json() == json.dumps(copied, sort_keys=True, separators=(",", ":"))
    assert Plan.from_json(plan.as_json()) == plan


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('"name":"train"', '"name":"../../evil"', "split name '../../evil' leaves the folder"),
        ('"bounds":[0,', '"bounds":[5,', "the bounds of split train do not rise from 0"),
        (
            '"bounds":[0,',
            '"bounds":["0",',
            r"splits\[0\].bounds\[0\]: '0', expected a whole number",
        ),
        ('"found":{', '"found":{"x":1},"fond":{', "fond: unknown"),
        ('"format":', '"formal":', "no plan of format"),
    ],
)
def test_a_plan_that_no_converter_makes(tmp_path: Path, old: str, new: str, message: str) -> None:
    write_plain_coco(tmp_path, 6)
    out = tmp_path / "out"
    make_parts(tmp_path, out, 2, shards=2)
    for path in out.glob("*/plan.json"):
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new, 1))
    with pytest.raises(DataError, match=f"no part of a conversion .*{message}"):
        run(ConvertSettings(merge=str(out)))
    assert not (tmp_path / "evil").exists()
