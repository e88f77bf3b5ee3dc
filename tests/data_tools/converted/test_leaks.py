"""Pictures of one converted set that are in another are found from manifests, or from shards of
older versions.
"""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from data_tools.command import run
from data_tools.convert.settings import ConvertSettings, ImageSettings
from data_tools.converted.leaks import run_leaks
from data_tools.converted.verify import verify_split
from data_tools.core.errors import DataError, SettingError
from data_tools.shards.manifest import read_manifest
from data_tools.shards.stored_hashes import BYTES, IDS, PICTURES, stored_hashes, unpack_id
from data_tools.sources.settings import SplitSettings
from tests.helpers.raw_sets import box_entry, coco_settings, image_entry, write_coco
from tests.helpers.scenes import jpeg, scene

PICTURES_KEPT = ImageSettings(hashes="pictures")


def write_set(root: Path, seeds: list[int], boxes: dict[int, list[float]] | None = None) -> None:
    """Images 1, 2, ... of 80 x 120 pixels, each with one box; the seed decides the picture."""
    images = [image_entry(k, 80, 120) for k in range(1, len(seeds) + 1)]
    write_coco(
        root,
        images,
        [
            box_entry(k, k, (boxes or {}).get(k, [10.0, 10.0, 40.0, 30.0]))
            for k in range(1, len(seeds) + 1)
        ],
    )
    for entry, seed in zip(images, seeds, strict=True):
        (root / "images" / entry["file_name"]).write_bytes(jpeg(scene(seed, 80, 120)))


@pytest.fixture(scope="module")
def sets(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """`one` and `two` share 1/2 (bytes, another box), 3/1 (pixels), 5/4 (altered); hashes of all
    kinds.
    """
    root = tmp_path_factory.mktemp("leaks")
    write_set(root / "raw_one", [1, 2, 3, 4, 5])
    write_set(root / "raw_two", [3, 1, 8, 5], {2: [10.0, 10.0, 40.0, 33.0]})
    image = scene(3, 80, 120)
    decoded = cv2.imdecode(np.frombuffer(jpeg(image), np.uint8), cv2.IMREAD_COLOR)
    (root / "raw_two/images/000001.jpg").write_bytes(cv2.imencode(".png", decoded)[1].tobytes())
    small = cv2.convertScaleAbs(scene(5, 80, 120), alpha=0.9, beta=8)
    (root / "raw_two/images/000004.jpg").write_bytes(jpeg(small, 50))
    for name in ("one", "two"):
        run(coco_settings(root / f"raw_{name}", root / name, image=PICTURES_KEPT))
    run(coco_settings(root / "raw_one", root / "plain", image=ImageSettings(hashes="none")))
    run(coco_settings(root / "raw_one", root / "usual"))
    return {name: root / name for name in ("one", "two", "plain", "usual", "raw_one")}


def leaks(first: Path, second: Path, out: Path) -> list[dict[str, Any]]:
    code = run(ConvertSettings(leaks=[str(first), str(second)], out=str(out)))
    content = json.loads((out / "leaks.json").read_text())
    assert code == (1 if content["leaks"] else 0)
    found: list[dict[str, Any]] = content["leaks"]
    return found


def test_leaks_without_pictures_and_from_shards_are_the_same(
    sets: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = leaks(sets["one"], sets["two"], tmp_path / "a")
    said = [(row["image"], row["same_as"], row["how"], row["boxes"] == "the same") for row in found]
    assert said == [
        ("000001.jpg", "000002.jpg", "equal bytes", False),
        ("000003.jpg", "000001.jpg", "equal pixels", True),
        ("000005.jpg", "000004.jpg", "nearly equal", True),
    ]
    assert "overlap by 0.91" in found[0]["boxes"]
    table = capsys.readouterr().out
    assert "train in train" in table and "exclude=" in table
    # A set without hashes is read from its shards: the same is found.
    assert leaks(sets["plain"], sets["two"], tmp_path / "b") == found
    cost = capsys.readouterr().out
    assert f"{sets['plain'] / 'train'}: its manifest has no hashes" in cost
    assert cost.count("are read from its shards and decoded") == 1
    # Manifests and ground truth alone: pixels cannot be compared, everything else can.
    for name in ("one", "two", "usual", "plain"):
        shutil.copytree(sets[name], tmp_path / name, ignore=shutil.ignore_patterns("*.mindrecord*"))
    bare = leaks(tmp_path / "one", tmp_path / "two", tmp_path / "c")
    assert [(r["image"], r["same_as"], r["how"]) for r in bare] == [
        ("000001.jpg", "000002.jpg", "equal bytes"),
        ("000003.jpg", "000001.jpg", "nearly equal"),
        ("000005.jpg", "000004.jpg", "nearly equal"),
    ]
    capsys.readouterr()
    only_bytes = leaks(tmp_path / "usual", tmp_path / "two", tmp_path / "d")
    assert [(r["image"], r["how"]) for r in only_bytes] == [("000001.jpg", "equal bytes")]
    assert "image.hashes=pictures" in capsys.readouterr().out
    with pytest.raises(DataError, match="has no hashes of pictures"):
        leaks(tmp_path / "plain", tmp_path / "two", tmp_path / "e")


def test_the_list_of_leaks_is_taken_by_exclude(sets: dict[str, Path], tmp_path: Path) -> None:
    leaks(sets["one"], sets["two"], tmp_path / "leaks")
    with open(tmp_path / "leaks/leaks.csv", newline="", encoding="utf-8") as file:
        assert [row["action"] for row in csv.DictReader(file)] == ["drop_image"] * 3
    exclude = str(tmp_path / "leaks/leaks.csv")
    run(coco_settings(sets["raw_one"], tmp_path / "clean", exclude=exclude))
    assert read_manifest(tmp_path / "clean/train").totals["images"] == 2
    assert leaks(tmp_path / "clean", sets["two"], tmp_path / "none") == []


def test_hashes_are_no_part_of_the_fingerprint_and_verified(
    sets: dict[str, Path], tmp_path: Path
) -> None:
    manifests = {name: read_manifest(sets[name] / "train") for name in ("one", "plain", "usual")}
    assert len({m.fingerprint for m in manifests.values()}) == 1
    assert manifests["plain"].hashes == {} and set(manifests["usual"].hashes) == {IDS, BYTES}
    assert "hashes" not in json.loads((sets["plain"] / "train/manifest.json").read_text())
    ids = stored_hashes(manifests["one"], IDS)
    assert ids is not None and [unpack_id(data) for data in ids] == [1, 2, 3, 4, 5]
    assert list(verify_split(sets["one"] / "train")) == []
    shutil.copytree(sets["one"], tmp_path / "bad")
    path = tmp_path / "bad/train/manifest.json"
    content = json.loads(path.read_text())
    (name,) = content["hashes"]["bytes"]
    good = content["hashes"]["bytes"][name]
    content["hashes"]["bytes"][name] = ("B" if good[0] == "A" else "A") + good[1:]
    path.write_text(json.dumps(content))
    (problem,) = verify_split(tmp_path / "bad/train")
    assert "image 1: its hash is that of another picture" in problem
    content["hashes"]["bytes"][name] = good[:-4]
    path.write_text(json.dumps(content))
    (problem,) = verify_split(tmp_path / "bad/train")
    assert "not one for each row" in problem
    assert stored_hashes(read_manifest(tmp_path / "bad/train"), PICTURES) is not None


def test_a_set_that_grew_between_its_images_keeps_whose_hashes_are_whose(tmp_path: Path) -> None:
    """Images 2 and 4 came later: the rows of two shards take turns."""
    write_set(tmp_path / "raw", [1, 2, 3, 4, 5])
    old = json.loads((tmp_path / "raw/train.json").read_text())
    some = {**old, "images": [e for e in old["images"] if e["id"] in (1, 3, 5)]}
    some["annotations"] = [e for e in old["annotations"] if e["image_id"] in (1, 3, 5)]
    (tmp_path / "raw/some.json").write_text(json.dumps(some))
    splits = {"train": SplitSettings(annotations="some.json", images="images")}
    run(coco_settings(tmp_path / "raw", tmp_path / "small", dataset_splits=splits))
    run(
        coco_settings(
            tmp_path / "raw",
            tmp_path / "grown",
            extend=str(tmp_path / "small"),
            image=PICTURES_KEPT,
        )
    )
    grown = tmp_path / "grown/train"
    assert list(verify_split(grown)) == []
    write_set(tmp_path / "raw_other", [9, 2])
    run(coco_settings(tmp_path / "raw_other", tmp_path / "other"))
    for path in grown.glob("*.mindrecord*"):
        path.unlink()
    found = leaks(tmp_path / "grown", tmp_path / "other", tmp_path / "out")
    assert [(r["image"], r["same_as"]) for r in found] == [("000002.jpg", "000002.jpg")]


def test_what_leaks_refuses(sets: dict[str, Path], tmp_path: Path) -> None:
    one, two = str(sets["one"]), str(sets["two"])
    for given, out, words in (
        ([one], "x", "expected two converted sets"),
        ([one, one], "x", "one and the same"),
        ([one, f"{one}/train"], "x", "one and the same"),
        ([one, two], one, "a converted set"),
    ):
        with pytest.raises(SettingError, match=words):
            run_leaks(ConvertSettings(leaks=given, out=str(tmp_path / out)))
    with pytest.raises(DataError, match="no converted set"):
        run_leaks(ConvertSettings(leaks=[one, str(tmp_path / "no")], out=str(tmp_path / "x")))
