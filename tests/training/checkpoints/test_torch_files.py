"""torch's files, read without running them: what is read, what is refused, and what a fuzzer makes
of it.
"""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_tools.core.errors import CheckpointError
from tests.helpers.torch_files import (
    legacy_file,
    number,
    storage_pickle,
    text,
    torch_file,
    zip_file,
)
from training.checkpoints.torch_files import read_torch
from training.checkpoints.weight_files import is_torchvision, read_weights, read_with_rest

ARRAYS = {
    "conv.weight": np.arange(54, dtype=np.float32).reshape(2, 3, 3, 3) / 7,
    "bn.running_var": np.linspace(0, 1, 5).astype(np.float64),
    "bn.num_batches_tracked": np.array(12, np.int64),
    "empty": np.zeros((0, 4), np.float32),
}


def read(content: bytes, folder: Path) -> dict[str, np.ndarray]:
    path = folder / "weights.pth"
    path.write_bytes(content)
    return read_torch(path)


@pytest.mark.parametrize("write", [torch_file, legacy_file])
def test_tensors_come_back_bit_for_bit(write: object, tmp_path: Path) -> None:
    found = read(write(ARRAYS), tmp_path)  # type: ignore[operator]
    assert list(found) == list(ARRAYS)
    for name, array in ARRAYS.items():
        assert found[name].dtype == array.dtype and found[name].shape == array.shape
        np.testing.assert_array_equal(found[name], array)


def test_views_that_are_not_contiguous_are_cut_out(tmp_path: Path) -> None:
    base = np.arange(6, dtype=np.float32)
    content = storage_pickle({"a": base.reshape(2, 3)})
    # Shape (3, 2), strides (1, 3): the transpose.
    turned = content.replace(
        b"(" + number(2) + number(3) + b"t(" + number(3) + number(1) + b"t",
        b"(" + number(3) + number(2) + b"t(" + number(1) + number(3) + b"t",
    )
    found = read(zip_file(turned, {"a": base}), tmp_path)
    np.testing.assert_array_equal(found["a"], base.reshape(2, 3).T)


def test_an_expanded_tensor_repeats_its_number(tmp_path: Path) -> None:
    arrays = {"a": np.arange(40, dtype=np.float32), "b": np.full(1, 7, np.float32)}
    content = storage_pickle(arrays)
    at = content.rindex(b"(" + number(1) + b"t(" + number(1) + b"t")
    expanded = b"(" + number(64) + b"t(" + number(0) + b"t"
    content = content[:at] + expanded + content[at + len(expanded) :]
    np.testing.assert_array_equal(read(zip_file(content, arrays), tmp_path)["b"], np.full(64, 7))


@pytest.mark.parametrize("part", ["module.", "module.module.", "_orig_mod.module."])
@pytest.mark.parametrize("counter", [{}, {"n_averaged": np.array(3, np.int64)}])
def test_what_torch_puts_around_a_network_is_looked_through(
    part: str, counter: dict[str, np.ndarray], tmp_path: Path
) -> None:
    (tmp_path / "a.pth").write_bytes(torch_file(counter | {part + n: a for n, a in ARRAYS.items()}))
    weights, rest = read_with_rest(tmp_path / "a.pth")
    assert list(weights) == list(ARRAYS) and rest == tuple(counter)


def under(*keys: str) -> bytes:
    inner = storage_pickle(ARRAYS)[2:-1]
    return b"\x80\x02}(" + b"".join(text(key) + inner for key in keys) + b"u."


def test_weights_are_found_under_any_name_that_is_the_only_one(tmp_path: Path) -> None:
    assert list(read(zip_file(under("ema"), ARRAYS), tmp_path)) == list(ARRAYS)
    with pytest.raises(CheckpointError, match="under 'ema, student'"):
        read(zip_file(under("ema", "student"), ARRAYS), tmp_path)


class Hostile:
    """Would make a file if it were ever unpickled."""

    def __reduce__(self) -> tuple[object, tuple[str, ...]]:
        return os.system, ("touch hostile-pickle-was-run",)


def replaced(old: bytes, new: bytes) -> bytes:
    content = storage_pickle(ARRAYS)
    assert old in content
    return content.replace(old, new, 1)


BAD = {
    "runs a command": (pickle.dumps({"a": Hostile()}, 2), "system"),
    "runs a command with the newest protocol": (pickle.dumps({"a": Hostile()}, 5), "system"),
    "evaluates": (b"\x80\x02cbuiltins\neval\n" + text("1") + b"\x85R.", "builtins.eval"),
    "a name with a backslash": (b"\x80\x02cbuiltins\n\\level\n" + text("1") + b"\x85R.",
                                "builtins"),
    "sets state": (b"\x80\x02]}b.", "state"),
    "makes an object": (b"\x80\x02)\x81.", "instruction NEWOBJ"),
    "an instance": (b"\x80\x02(iposix\nsystem\n.", "instruction INST"),
    "an extension": (b"\x80\x02\x82\x01.", "instruction EXT1"),
    "names twice": (storage_pickle(ARRAYS, text("empty") + number(1)),
                    "'empty' stands in it twice"),
    "reaches beyond its storage": (replaced(number(54) + b"tQ" + number(0),
                                            number(54) + b"tQ" + number(9)), "beyond"),
    "a negative offset": (replaced(number(54) + b"tQ" + number(0), number(54) + b"tQ" + number(-9)),
                          "no proper"),
    "a storage of another length": (replaced(number(54) + b"tQ", number(53) + b"tQ"),
                                    "54 numbers instead of 53"),
    "a shape without end": (
        replaced(number(54) + b"tQ" + number(0) + b"(",
                 number(54) + b"tQ" + number(0) + b"(" + number(9) * 99_999),
        "no proper",
    ),
    "an unknown storage": (replaced(b"FloatStorage", b"EvilStorage"), "unknown kind"),
    "a key that is a path": (replaced(text("0") + text("cpu"), text("../x") + text("cpu")),
                             "no proper key"),
    "no tensors": (pickle.dumps({"epoch": 3}, 2), "no tensors"),
    "a list": (pickle.dumps([1, 2], 2), "a list"),
    "unhashable key": (b"\x80\x02}(]K\x01u.", "as a key"),
    "pairs of nothing": (b"\x80\x02ccollections\nOrderedDict\nK\x05\x85R.", "damaged"),
    "no end": (b"\x80\x02" + b"K\x01" * 10, "damaged"),
    "endless": (b"\x80\x02" + b"N" * 600_000 + b".", "instructions"),
    "itself": (b"\x80\x02}q\x00" + text("model") + b"h\x00s.", "no tensors"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_a_bad_pickle_is_refused_and_not_run(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    content, words = BAD[name]
    with pytest.raises(CheckpointError, match=words):
        read(zip_file(content, ARRAYS), tmp_path)
    assert not (tmp_path / "hostile-pickle-was-run").exists()


def test_bad_archives_are_refused(tmp_path: Path) -> None:
    whole = torch_file(ARRAYS)
    with pytest.raises(CheckpointError, match="cut short"):
        read(whole[: len(whole) // 2], tmp_path)
    program = zip_file(storage_pickle(ARRAYS), ARRAYS, **{"code/__torch__.py": b"class A: ..."})
    with pytest.raises(CheckpointError, match="TorchScript"):
        read(program, tmp_path)
    import io
    import zipfile

    twice = io.BytesIO()
    packed = io.BytesIO()
    with (
        zipfile.ZipFile(twice, "w") as two,
        zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as small,
        pytest.warns(UserWarning, match="Duplicate"),
    ):
        two.writestr("a/data.pkl", b"x")
        two.writestr("a/data.pkl", b"y")
        small.writestr("a/data.pkl", bytes(1 << 20))
    for content, words in (
        (twice.getvalue(), "two members"),
        (packed.getvalue(), "compressed"),
        (whole[: len(whole) // 2], "no torch file"),
        (whole.replace(b"little", b"biggie"), "high byte|damaged"),
        (legacy_file(ARRAYS)[:-30], "cut short"),
        (legacy_file(ARRAYS) + b"x", "follows"),
        (
            whole.replace(
                b"PK\x01\x02\x14\x03\x14\x00\x00\x00", b"PK\x01\x02\x14\x03\x14\x00\x01\x00"
            ),
            "encrypted",
        ),
        (b"PK\x03\x04 but nothing else", "no torch file"),
    ):
        with pytest.raises(CheckpointError, match=words):
            read(content, tmp_path)


@settings(max_examples=150, deadline=None)
@given(
    legacy=st.booleans(),
    changes=st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), min_size=1, max_size=6),
    cut=st.integers(0, 3),
)
def test_any_damage_gives_the_tensors_or_words(
    legacy: bool, changes: list[tuple[int, int]], cut: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    content = bytearray(legacy_file(ARRAYS) if legacy else torch_file(ARRAYS))
    for at, value in changes:
        content[at % len(content)] = value
    path = tmp_path_factory.mktemp("fuzz") / "weights.pth"
    path.write_bytes(bytes(content[: len(content) - cut]))
    try:
        found = read_torch(path)
    except CheckpointError:
        return
    assert all(isinstance(name, str) for name in found)


@settings(max_examples=200, deadline=None)
@given(tail=st.binary(max_size=60))
def test_any_pickle_gives_words(tail: bytes, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("fuzz") / "weights.pth"
    path.write_bytes(zip_file(b"\x80\x02" + tail, ARRAYS))
    try:
        read_torch(path)
    except CheckpointError:
        pass


def test_weights_are_read_through_the_common_door(tmp_path: Path) -> None:
    (tmp_path / "a.pt").write_bytes(torch_file(ARRAYS))
    assert list(read_weights(tmp_path / "a.pt")) == list(ARRAYS)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("gone.pth", None, "no such checkpoint"),
        ("empty.safetensors", b"", "is empty"),
        ("page.pth", b"<Error><Code>AccessDenied</Code></Error>", "page of text"),
        ("page.safetensors", b'{\n  "message": "Not Found"}', "page of text"),
    ],
)
def test_what_is_no_file_of_weights_is_named_by_every_door(
    name: str, content: bytes | None, words: str, tmp_path: Path
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    for door in (read_weights, is_torchvision):
        with pytest.raises(CheckpointError, match=words):
            door(tmp_path / name)  # type: ignore[operator]


def test_only_the_endings_of_torch_can_be_torchvisions(tmp_path: Path) -> None:
    (tmp_path / "weights").write_bytes(b"anything")
    assert not is_torchvision(tmp_path / "weights")
