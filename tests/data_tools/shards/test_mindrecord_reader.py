"""Rows read straight from the pages are the library's own, whatever is in them; damage is an
error.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_tools.shards.mindrecord_reader import ShardError, ShardFile

EDGES = [
    0,
    1,
    -1,
    127,
    128,
    -128,
    -129,
    255,
    256,
    32767,
    32768,
    -32768,
    -32769,
    2**31 - 1,
    -(2**31),
]
COLUMNS = {
    "id": {"type": "int64"},
    "bytes": {"type": "bytes"},
    "boxes": {"type": "float32", "shape": [-1, 4]},
    "table": {"type": "int32", "shape": [-1, 5]},
    "long": {"type": "int64", "shape": [-1]},
    "double": {"type": "float64", "shape": [-1]},
}
ARRAYS = ("bytes", "boxes", "table", "long", "double")


def write(path: Path, rows: list[dict]) -> None:
    from mindspore.mindrecord import FileWriter

    writer = FileWriter(str(path), shard_num=1, overwrite=True)
    writer.set_header_size(1 << 16)
    writer.set_page_size(1 << 16)
    writer.add_schema(COLUMNS, "test")
    writer.write_raw_data(rows)
    writer.commit()


def random_row(rng: np.random.Generator, index: int) -> dict:
    count = int(rng.integers(1, 9))
    scale = 10.0 ** rng.integers(0, 10)
    return {
        "id": int(rng.integers(-(2**62), 2**62)),
        "bytes": rng.bytes(int(rng.integers(1, 5000))) + b"\0" * (index % 3),
        "boxes": rng.normal(size=(count, 4)).astype(np.float32),
        "table": np.clip(rng.normal(size=(count, 5)) * scale, -(2**31), 2**31 - 1).astype(np.int32),
        "long": (rng.normal(size=count) * scale**1.8).astype(np.int64),
        "double": rng.normal(size=count),
    }


@pytest.fixture(scope="module")
def rows() -> list[dict]:
    rng = np.random.default_rng(3)
    made = [random_row(rng, index) for index in range(60)]
    made[0]["table"] = np.resize(np.array(EDGES), (9, 5)).astype(np.int32)
    made[1]["long"] = np.array([*EDGES, 2**31, -(2**31) - 1, 2**63 - 1, -(2**63)], np.int64)
    return made


@pytest.fixture(scope="module")
def path(rows: list[dict], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("shard") / "a b'ü#%.mindrecord".replace("'", "")
    write(path, rows)
    return path


def test_every_column_is_what_was_written(path: Path, rows: list[dict]) -> None:
    file = ShardFile(path, ("id",))
    assert len(file) == len(rows)
    assert file.scalars["id"].tolist() == [row["id"] for row in rows]
    for index in reversed(range(len(rows))):
        arrays = file.arrays(index, ARRAYS)
        assert arrays["bytes"].tobytes() == rows[index]["bytes"]
        for name in ARRAYS[1:]:
            assert arrays[name].dtype == rows[index][name].dtype
            np.testing.assert_array_equal(arrays[name], rows[index][name])


def test_every_column_is_what_mindspore_reads(path: Path) -> None:
    from mindspore.dataset import MindDataset

    file = ShardFile(path, ("id",))
    library = MindDataset([str(path)], columns_list=["id", *ARRAYS], shuffle=False)
    for index in range(0, len(file), 7):
        number, image, *others = library[index]
        ours = file.arrays(index, ARRAYS)
        assert int(number) == file.scalars["id"][index]
        assert np.ascontiguousarray(image).tobytes() == ours["bytes"].tobytes()
        for name, value in zip(ARRAYS[1:], others, strict=True):
            np.testing.assert_array_equal(ours[name], value)


def test_only_the_columns_asked_for_are_made(path: Path) -> None:
    assert set(ShardFile(path, ("id",)).arrays(0, ("boxes",))) == {"boxes"}


@pytest.fixture
def copy(path: Path, tmp_path: Path) -> Path:
    target = tmp_path / path.name
    target.write_bytes(path.read_bytes())
    index = target.with_name(target.name + ".db")
    index.write_bytes(path.with_name(path.name + ".db").read_bytes())
    return target


def read_all(path: Path) -> None:
    file = ShardFile(path, ("id",))
    for index in range(len(file)):
        file.arrays(index, ARRAYS)


def test_a_file_cut_short_is_an_error_in_the_rows_lost(copy: Path) -> None:
    copy.write_bytes(copy.read_bytes()[: (1 << 16) + 5000])
    file = ShardFile(copy, ("id",))
    file.arrays(0, ARRAYS)
    with pytest.raises(ShardError, match="ends within the row"):
        file.arrays(59, ARRAYS)


@pytest.mark.parametrize("content", [b"", b"\0" * 9, b"\xff" * 4096, b"\x05\0\0\0\0\0\0\0hello"])
def test_other_files_are_refused(copy: Path, content: bytes) -> None:
    copy.write_bytes(content)
    with pytest.raises(ShardError):
        ShardFile(copy, ("id",))


def test_another_layout_is_refused(copy: Path) -> None:
    copy.write_bytes(copy.read_bytes().replace(b'"version":"3.0"', b'"version":"4.0"'))
    with pytest.raises(ShardError, match=r"version '4\.0', expected '3\.0'"):
        ShardFile(copy, ("id",))


def test_an_index_of_another_file_is_refused(copy: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.mindrecord"
    copy.rename(other)
    copy.with_name(copy.name + ".db").rename(tmp_path / "other.mindrecord.db")
    with pytest.raises(ShardError, match="belongs to a file named"):
        ShardFile(other, ("id",))


@pytest.mark.parametrize("damage", ["missing", "empty", "rubbish"])
def test_a_damaged_index_is_refused(copy: Path, damage: str) -> None:
    index = copy.with_name(copy.name + ".db")
    if damage == "missing":
        index.unlink()
    else:
        index.write_bytes(b"" if damage == "empty" else b"no database" * 500)
    with pytest.raises((ShardError, OSError)):
        ShardFile(copy, ("id",))


@settings(max_examples=150, deadline=None)
@given(offset=st.integers(0, 200_000), value=st.integers(0, 255))
def test_a_changed_byte_never_ends_the_process(
    path: Path, tmp_path_factory: pytest.TempPathFactory, offset: int, value: int
) -> None:
    content = bytearray(path.read_bytes())
    content[offset % len(content)] = value
    target = tmp_path_factory.mktemp("damaged") / path.name
    target.write_bytes(content)
    (target.parent / (path.name + ".db")).write_bytes(
        path.with_name(path.name + ".db").read_bytes()
    )
    try:
        read_all(target)
    except (ShardError, OSError):
        pass
