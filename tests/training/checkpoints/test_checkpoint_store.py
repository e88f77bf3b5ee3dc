"""Checkpoints on disk: whole or not at all, counted, hashed, found again."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import training.checkpoints.checkpoint
from data_tools.core.errors import CheckpointError, UserError
from training.checkpoints.checkpoint import Card, parse_card, read_arrays, read_card
from training.checkpoints.store import CheckpointStore


class PowerCut(Exception):
    """The machine is gone."""


def make_card(step: int) -> Card:
    return Card(step, step // 10, 1, {"name": "toy"}, 3, [], "f" * 64)


def arrays(step: int) -> tuple[dict[str, Any], dict[str, Any]]:
    rng = np.random.default_rng(step)
    weights = {"network.a.weight": rng.standard_normal((2, 3)).astype(np.float32)}
    return weights, {
        "moments.a.weight": weights["network.a.weight"] * 2,
        "loss_scale": np.float32(8),
    }


def save(store: CheckpointStore, step: int, **options: Any) -> Any:
    return store.save(make_card(step), *arrays(step), **options)


@pytest.mark.parametrize("format", ["ckpt", "safetensors"])
def test_what_is_saved_comes_back_bit_for_bit(tmp_path: Path, format: str) -> None:
    store = CheckpointStore(tmp_path / "checkpoints", keep=2, format=format)
    assert store.newest() is None
    saved = save(store, 400)
    assert saved.weights_path.name == f"step-00000400.{format}"
    found = CheckpointStore(tmp_path / "checkpoints", keep=2).newest()
    assert found is not None
    assert found.card == saved.card
    weights, state = found.read()
    for expected, got in zip(arrays(400), (weights, state), strict=True):
        assert set(expected) == set(got)
        for name in expected:
            np.testing.assert_array_equal(got[name], expected[name])
    card = read_card(saved.weights_path)
    assert card is not None
    assert card.step == 400
    assert oct(saved.weights_path.stat().st_mode)[-3:] == "644"


def test_the_last_n_and_the_best_are_kept(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path, keep=2)
    for step, score in ((1, 0.3), (2, 0.1), (3, 0.2)):
        checkpoint = save(store, step)
        best = {"step": 1, "AP": 0.3}
        store.mark(checkpoint, {"coco": {"AP": score}}, best)
    assert store.steps() == [2, 3]
    best_card = read_card(tmp_path / "best.ckpt")
    assert best_card is not None
    assert (best_card.step, best_card.metrics) == (1, {"coco": {"AP": 0.3}})
    names = {p.name for p in tmp_path.iterdir()}
    assert "step-00000001.ckpt" not in names
    assert store.open(3).card.metrics == {"coco": {"AP": 0.2}}


@pytest.mark.parametrize("cut_after", ["step-00000002.ckpt", "step-00000002.state.ckpt"])
def test_a_power_cut_between_two_writes_leaves_the_older_one(
    tmp_path: Path, cut_after: str
) -> None:
    store = CheckpointStore(tmp_path, keep=3)
    save(store, 1)

    def cut(name: str) -> None:
        if name == cut_after:
            raise PowerCut

    with pytest.raises(PowerCut):
        save(store, 2, after_write=cut)
    again = CheckpointStore(tmp_path, keep=3)
    found = again.newest()
    assert found is not None
    assert found.card.step == 1
    again.sweep()
    assert not list(tmp_path.glob("step-00000002*"))


@pytest.mark.parametrize("damage", ["flip", "cut", "missing", "card"])
def test_a_damaged_newest_one_is_reported_and_passed_over(tmp_path: Path, damage: str) -> None:
    store = CheckpointStore(tmp_path, keep=3)
    save(store, 1)
    newest = save(store, 2)
    path = newest.card_path if damage == "card" else newest.state_path
    content = bytearray(path.read_bytes())
    if damage == "missing":
        path.unlink()
    elif damage == "flip":
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
    else:
        path.write_bytes(content[: len(content) // 2])
    told: list[str] = []
    found = store.newest(told.append)
    assert found is not None
    assert found.card.step == 1
    assert len(told) == 1
    assert str(path) in told[0]
    left = {p.name: p.read_bytes() for p in tmp_path.glob("step-00000002*")}
    store.set_aside_after(1)
    store.sweep()
    assert store.steps() == [1]
    # What was passed over bears another name and is not deleted.
    aside = {p.name: p.read_bytes() for p in tmp_path.glob("step-00000002*")}
    assert aside == {f"{name}.damaged": content for name, content in left.items()}
    save(store, 2).card_path.write_text("{")
    store.set_aside_after(1)
    assert (tmp_path / "step-00000002.json.damaged-2").read_text() == "{"


@pytest.mark.parametrize("reason", ["format", "unreadable", "cardless"])
def test_if_none_can_be_opened_nothing_begins_anew(
    tmp_path: Path, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = CheckpointStore(tmp_path, keep=3)
    cards = [save(store, step).card_path for step in (1, 2)]
    expected = "missing"
    if reason == "format":
        expected = "format 'ssd-checkpoint/2'; this version reads 'ssd-checkpoint/1'"
        for path in cards:
            path.write_text(path.read_text().replace("ssd-checkpoint/1", "ssd-checkpoint/2"))
    elif reason == "unreadable":
        expected = "cannot be read (Input/output error)"

        def fail(*arguments: object, **options: object) -> str:
            raise OSError(errno.EIO, os.strerror(errno.EIO))

        monkeypatch.setattr(Path, "read_text", fail)
    else:
        for path in cards:
            path.unlink()
    names = sorted(p.name for p in tmp_path.iterdir())
    with pytest.raises(CheckpointError) as caught:
        store.newest()
    text = str(caught.value)
    for path in cards:
        assert f"{path}: {expected}" in text
    assert "Nothing was changed" in text and "overwrite=true" in text
    assert sorted(p.name for p in tmp_path.iterdir()) == names


@pytest.mark.parametrize("older", [True, False])
@pytest.mark.parametrize("full_at", ["weights", "state", "card"])
def test_a_full_disk_says_what_is_left(
    tmp_path: Path, full_at: str, older: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = CheckpointStore(tmp_path, keep=3)
    if older:
        save(store, 1)
    before = {p.name for p in tmp_path.iterdir()}
    ending = {"weights": "2.ckpt", "state": ".state.ckpt", "card": ".json"}[full_at]
    publish = training.checkpoints.checkpoint.publish

    def full(temporary: Path, path: Path) -> None:
        if path.name.endswith(ending):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        publish(temporary, path)

    monkeypatch.setattr("training.checkpoints.checkpoint.publish", full)
    monkeypatch.setattr("data_tools.core.files.publish", full)
    with pytest.raises(UserError) as caught:
        save(store, 2)
    what = "The last whole checkpoint is step 1" if older else "No whole checkpoint is there"
    assert str(caught.value) == (
        f"{tmp_path}: the checkpoint of step 2 could not be written (No space left on device). "
        f"{what}; free some space and run again with resume=true."
    )
    # The room that the half of it took is free again.
    assert {p.name for p in tmp_path.iterdir()} == before


def test_a_disk_full_at_an_evaluation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = CheckpointStore(tmp_path, keep=3)
    saved = save(store, 1)

    def full(source: Path, target: Path) -> None:
        target.write_bytes(b"half")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("shutil.copyfile", full)
    with pytest.raises(UserError, match="the evaluation of step 1 could not be written .No space"):
        store.mark(saved, {"coco": {"AP": 0.5}}, {"step": 1, "AP": 0.5})
    assert not list(tmp_path.glob(".*"))
    assert store.open(1).card.step == 1


def test_a_disk_that_is_really_full(tmp_path: Path) -> None:
    mount = shutil.which("mount")
    command = [str(mount), "-t", "tmpfs", "-o", "size=300k", "tmpfs", str(tmp_path)]
    if mount is None or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("a tmpfs can only be mounted by root")
    try:
        store = CheckpointStore(tmp_path / "checkpoints", keep=3)
        save(store, 1)
        large = {"network.a.weight": np.zeros(40_000, np.float32)}
        with pytest.raises(UserError, match=r"No space left.*last whole checkpoint is step 1"):
            store.save(make_card(2), large, large)
        assert shutil.disk_usage(tmp_path).free > 160_000
        assert store.steps() == [1]
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)


def test_a_card_of_another_format_is_refused(tmp_path: Path) -> None:
    saved = save(CheckpointStore(tmp_path, keep=1), 1)
    content = json.loads(saved.card_path.read_text())
    saved.card_path.write_text(json.dumps({**content, "format": "ssd-checkpoint/9"}))
    with pytest.raises(CheckpointError, match="format 'ssd-checkpoint/9'; this version reads"):
        read_card(saved.weights_path)
    assert read_card(tmp_path / "published.ckpt") is None


def test_a_run_goes_on_in_the_other_format(tmp_path: Path) -> None:
    """As with resume=true and another checkpoint.format: what is there stays until it is too
    old.
    """
    first = CheckpointStore(tmp_path, keep=2)
    for step in (1, 2):
        first.mark(save(first, step), {"coco": {}}, {"step": step, "AP": 0.1})
    second = CheckpointStore(tmp_path, keep=2, format="safetensors")
    again = save(second, 2)  # the same step once more: nothing of the old files stays beside it
    second.mark(again, {"coco": {}}, {"step": 2, "AP": 0.2})
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "best.json", "best.safetensors",
        "step-00000001.ckpt", "step-00000001.json", "step-00000001.state.ckpt",
        "step-00000002.json", "step-00000002.safetensors", "step-00000002.state.safetensors",
    ]  # fmt: skip
    for step in (1, 2):
        weights, _ = second.open(step).read()
        np.testing.assert_array_equal(
            weights["network.a.weight"], arrays(step)[0]["network.a.weight"]
        )
    save(second, 3)
    assert second.steps() == [2, 3]
    assert not list(tmp_path.glob("step-00000001*"))


def test_a_damaged_safetensors_file_is_named(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path, keep=3, format="safetensors")
    path = save(store, 5).weights_path
    path.write_bytes(path.read_bytes()[:20])
    with pytest.raises(CheckpointError, match=r"step-00000005\.safetensors: sha256 .* cut short"):
        store.open(5)
    with pytest.raises(CheckpointError, match="damaged, or no safetensors file"):
        read_arrays(path)


def test_half_a_safetensors_checkpoint_is_swept(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path, keep=3, format="safetensors")

    def cut(name: str) -> None:
        raise PowerCut

    with pytest.raises(PowerCut):
        save(store, 7, after_write=cut)
    assert (tmp_path / "step-00000007.safetensors").exists()
    store.sweep()
    assert not list(tmp_path.iterdir())


def forge(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


@pytest.mark.parametrize(
    "changes",
    [
        {"step": 24},
        {"seed": 2},
        {"epoch": 7},
        {"best": {"step": 2, "AP": 0.9}},
        {"metrics": {"coco": {"AP": 0.9}}},
        {"data_fingerprint": "0" * 64},
        {"settings": {"seed": 3}},
        {"wall_seconds": 1.0},
        {"card_sha256": "0" * 64},
    ],
)
def test_an_edited_card_is_refused_and_passed_over(tmp_path: Path, changes: dict[str, Any]) -> None:
    store = CheckpointStore(tmp_path, keep=3)
    save(store, 1)
    forge(save(store, 2).card_path, **changes)
    with pytest.raises(CheckpointError, match=r"000002.json: changed after it was written"):
        store.open(2)
    told: list[str] = []
    found = store.newest(told.append)
    assert found is not None and found.card.step == 1
    assert "passed over" in told[0] and len(told) == 1


def test_a_checkpoint_renamed_to_another_step_is_refused(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path, keep=3)
    save(store, 20)
    for path in list(tmp_path.iterdir()):
        path.rename(path.with_name(path.name.replace("20", "24")))
    with pytest.raises(CheckpointError, match="is the card of step 20, by another name"):
        store.open(24)
    files = json.loads((tmp_path / "step-00000024.json").read_text())["files"]
    renamed = {name.replace("20", "24"): value for name, value in files.items()}
    forge(tmp_path / "step-00000024.json", step=24, files=renamed)
    with pytest.raises(CheckpointError, match="changed after it was written"):
        store.open(24)


def test_a_card_of_before_cards_had_a_hash_is_read_and_told(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path, keep=3)
    card_path = save(store, 2).card_path
    content = json.loads(card_path.read_text())
    del content["card_sha256"]
    card_path.write_text(json.dumps(content))
    told: list[str] = []
    found = store.newest(told.append)
    assert found is not None and found.card.step == 2
    assert len(told) == 1 and "cannot be checked" in told[0]


def test_a_card_keeps_its_hash_through_reading_and_writing(tmp_path: Path) -> None:
    card = make_card(3)
    card.metrics = {"per_class": {1: 0.1, 10: 1e-9, "é": None}}
    card.write(tmp_path / "a.json")
    again = parse_card(tmp_path / "a.json")
    again.write(tmp_path / "b.json")
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()


def test_a_card_without_end_is_refused_in_little_room(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.write_text("[" * 1_000_000)
    with pytest.raises(CheckpointError, match="nested too deep"):
        parse_card(path)
    with path.open("wb") as file:
        file.truncate(1 << 34)  # takes no room on the disk, and must take none in memory
    with pytest.raises(CheckpointError, match="17179869184 bytes, expected at most"):
        parse_card(path)
