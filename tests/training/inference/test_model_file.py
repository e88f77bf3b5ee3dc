"""Detector files: own checkpoints, published ones, classes, and everything that can be wrong."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from data_tools.core.errors import CheckpointError, DataError, SettingError
from data_tools.core.files import sha256_of_file
from tests.helpers.checkpoints import write_checkpoint
from tests.helpers.eval_fixtures import CLASSES, shapes_split
from training.checkpoints.checkpoint import parse_card, read_arrays
from training.checkpoints.header_card import KEY, read_header_card
from training.checkpoints.safetensors_header import check_header
from training.checkpoints.store import CheckpointStore
from training.inference import identity_cache, open_model
from training.inference.graph_cache import VARIABLE
from training.inference.model_file import read_class_names
from training.inference.open_model import load_network, open_model_file


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("run") / "step-00000001.ckpt"
    write_checkpoint(path)
    return path


def test_own_checkpoint(checkpoint: Path) -> None:
    file = open_model_file(checkpoint)
    assert (file.model.name, file.image_size, file.num_classes) == ("ssd_tiny", (64, 64), 7)
    assert file.named_classes() == CLASSES
    assert file.sha256 == sha256_of_file(checkpoint) and file.data_fingerprint == "f" * 64
    network: Any = load_network(file)
    assert network.num_classes == 7


def test_without_a_card_weights_tell_the_model(tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "bare.ckpt", size=160, card=False)
    file = open_model_file(tmp_path / "bare.ckpt")
    assert (file.model.name, file.num_classes, file.classes) == ("ssd_tiny", 7, ())
    assert [c.name for c in file.named_classes()][:2] == ["class 1", "class 2"]
    assert open_model_file(tmp_path / "bare.ckpt", "ssd_tiny").model.name == "ssd_tiny"
    (tmp_path / "names.txt").write_text("a\nb\nc\nd\ne\nf\n")
    assert [c.name for c in file.named_classes(str(tmp_path / "names.txt"))] == list("abcdef")
    (tmp_path / "names.txt").write_text("a\nb\n")
    with pytest.raises(CheckpointError, match=r"2 classes; .*bare\.ckpt has 6"):
        file.named_classes(str(tmp_path / "names.txt"))


def test_a_model_that_is_asked_for_is_checked_and_a_card_wins(
    tmp_path: Path, checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert open_model_file(checkpoint, "ssd300").model.name == "ssd_tiny"
    assert "model=ssd300 is not used: " in capsys.readouterr().out
    write_checkpoint(tmp_path / "bare.ckpt", size=160, card=False)
    for path in (checkpoint, tmp_path / "bare.ckpt"):
        with pytest.raises(SettingError, match=r"model=ssd_nope: no such model; .* ssd_tiny"):
            open_model_file(path, "ssd_nope")


def test_whose_weights_they_are_is_asked_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, str(tmp_path / "cache"))
    write_checkpoint(tmp_path / "bare.ckpt", size=160, card=False)
    first = open_model_file(tmp_path / "bare.ckpt")
    (kept,) = (tmp_path / "cache").iterdir()
    unknown = '{"model": "ssd_x", "num_classes": 7, "torchvision": false}'
    for damaged in ("", "[1]", '{"model": 3}', unknown):
        kept.write_text(damaged)
        assert open_model_file(tmp_path / "bare.ckpt") == first
        assert json.loads(kept.read_text())["model"] == "ssd_tiny"
    monkeypatch.setattr(identity_cache, "read_weights", lambda path: pytest.fail("read again"))
    assert open_model_file(tmp_path / "bare.ckpt") == first
    # Other bytes are other weights.
    (tmp_path / "bare.ckpt").write_bytes((tmp_path / "bare.ckpt").read_bytes() + b"\0")
    with pytest.raises(pytest.fail.Exception):
        open_model_file(tmp_path / "bare.ckpt")


def test_weights_without_a_card_are_read_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, str(tmp_path / "cache"))
    write_checkpoint(tmp_path / "bare.ckpt", size=160, card=False)
    read = []
    honest = identity_cache.read_weights

    def counted(path: Path) -> Any:
        read.append(path)
        return honest(path)

    for module in (identity_cache, open_model):
        monkeypatch.setattr(module, "read_weights", counted)
    file = open_model_file(tmp_path / "bare.ckpt")
    first = load_network(file)
    assert len(read) == 1 and not file.weights
    # Nothing is kept in memory: whoever loads it again reads it again, as with a known identity.
    for again in (file, open_model_file(tmp_path / "bare.ckpt")):
        second = load_network(again)
        for mine, other in zip(first.get_parameters(), second.get_parameters(), strict=True):
            assert (mine.asnumpy() == other.asnumpy()).all()
    assert len(read) == 3


def test_a_safetensors_checkpoint_without_its_card_knows_its_classes(
    tmp_path: Path, checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    card = parse_card(checkpoint.with_suffix(".json"))
    card.files = {}
    store = CheckpointStore(tmp_path, keep=1, format="safetensors")
    saved = store.save(card, read_arrays(checkpoint), {})
    (tmp_path / "copy").mkdir()
    copy = shutil.copy(saved.weights_path, tmp_path / "copy")
    capsys.readouterr()
    file, with_card = open_model_file(copy), open_model_file(saved.weights_path)
    assert (file.model, file.classes) == (with_card.model, CLASSES)
    assert file.image_size == (64, 64) and file.data_fingerprint == "f" * 64
    assert file.named_classes() == CLASSES and capsys.readouterr().out == ""
    load_network(file)
    assert read_header_card(Path(copy), {"format": "other"}) is None
    said = check_header(Path(copy))["__metadata__"]
    known = json.loads(said[KEY])
    for key, value in (("classes", [{}]), ("num_classes", 9), ("model", None), ("classes", 5)):
        with pytest.raises(CheckpointError, match="its header says of the network is damaged"):
            read_header_card(Path(copy), {KEY: json.dumps(known | {key: value})})
    for text in ("[]", "{", "null"):
        with pytest.raises(CheckpointError, match="is damaged"):
            read_header_card(Path(copy), {KEY: text})


def test_a_ckpt_without_its_card_says_what_is_guessed(
    tmp_path: Path, checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = shutil.copy(checkpoint, tmp_path / "moved.ckpt")
    open_model_file(copy)  # it was trained at 64 x 64, which its weights do not tell
    said = capsys.readouterr().out
    assert "moved.json" in said and "ssd_tiny as published, 160 x 160" in said


def test_published_class_count_means_coco_and_says_so(
    checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = dataclasses.replace(open_model_file(checkpoint), num_classes=81, classes=())
    names = file.named_classes()
    said = capsys.readouterr().out
    assert "80 classes of" in said and "taken for COCO's" in said and "class_names=FILE" in said
    assert (names[0].name, names[79].name, names[79].category_id) == ("person", "toothbrush", 90)


def test_class_names_of_a_converted_set(tmp_path: Path) -> None:
    shapes_split(tmp_path, count=2)
    assert read_class_names(tmp_path) == read_class_names(tmp_path / "val") == CLASSES
    with pytest.raises(DataError, match="neither a converted data set nor a text file"):
        read_class_names(tmp_path / "nothing")


def test_wrong_files_are_refused(tmp_path: Path, checkpoint: Path) -> None:
    with pytest.raises(CheckpointError, match="no such file"):
        open_model_file(tmp_path / "nothing.ckpt")
    with pytest.raises(
        CheckpointError, match=r": a folder without .* It holds step-00000001\.ckpt: name"
    ):
        open_model_file(checkpoint.parent)
    (tmp_path / "a.h5").write_bytes(b"x")
    with pytest.raises(CheckpointError, match=r"unknown kind of file; expected \.ckpt"):
        open_model_file(tmp_path / "a.h5")
    (tmp_path / "a.pth").write_bytes(b"x")
    with pytest.raises(CheckpointError, match="no torch file"):
        open_model_file(tmp_path / "a.pth")
    for name in ("a.onnx", "a.mindir"):
        (tmp_path / name).write_bytes(b"\x07not a model")
        with pytest.raises(CheckpointError, match=name.replace(".", r"\.")):
            open_model_file(tmp_path / name)


def test_a_changed_checkpoint_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "c.ckpt"
    write_checkpoint(path)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(CheckpointError, match="its card says"):
        open_model_file(path)
