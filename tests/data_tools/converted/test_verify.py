"""Verification finds any change of any byte, names the shard and its images, and never dies of
it.
"""

from __future__ import annotations

import json
import random
from pathlib import Path

import numpy as np
import pytest

from data_tools.command import run
from data_tools.convert.settings import ConvertSettings
from data_tools.converted.verify import run_verify, verify_split
from data_tools.core.errors import DataError
from data_tools.core.files import sha256_of_file
from data_tools.shards.manifest import Manifest, read_manifest
from data_tools.shards.mindrecord_writer import MindRecordWriter
from tests.helpers.raw_sets import coco_settings, write_plain_coco


@pytest.fixture
def converted(tmp_path: Path) -> Path:
    write_plain_coco(tmp_path, 9)
    run(coco_settings(tmp_path, tmp_path / "out", shards=3))
    return tmp_path / "out"


def flip(path: Path, place: int) -> None:
    with open(path, "r+b") as file:
        file.seek(place)
        byte = file.read(1)[0]
        file.seek(place)
        file.write(bytes([byte ^ 0x10]))


def test_good_set(converted: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(ConvertSettings(verify=str(converted))) == 0
    assert run_verify(converted / "train") == 0
    assert "train: 9 rows checked" in capsys.readouterr().out


def test_any_flipped_byte_is_found_and_named(
    converted: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = converted / "train"
    shard = folder / "train-00001.mindrecord"
    rng = random.Random(1)
    places = {shard: [0, 3, 9, 40, 700, 1 << 20, (1 << 20) + 300, shard.stat().st_size - 1]}
    places[shard] += [rng.randrange(shard.stat().st_size) for _ in range(12)]
    index = folder / "train-00001.mindrecord.db"
    places[index] = [0, 20, 97, 5000, index.stat().st_size - 1]
    for path, spots in places.items():
        for place in spots:
            flip(path, place)
            assert run(ConvertSettings(verify=str(converted))) == 1, (path, place)
            printed = capsys.readouterr().out
            assert f"BAD {path}: its sha256" in printed and "it holds 3 images: 4, 5, 6" in printed
            flip(path, place)
    assert run_verify(converted) == 0


def test_the_damaged_image_is_named_where_it_shows(converted: Path) -> None:
    shard = converted / "train" / "train-00002.mindrecord"
    data = shard.read_bytes()
    start = data.index(b"\xff\xd8\xff", data.index(b"\xff\xd8\xff", 1 << 20) + 2)
    with open(shard, "r+b") as file:
        file.seek(start + 600)
        file.write(b"\xff\x07" * 20)
    found = list(verify_split(converted / "train"))
    assert any("image 8 (row 1)" in line for line in found), found


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("annotations.json", "its sha256"),
        ("report.json", "its sha256"),
        ("manifest.json", "fingerprint|not readable"),
    ],
)
def test_the_other_files(converted: Path, name: str, message: str) -> None:
    path = converted / "train" / name
    text = path.read_text()
    path.write_text(text.replace("1", "2", 1))
    problems = list(verify_split(converted / "train"))
    assert problems and any(name in p for p in problems)
    import re

    assert re.search(message, problems[0])


def test_missing_cut_and_foreign_files(converted: Path) -> None:
    folder = converted / "train"
    (folder / "train-00000.mindrecord.db").unlink()
    shard = folder / "train-00001.mindrecord"
    shard.write_bytes(shard.read_bytes()[:-5])
    (folder / "notes.txt").write_text("x")
    problems = "\n".join(verify_split(folder))
    assert "train-00000.mindrecord.db: missing; it holds 3 images: 1, 2, 3" in problems
    assert "train-00001.mindrecord: " in problems and "bytes, the manifest says" in problems
    assert "notes.txt: the manifest does not know this file" in problems
    (folder / "annotations.json").unlink()
    problems = "\n".join(verify_split(folder))
    assert "it holds 3 images, 4 to 6" in problems


def test_rows_that_disagree_with_the_ground_truth(converted: Path) -> None:
    """All hashes agree, the content does not: what a faulty converter would make."""
    folder = converted / "train"
    path = folder / "annotations.json"
    content = json.loads(path.read_text())
    content["annotations"][0]["bbox"][0] += 0.5
    content["annotations"][1]["category_id"] = (
        7 if content["annotations"][1]["category_id"] == 1 else 1
    )
    content["annotations"].pop()
    content["images"][3]["height"] += 1
    path.write_text(json.dumps(content))
    manifest = read_manifest(folder)
    files = {**manifest.files, "annotations.json": sha256_of_file(path)}
    Manifest(**{**manifest.__dict__, "files": files}).write(folder)
    problems = "\n".join(verify_split(folder))
    assert "image 1 (row 0): a box is 0.5 pixels away" in problems
    assert "labels" in problems and "image 4 (row 3): size" in problems


def test_no_set(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no converted set"):
        run_verify(tmp_path)
    (tmp_path / "out.partial").mkdir()
    with pytest.raises(DataError, match="holds an unfinished one"):
        run_verify(tmp_path / "out")


def test_a_shard_of_another_schema(converted: Path) -> None:
    folder = converted / "train"
    shard = folder / "train-00001.mindrecord"
    shard.unlink()
    Path(f"{shard}.db").unlink()
    schema = {
        "a": {"type": "bytes"},
        "b": {"type": "float32", "shape": [-1]},
        "n": {"type": "int32"},
    }
    writer = MindRecordWriter(shard, schema, "other", 1 << 14, 1 << 15)
    for k in range(3):
        writer.write({"a": b"x", "b": np.zeros(2, np.float32), "n": k})
    writer.close()
    assert any("train-00001" in problem for problem in verify_split(folder))
