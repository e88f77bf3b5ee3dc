"""What is written to a shard is read back, whole, also empty arrays, forks, threads and damage."""

from __future__ import annotations

import multiprocessing
import pickle
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from data_tools.core.errors import DataError
from data_tools.core.sample import ClassInfo, Sample
from data_tools.shards.manifest import ConvertedSplit, Manifest, open_split, read_manifest
from data_tools.shards.reader import RowReader
from data_tools.shards.schema import row_from_sample
from data_tools.shards.writer import ShardWriter


def closed_form_sample(image_id: int) -> Sample:
    """Sample i has i % 4 boxes, and its bytes end in zeros, which a careless reader loses."""
    count = image_id % 4
    return Sample(
        image_id=image_id,
        file_name=f"{image_id}.jpg",
        path=None,
        height=100 + image_id,
        width=200,
        boxes_yxyx_px=np.full((count, 4), image_id + 0.25),
        category_ids=np.zeros(count, np.int64),
        iscrowd=np.arange(count) == 1,
        difficult=np.arange(count) == 2,
        areas_px=np.ones(count),
        annotation_ids=np.arange(count),
        image=bytes([image_id]) * (image_id + 1) + b"\0\0\0",
    )


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("set")
    folder = root / "train"
    folder.mkdir()
    shards, next_id = [], 1
    for number, rows in enumerate((3, 1, 4)):
        writer = ShardWriter(folder / f"train-{number:05d}.mindrecord")
        for _ in range(rows):
            sample = closed_form_sample(next_id)
            labels = np.full(len(sample.boxes_yxyx_px), 1 + next_id % 2)
            writer.write([row_from_sample(sample, sample.read_bytes(), labels)])
            next_id += 1
        shards.append(writer.close())
    classes = (ClassInfo(1, "a", 7), ClassInfo(2, "b", 9))
    Manifest("train", classes, tuple(shards), {"images": 8}).write(folder)
    return root


@pytest.fixture
def split(data: Path) -> ConvertedSplit:
    return open_split(data, "train")


def check_row(reader: RowReader, index: int) -> None:
    row, want = reader[index], closed_form_sample(index + 1)
    assert row.image_id == want.image_id
    assert row.image.tobytes() == want.image
    assert (row.height, row.width) == (want.height, want.width)
    np.testing.assert_array_equal(row.boxes_yxyx_px, want.boxes_yxyx_px.astype(np.float32))
    assert row.labels.tolist() == [1 + want.image_id % 2] * len(want.boxes_yxyx_px)
    np.testing.assert_array_equal(row.iscrowd, want.iscrowd)
    np.testing.assert_array_equal(row.difficult, want.difficult)


def test_every_row_comes_back(split: ConvertedSplit) -> None:
    reader = RowReader(split)
    assert len(reader) == 8
    for index in (7, 0, 3, 1, 2, 6, 5, 4):
        check_row(reader, index)


@pytest.mark.parametrize("index", [-1, 8])
def test_rows_outside_are_refused(split: ConvertedSplit, index: int) -> None:
    with pytest.raises(IndexError, match="of 8"):
        RowReader(split)[index]


def test_readers_cross_threads_and_pickles(split: ConvertedSplit) -> None:
    reader = pickle.loads(pickle.dumps(RowReader(split)))
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda index: check_row(reader, index), list(range(8)) * 5))


def _read_in_child(reader: RowReader, queue: multiprocessing.Queue) -> None:
    queue.put([reader[index].image_id for index in range(8)])


def test_readers_cross_forks(split: ConvertedSplit) -> None:
    reader = RowReader(split)
    check_row(reader, 0)  # opened before the fork
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    child = context.Process(target=_read_in_child, args=(reader, queue))
    child.start()
    assert queue.get(timeout=60) == list(range(1, 9))
    child.join(60)
    assert child.exitcode == 0


def test_shard_of_names_the_file(split: ConvertedSplit) -> None:
    names = [RowReader(split).shard_of(i).name[6:11] for i in (0, 2, 3, 4, 7)]
    assert names == ["00000", "00000", "00001", "00002", "00002"]


def test_a_row_that_the_library_would_drop_is_refused(tmp_path: Path) -> None:
    writer = ShardWriter(tmp_path / "a.mindrecord")
    sample = closed_form_sample(1)
    row = row_from_sample(sample, sample.read_bytes(), np.ones(1))
    bad = {**row, "boxes": row["boxes"].astype(np.float64)}
    with pytest.raises(ValueError, match="column boxes: float64"):
        writer.write([row, bad])
    writer.abort()


def test_a_shard_is_never_written_over(tmp_path: Path) -> None:
    (tmp_path / "a.mindrecord").write_bytes(b"x")
    with pytest.raises(FileExistsError):
        ShardWriter(tmp_path / "a.mindrecord")
    assert (tmp_path / "a.mindrecord").read_bytes() == b"x"


def test_the_fingerprint_covers_everything_but_the_tool(data: Path) -> None:
    import dataclasses

    manifest = read_manifest(data / "train")
    same = dataclasses.replace(manifest, tool_version="another")
    assert same.fingerprint == manifest.fingerprint
    for change in ({"split": "x"}, {"totals": {}}, {"shards": manifest.shards[:1]}):
        assert dataclasses.replace(manifest, **change).fingerprint != manifest.fingerprint


def test_a_manifest_changed_by_hand_is_refused(data: Path, tmp_path: Path) -> None:
    text = (data / "train" / "manifest.json").read_text()
    (tmp_path / "manifest.json").write_text(text.replace('"rows": 4', '"rows": 5'))
    with pytest.raises(DataError, match="does not agree with its fingerprint"):
        read_manifest(tmp_path)
    (tmp_path / "manifest.json").write_text(text[: len(text) // 2])
    with pytest.raises(DataError, match="not readable as JSON"):
        read_manifest(tmp_path)
    (tmp_path / "manifest.json").write_text('{"a": 1}')
    with pytest.raises(DataError, match="not a manifest"):
        read_manifest(tmp_path)
    with pytest.raises(DataError, match="Convert the data set first"):
        read_manifest(tmp_path / "nowhere")


def test_missing_splits_and_cut_shards_are_named(data: Path, tmp_path: Path) -> None:
    import shutil

    with pytest.raises(DataError, match=r"no split 'val'.*\['train'\].*convert\.py"):
        open_split(data, "val")
    copy = shutil.copytree(data, tmp_path / "copy")
    shard = copy / "train" / "train-00001.mindrecord"
    shard.write_bytes(shard.read_bytes()[:-1])
    with pytest.raises(DataError, match=r"train-00001.*bytes; the manifest says.*ids \d+ to \d+"):
        open_split(copy, "train")
    shard.unlink()
    with pytest.raises(DataError, match=r"train-00001.*missing.*ids \d+ to \d+"):
        open_split(copy, "train")


@pytest.mark.parametrize("field", ["shards", "files"])
@pytest.mark.parametrize("name", ["../x", "/etc/passwd", "a/b", "..", ""])
def test_a_manifest_that_names_files_elsewhere_is_refused(
    data: Path, tmp_path: Path, field: str, name: str
) -> None:
    """By every reader: `verify` would hash, and so tell about, any file of the machine."""
    import dataclasses

    manifest = read_manifest(data / "train")
    if field == "shards":
        shards = (dataclasses.replace(manifest.shards[0], file=name), *manifest.shards[1:])
        forged = dataclasses.replace(manifest, shards=shards)
    else:
        forged = dataclasses.replace(manifest, files={name: "0" * 64})
    forged.write(tmp_path)  # its fingerprint is right
    with pytest.raises(DataError, match="leaves the folder"):
        read_manifest(tmp_path)
