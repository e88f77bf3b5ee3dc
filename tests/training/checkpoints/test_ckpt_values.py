"""A `.ckpt` read without MindSpore holds what MindSpore reads in it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mindspore as ms
import numpy as np
import pytest

from data_tools.core.errors import CheckpointError
from training.checkpoints.ckpt_values import read_message, read_values
from training.checkpoints.weight_files import read_weights

VALUES = {
    "number": np.array(3, np.float32),
    "one": np.array([7], np.int32),
    "matrix": np.arange(6, dtype=np.float64).reshape(2, 3),
    "half": np.array([[1.5], [-2]], np.float16),
    "flags": np.array([True, False]),
    "small": np.arange(-3, 4, dtype=np.int8),
}


def write(path: Path, **options: Any) -> Path:
    rows = [{"name": name, "data": ms.Tensor(value)} for name, value in VALUES.items()]
    rows.append({"name": "bf16", "data": ms.Tensor([1.5, -3.0], ms.bfloat16)})
    ms.save_checkpoint(rows, str(path), **options)
    return path


@pytest.mark.parametrize(
    "options", [{}, {"crc_check": True}, {"append_dict": {"epoch": 3, "run": "a text"}}]
)
def test_values_are_those_that_mindspore_reads(options: dict[str, Any], tmp_path: Path) -> None:
    path = write(tmp_path / "a.ckpt", **options)
    want = {
        name: value.asnumpy()
        for name, value in ms.load_checkpoint(str(path)).items()
        if not isinstance(value, str)
    }
    found = read_values(path)
    assert list(found) == list(want)
    for name, value in found.items():
        assert value.shape == want[name].shape
        assert value.dtype == (np.float32 if name == "bf16" else want[name].dtype)
        np.testing.assert_array_equal(value, want[name].astype(value.dtype))
        value[...] = 0  # it may be written to


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda tensor: tensor.dims.append(2), "of shape .* has 4 bytes"),
        (lambda tensor: setattr(tensor, "tensor_type", "Complex64"), "unknown kind 'Complex64'"),
        (lambda tensor: setattr(tensor, "tensor_content", b"abc"), "has 3 bytes"),
    ],
)
def test_an_entry_that_contradicts_itself_is_refused(
    change: Any, words: str, tmp_path: Path
) -> None:
    message = read_message(write(tmp_path / "a.ckpt"))
    change(message.value[0].tensor)
    (tmp_path / "b.ckpt").write_bytes(message.SerializeToString())
    with pytest.raises(CheckpointError, match=f"b.ckpt is no MindSpore checkpoint.*{words}"):
        read_weights(tmp_path / "b.ckpt")


def test_a_large_tensor_in_pieces_is_joined(tmp_path: Path) -> None:
    message = read_message(write(tmp_path / "a.ckpt"))
    matrix = next(v for v in message.value if v.tag == "matrix")
    content = matrix.tensor.tensor_content
    matrix.tensor.tensor_content = content[:16]
    rest = type(matrix)()
    rest.CopyFrom(matrix)
    rest.tensor.tensor_content = content[16:]
    message.value.insert(list(message.value).index(matrix) + 1, rest)
    (tmp_path / "b.ckpt").write_bytes(message.SerializeToString())
    np.testing.assert_array_equal(read_values(tmp_path / "b.ckpt")["matrix"], VALUES["matrix"])
