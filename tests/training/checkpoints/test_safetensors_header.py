"""Headers of safetensors files: what is wrong with one is said before a number is read."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save

from data_tools.core.errors import CheckpointError
from training.checkpoints.safetensors_header import check_header
from training.checkpoints.weight_files import read_weights

A = '"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}'
B = '"b":{"dtype":"F32","shape":[2],"data_offsets":[%d,%d]}'


def file_of(header: str | bytes, data: int = 16, length: int | None = None) -> bytes:
    raw = header.encode() if isinstance(header, str) else header
    return struct.pack("<Q", len(raw) if length is None else length) + raw + bytes(data)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (file_of("{" + A + "}", 8, length=5 << 30), "header should have 5368709120 bytes"),
        (file_of("{" + A + "}", 8, length=2**63), "header should have"),
        (file_of("{" + A + "," + B % (4, 12) + "}", 12), "'a' and 'b' overlap"),
        (file_of("{" + A + "," + B % (0, 8) + "}", 8), "'a' and 'b' overlap"),
        (file_of("{" + A + "," + B % (12, 20) + "}", 20), "leave a gap"),
        (file_of("{" + A + "," + A + "}", 8), "name a stands in it twice"),
        (file_of("{" + A + "}", 4), "take 8 bytes, but 4 follow"),
        (file_of("{" + A + "}", 12), "take 8 bytes, but 12 follow"),
        (file_of(A.join("{}").replace("[2]", "[3]"), 8), "does not fill"),
        (file_of(A.join("{}").replace("[2]", "[-2]"), 8), "not described"),
        (file_of(A.join("{}").replace("F32", "F33"), 8), "not described"),
        (file_of("[" * 100_000, 0), "nested|cannot be read"),
        (file_of("not json", 0), "cannot be read"),
        (b"abc", "header should have"),
    ],
)
def test_bad_headers_are_refused(content: bytes, words: str, tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=words):
        read_weights(path)


def test_a_good_header_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    path.write_bytes(save({"x": np.ones((2, 3), np.float32), "y": np.zeros(0, np.int64)}))
    assert set(check_header(path)) == {"x", "y"}
    assert json.loads(path.read_bytes()[8:].split(b"}}")[0] + b"}}")


def test_bfloat16_is_widened_whatever_was_imported(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    entry = '"a":{"dtype":"BF16","shape":[2],"data_offsets":[0,4]}'
    path.write_bytes(file_of("{" + entry + "}", 0) + bytes.fromhex("803f20c0"))
    found = read_weights(path)["a"]
    assert found.dtype == np.float32 and found.tolist() == [1.0, -2.5]


def test_a_kind_that_numpy_lacks_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    path.write_bytes(file_of(A.join("{}").replace("F32", "F8_E4M3").replace("[2]", "[8]"), 8))
    with pytest.raises(CheckpointError, match="'a' is stored as F8_E4M3"):
        read_weights(path)


def test_a_length_that_reads_as_a_page_is_none(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    path.write_bytes(file_of(("{" + A + "}").ljust(0x227B), 8))  # begins with {"
    assert set(read_weights(path)) == {"a"}


def test_without_tensors_there_are_no_weights(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    path.write_bytes(file_of('{"__metadata__":{"format":"pt"}}', 0))
    with pytest.raises(CheckpointError, match="no weights at all"):
        read_weights(path)
