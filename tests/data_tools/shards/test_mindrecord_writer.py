"""Our MindRecord files are byte for byte FileWriter's, and MindSpore reads them back."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_tools.shards.mindrecord_integers import pack_integers, unpack_integers
from data_tools.shards.mindrecord_reader import ShardFile
from data_tools.shards.mindrecord_writer import MindRecordWriter
from data_tools.shards.schema import COLUMNS, DESCRIPTION

NAME = "train-00000.mindrecord"


def rows(count: int, seed: int, largest: int) -> Iterator[dict[str, Any]]:
    rng = np.random.default_rng(seed)
    ids = [
        0,
        1,
        127,
        128,
        255,
        256,
        65535,
        65536,
        2**31,
        2**32,
        2**40,
        -1,
        -32,
        -33,
        -129,
        -40000,
        -(2**40),
    ]
    for index in range(count):
        boxes = int(rng.integers(1, 12))
        yield {
            "image_id": int(ids[index % len(ids)]) + index // len(ids),
            "image": rng.bytes(int(rng.integers(1, largest))),
            "height": int(rng.integers(1, 70000)),
            "width": int(rng.integers(1, 300)),
            "num_boxes": boxes,
            "boxes": rng.random((boxes, 4), np.float32) * 900,
            "labels": rng.integers(-(2**31), 2**31, boxes).astype(np.int32),
            "iscrowd": np.zeros(boxes, np.int32),
            "difficult": rng.integers(0, 2, boxes).astype(np.int32),
        }


def write(folder: Path, made: Iterator[dict[str, Any]], header: int, page: int) -> Path:
    folder.mkdir()
    writer = MindRecordWriter(folder / NAME, COLUMNS, DESCRIPTION, header, page)
    for row in made:
        writer.write(row)
    writer.close()
    return folder / NAME


def table(path: Path) -> list[Any]:
    with sqlite3.connect(f"{path}.db") as base:
        return [
            base.execute(f"SELECT * FROM {name}").fetchall()
            for name in ("INDEXES", "SHARD_NAME", "sqlite_master")
        ]


@pytest.mark.parametrize(
    ("count", "largest", "header", "page"),
    [(1, 50, 1 << 14, 1 << 15), (60, 5000, 1 << 15, 1 << 15), (120, 300, 1 << 14, 1 << 17)],
)
def test_the_bytes_are_file_writers(
    tmp_path: Path, count: int, largest: int, header: int, page: int
) -> None:
    from mindspore.mindrecord import FileWriter

    ours = write(tmp_path / "ours", rows(count, 1, largest), header, page)
    (tmp_path / "theirs").mkdir()
    writer = FileWriter(str(tmp_path / "theirs" / NAME), 1)
    writer.set_header_size(header)
    writer.set_page_size(page)
    writer.add_schema(COLUMNS, DESCRIPTION)
    for row in rows(count, 1, largest):
        writer.write_raw_data([row])
    writer.commit()
    assert ours.read_bytes() == (tmp_path / "theirs" / NAME).read_bytes()
    assert table(ours) == table(tmp_path / "theirs" / NAME)


def test_mindspore_reads_every_column_back(tmp_path: Path) -> None:
    from mindspore.dataset import MindDataset

    path = write(tmp_path / "ours", rows(30, 2, 3000), 1 << 15, 1 << 15)
    dataset = MindDataset([str(path)], shuffle=False)
    found = list(dataset.create_dict_iterator(num_epochs=1, output_numpy=True))
    assert len(found) == 30
    for got, row in zip(found, rows(30, 2, 3000), strict=True):
        assert got["image"].tobytes() == row["image"]
        for name in COLUMNS:
            if name != "image":
                np.testing.assert_array_equal(got[name], row[name])


def test_the_same_rows_make_the_same_bytes(tmp_path: Path) -> None:
    one = write(tmp_path / "a", rows(20, 3, 500), 1 << 14, 1 << 15)
    two = write(tmp_path / "b", rows(20, 3, 500), 1 << 14, 1 << 15)
    assert one.read_bytes() == two.read_bytes()
    assert Path(f"{one}.db").read_bytes() == Path(f"{two}.db").read_bytes()


@settings(max_examples=80, deadline=None)
@given(st.lists(st.integers(-(2**31), 2**31 - 1), min_size=1, max_size=40))
def test_packed_integers(values: list[int]) -> None:
    packed = pack_integers(np.array(values, np.int32))
    assert unpack_integers(packed, np.dtype("<i4")).tolist() == values


def test_bad_rows_are_refused_not_dropped(tmp_path: Path) -> None:
    (good,) = rows(1, 4, 100)
    writer = MindRecordWriter(tmp_path / NAME, COLUMNS, DESCRIPTION, 1 << 14, 1 << 15)
    for change in (
        {"boxes": good["boxes"].astype(np.float64)},
        {"boxes": np.zeros((0, 4), np.float32)},
        {"labels": good["labels"][:, None]},
        {"image": bytes(1 << 15)},
    ):
        with pytest.raises(ValueError, match=r"column|page"):
            writer.write({**good, **change})
    with pytest.raises(KeyError):
        writer.write({"image": b""})
    writer.write(good)
    assert writer.close() == 1
    assert len(ShardFile(tmp_path / NAME, ("image_id",))) == 1
    with pytest.raises(FileExistsError):
        MindRecordWriter(tmp_path / NAME, COLUMNS, DESCRIPTION, 1 << 14, 1 << 15)


def test_an_empty_shard_and_a_full_header_are_refused(tmp_path: Path) -> None:
    writer = MindRecordWriter(tmp_path / "a.mindrecord", COLUMNS, DESCRIPTION, 1 << 14, 1 << 15)
    with pytest.raises(ValueError, match="0 rows"):
        writer.close()
    writer.abort()
    writer = MindRecordWriter(tmp_path / "b.mindrecord", COLUMNS, DESCRIPTION, 1200, 1 << 15)
    for row in rows(20, 5, 20000):
        writer.write(row)
    with pytest.raises(ValueError, match="do not fit the header"):
        writer.close()
    writer.abort()


def test_an_index_without_room_names_its_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = MindRecordWriter(tmp_path / NAME, COLUMNS, DESCRIPTION, 1 << 14, 1 << 15)
    for row in rows(3, 1, 50):
        writer.write(row)
    connect = sqlite3.connect

    def small(*arguments: Any, **options: Any) -> sqlite3.Connection:
        connection = connect(*arguments, **options)
        connection.execute("PRAGMA max_page_count=2")  # "database or disk is full"
        return connection

    monkeypatch.setattr(sqlite3, "connect", small)
    with pytest.raises(OSError, match=r"No space left.*is full") as caught:
        writer.close()
    assert caught.value.filename == str(tmp_path / f"{NAME}.db")
