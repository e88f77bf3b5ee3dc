"""Weight files: what is read, recognised, refused, loaded and written."""

from __future__ import annotations

import hashlib
import json
import os
import re
import stat
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import mindspore as ms
import numpy as np
import pytest

from data_tools.core.errors import CheckpointError
from data_tools.core.files import sha256_of_file
from tests.helpers.checkpoints import random_weights, write_trainer_file
from training.checkpoints.identify import identify
from training.checkpoints.settings import InitSettings
from training.checkpoints.weight_files import EMPTY_SHA256, Weights, read_weights, save_weights
from training.checkpoints.weights import load_weights
from training.commands.import_checkpoint import import_checkpoint, main
from training.nets.build import build_network
from training.nets.settings import model_settings
from training.run.first_weights import load_initial_weights
from training.settings import TrainSettings

SEED_CARD = "13d28a651dabc8caab062bca8093c5c8abd76621161bab222235bc3f66b11cf1"
TINY = model_settings("ssd_tiny")


def tiny_network(num_classes: int = 4, seed: int = 0) -> Any:
    return build_network(TINY, num_classes, seed=seed)


def values(network: Any) -> Weights:
    return {p.name: p.asnumpy().copy() for p in network.get_parameters()}


@pytest.mark.parametrize("suffix", [".ckpt", ".safetensors"])
def test_round_trip(suffix: str, tmp_path: Path) -> None:
    network = tiny_network(seed=3)
    path = tmp_path / f"weights{suffix}"
    save_weights(network, path)
    read = read_weights(path)
    want = values(network)
    assert read.keys() == want.keys()
    assert all(np.array_equal(read[n], want[n]) for n in want)
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    assert list(tmp_path.iterdir()) == [path]
    # Over an existing file, and from a dict.
    save_weights({n: w + 1 for n, w in want.items()}, path)
    assert np.array_equal(read_weights(path)["stem.0.0.weight"], want["stem.0.0.weight"] + 1)


def test_saved_file_has_the_published_names_in_order(tmp_path: Path) -> None:
    network = tiny_network()
    save_weights(network, tmp_path / "a.ckpt")
    names = list(ms.load_checkpoint(str(tmp_path / "a.ckpt")))
    assert names == [f"network.{p.name}" for p in network.get_parameters()]


def test_same_weights_same_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        save_weights(tiny_network(seed=5), tmp_path / f"{name}.ckpt")
    assert sha256_of_file(tmp_path / "a.ckpt") == sha256_of_file(tmp_path / "b.ckpt")


def test_trainer_file_gives_its_weights_only(tmp_path: Path) -> None:
    weights = values(tiny_network())
    write_trainer_file(weights, tmp_path / "parent.ckpt")
    read = read_weights(tmp_path / "parent.ckpt")
    assert list(read) == list(weights)
    assert identify(read) == ("ssd_tiny", 4)


def test_names_without_prefix_are_weights_too(tmp_path: Path) -> None:
    weights = values(tiny_network())
    rows = [{"name": n, "data": ms.Tensor(w)} for n, w in weights.items()]
    rows.append({"name": "moments.stem.0.0.weight", "data": ms.Tensor(np.zeros(3, np.float32))})
    for name in ("global_step", "epoch_num", "step_num"):
        rows.append({"name": name, "data": ms.Tensor(np.array([1], np.int32))})
    ms.save_checkpoint(rows, str(tmp_path / "bare.ckpt"))
    assert list(read_weights(tmp_path / "bare.ckpt")) == list(weights)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("absent.ckpt", None, "no such checkpoint"),
        ("empty.ckpt", b"", "is empty"),
        ("text.ckpt", b"hello " * 40, "damaged"),
        ("pickle.pth", b"\x80\x04}\x94.", "it is a pickle, but not torch's"),
        ("text.safetensors", b"hello " * 40, "no safetensors file"),
    ],
)
def test_bad_files(name: str, content: bytes | None, message: str, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(CheckpointError, match=message):
        read_weights(tmp_path / name)


@pytest.mark.parametrize("suffix", [".ckpt", ".safetensors"])
def test_truncated_file(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"a{suffix}"
    save_weights(tiny_network(), path)
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(CheckpointError, match=r"damaged"):
        read_weights(path)


def test_file_without_weights(tmp_path: Path) -> None:
    rows = [{"name": "global_step", "data": ms.Tensor(np.array([1], np.int32))}]
    ms.save_checkpoint(rows, str(tmp_path / "a.ckpt"))
    with pytest.raises(CheckpointError, match="holds no weights"):
        read_weights(tmp_path / "a.ckpt")


def test_sha256(tmp_path: Path) -> None:
    path = tmp_path / "a.ckpt"
    save_weights(tiny_network(), path)
    right = hashlib.sha256(path.read_bytes()).hexdigest()
    assert read_weights(path, sha256=right.upper())
    with pytest.raises(CheckpointError, match=f"expected {SEED_CARD}"):
        read_weights(path, sha256=SEED_CARD)
    with pytest.raises(CheckpointError, match="hash of an empty file"):
        read_weights(path, sha256=EMPTY_SHA256)
    with pytest.raises(CheckpointError, match="64 hexadecimal digits"):
        read_weights(path, sha256="13d28a")


def test_unwritable_targets(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"\.ckpt or \.safetensors"):
        save_weights({}, tmp_path / "a.bin")
    with pytest.raises(CheckpointError, match="does not exist"):
        save_weights({}, tmp_path / "no" / "a.ckpt")


@pytest.mark.parametrize(
    ("name", "num_classes"),
    [
        ("ssd300", 81),
        ("ssd_mobilenet_v1", 21),
        ("ssd_vgg16", 2),
        ("ssd_mobilenet_v1_fpn", 7),
        ("ssd_resnet50_fpn", 81),
        ("ssdlite_mobilenet_v3", 91),
        ("ssd_tiny", 6),
    ],
)
def test_identify(name: str, num_classes: int) -> None:
    assert identify(random_weights(name, num_classes)) == (name, num_classes)


def test_identify_refuses_what_is_nearly_a_model() -> None:
    weights = random_weights("ssd_tiny", 4)
    without = dict(weights)
    del without["stem.1.0.weight"]
    with pytest.raises(CheckpointError, match=r"nearest to ssd_tiny.*missing.*stem\.1\.0\.weight"):
        identify(without)
    with pytest.raises(CheckpointError, match=r"unknown, the first fc\.weight"):
        identify({**weights, "fc.weight": np.zeros((3, 3), np.float32)})
    odd = {**weights, "stem.1.0.weight": np.zeros((1, 1, 3, 3), np.float32)}
    with pytest.raises(CheckpointError, match="shapes differ"):
        identify(odd)
    with pytest.raises(CheckpointError, match="none of our models"):
        identify({"fc.weight": np.zeros((3, 3), np.float32)})
    # Two class counts in one file.
    mixed = {**weights, "multi_box.cls_layers.0.bias": np.zeros(4 * 9, np.float32)}
    with pytest.raises(CheckpointError, match="shapes differ"):
        identify(mixed)


def test_load_reaches_a_compiled_graph() -> None:
    network = tiny_network(seed=1)

    @ms.jit
    def run(x: ms.Tensor) -> ms.Tensor:
        return network(x)[1]

    x = ms.Tensor(np.random.default_rng(0).standard_normal((1, 3, 160, 160)).astype(np.float32))
    before = run(x).asnumpy()
    other = tiny_network(seed=2)
    load_weights(network, values(other))
    after = run(x).asnumpy()
    assert not np.allclose(before, after)
    assert np.allclose(after, other(x)[1].asnumpy(), rtol=1e-5, atol=1e-6)


def test_wrong_model_is_named() -> None:
    network = tiny_network()
    with pytest.raises(
        CheckpointError, match=r"is of ssd300 with 81 classes.*Use model=ssd300.*init.head=new"
    ):
        load_weights(network, random_weights("ssd300", 81))


def test_other_class_count_needs_a_new_head() -> None:
    network = tiny_network(num_classes=9, seed=1)
    before = values(network)
    source = values(tiny_network(num_classes=4, seed=2))
    with pytest.raises(CheckpointError, match=r"with 4 classes.*with 9.*init\.head=new"):
        load_weights(network, source)
    assert all(np.array_equal(before[n], w) for n, w in values(network).items())
    report = load_weights(network, source, head="new")
    head = tuple(n for n in before if n.startswith("multi_box.cls_layers."))
    assert report.missing == head
    assert report.skipped == head
    assert len(report.loaded) == len(before) - len(head)
    for name, value in values(network).items():
        want = before if name in head else source
        assert np.array_equal(value, want[name])
    assert "start afresh" in str(report)


def test_every_name_that_was_loaded_skipped_or_missing_is_printed(tmp_path: Path) -> None:
    source = values(tiny_network(num_classes=4, seed=2))
    source["multi_box.cls_layers.9.weight"] = np.zeros((1, 2), np.float32)
    path = tmp_path / "first.ckpt"
    save_weights(source, path)
    network = tiny_network(num_classes=9, seed=1)
    state = SimpleNamespace(network=network, average=None)
    parts: Any = SimpleNamespace(
        state=state, settings=TrainSettings(init=InitSettings(checkpoint=str(path), head="new"))
    )
    said: list[str] = []
    load_initial_weights(parts, said.append)
    told: dict[str, list[str]] = {}
    for line in said[1:]:
        if re.match(r"  \w", line):
            told[line.split()[0]] = names = []
        else:
            names.append(line.strip())
    head = [n for n in values(network) if n.startswith("multi_box.cls_layers.")]
    body = [n for n in values(network) if n not in head]

    def expanded(lines: list[str]) -> list[str]:
        found = []
        for token in " ".join(lines).split():
            first, _, rest = token.partition("{")
            found += [first + end for end in rest.rstrip("}").split(",")]
        return found

    assert said[0].startswith(f"first weights from {path}: {len(body)} weights loaded, ")
    assert sorted(expanded(told["loaded"])) == sorted(body)
    assert sorted(expanded(told["missing"])) == sorted(head)
    reasons = dict(line.split(": ", 1) for line in told["skipped"])
    assert list(reasons) == [*head, "multi_box.cls_layers.9.weight"]
    assert reasons["multi_box.cls_layers.9.weight"] == (
        "shape (1, 2), of a class head that the network does not have"
    )
    for name in head:
        shapes = (
            f"shape {source[name].shape} in the file, {values(network)[name].shape} in the network"
        )
        fits = source[name].shape == values(network)[name].shape
        assert ("afresh" in reasons[name]) if fits else (reasons[name] == shapes)
    assert max(map(len, said[1:])) < 130


def test_new_head_forgives_nothing_else() -> None:
    network = tiny_network()
    source = values(network)
    del source["stem.0.0.weight"]
    with pytest.raises(CheckpointError, match=r"missing, the first stem\.0\.0\.weight"):
        load_weights(network, source, head="new")
    with pytest.raises(CheckpointError, match="no model we know"):
        load_weights(network, {}, head="new")


def test_weights_that_are_not_finite_are_refused() -> None:
    network = tiny_network()
    source = values(network)
    source["stem.0.0.weight"][0, 0, 0, 0] = np.nan
    with pytest.raises(CheckpointError, match=r"stem\.0\.0\.weight.*not finite"):
        load_weights(network, source)


def test_import_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = tmp_path / "misleading_ssd300.ckpt"
    weights = random_weights("ssd_mobilenet_v1", 21)
    write_trainer_file(weights, source)
    out = tmp_path / "bare.safetensors"
    assert main([str(source), "--sha256", sha256_of_file(source), "--out", str(out)]) == 0
    printed = capsys.readouterr().out
    assert "ssd_mobilenet_v1 with 21 classes" in printed
    # Every entry of the file is accounted for.
    rest = len(ms.load_checkpoint(str(source))) - len(weights)
    others = f"{rest} others left out (moments.*, global_step, learning_rate, momentum)"
    assert f"{len(weights)} weights loaded, {others}" in printed
    read = read_weights(out)
    assert all(np.array_equal(read[n], w) for n, w in weights.items())
    assert main([str(source), "--sha256", SEED_CARD]) == 1
    assert "error: " in capsys.readouterr().err


def test_import_accounts_for_every_weight(tmp_path: Path) -> None:
    save_weights(tiny_network(), tmp_path / "a.ckpt")
    imported = import_checkpoint(tmp_path / "a.ckpt")
    assert (imported.model, imported.num_classes) == ("ssd_tiny", 4)
    assert len(imported.report.loaded) == len(values(tiny_network()))


def test_a_name_twice_in_a_ckpt_is_refused(tmp_path: Path) -> None:
    """MindSpore's own reader takes the last one without a word, or glues neighbours together."""
    from mindspore.train.checkpoint_pb2 import Checkpoint

    path = tmp_path / "w.ckpt"
    save_weights({name: np.ones(3, np.float32) for name in ("a", "b")}, path)
    assert set(read_weights(path)) == {"a", "b"}
    once = path.read_bytes()
    content = Checkpoint()
    content.ParseFromString(once)
    for order in ((0, 1, 0), (0, 0, 1)):
        twice = Checkpoint()
        for k in order:
            twice.value.add().CopyFrom(content.value[k])
        path.write_bytes(twice.SerializeToString())
        with pytest.raises(CheckpointError, match=r"holds the weight 'network\.a' twice"):
            read_weights(path)
    path.write_bytes(once)
    assert set(read_weights(path)) == {"a", "b"}


def test_a_name_of_a_ckpt_that_is_no_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "w.ckpt"
    save_weights({"a": np.ones(3, np.float32)}, path)
    data = path.read_bytes()
    assert data.count(b"network.a") == 1
    path.write_bytes(data.replace(b"network.a", b"network.\x95"))
    with pytest.raises(CheckpointError):
        read_weights(path)


def test_an_import_without_a_copy_is_put_on_record_beside_the_file(tmp_path: Path) -> None:
    network = build_network(model_settings("ssd_tiny"), 4)
    save_weights(network, tmp_path / "w.ckpt")
    imported = import_checkpoint(tmp_path / "w.ckpt")
    ledger = tmp_path / "w.ckpt.parity.json"
    record = json.loads(ledger.read_text())
    assert record["donor"]["sha256"] == imported.sha256 and record["names"]
    assert record["largest_differences"] == {"weights": 0.0}
    ledger.write_text("that of the export which made the file")
    import_checkpoint(tmp_path / "w.ckpt")
    assert ledger.read_text() == "that of the export which made the file"


def test_a_file_that_is_no_ckpt_is_refused_without_mindspore(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its import takes seconds; the lengths in the file say enough."""
    path = tmp_path / "w.ckpt"
    save_weights({"a": np.ones((3, 4), np.float32), "b": np.zeros(300, np.float32)}, path)
    good = path.read_bytes()
    assert {name.removeprefix("network.") for name in read_weights(path)} == {"a", "b"}
    monkeypatch.setitem(sys.modules, "mindspore", None)
    odd = [
        b"x",
        b"PK\x03\x04" + bytes(99),
        bytes(1000),
        good[1:],
        good + b"x",
        b"\n",
        b"\n\x00",
    ]
    odd += [good[:k] for k in (2, 20, len(good) // 2, len(good) - 1)]
    odd += [b"\n" + b"\xff" * 20, b"\n\x03\x12\x01a"]
    for content in odd:
        path.write_bytes(content)
        with pytest.raises(CheckpointError, match="no MindSpore checkpoint, or damaged"):
            read_weights(path)


def test_cached_files_do_not_stand_in_the_way_of_a_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """MindSpore's own look at free memory leaves out what the page cache would give back."""
    path = tmp_path / "a.ckpt"
    write_trainer_file({"a.weight": np.arange(1024, dtype=np.float32)}, path)
    monkeypatch.setattr(os, "sysconf", lambda name: 1)  # one page of one byte is free
    assert read_weights(path)["a.weight"].shape == (1024,)
