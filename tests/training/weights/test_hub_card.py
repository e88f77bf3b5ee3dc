"""Hub cards as they are: read, found fault with, and their file fetched."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from data_tools.core.errors import DataError
from training.checkpoints.weight_files import EMPTY_SHA256
from training.weights.entry import registry
from training.weights.hub_card import entry_from, entry_of, read_hub_card
from training.weights.hub_card_lint import lint

SEED = Path(__file__).resolve().parents[3].parent / "shared" / "seed" / "ssd_v1.1_coco2017.md"

CARD = """# SSD

---

model-name: ssd300

backbone-name: mobilenetV2

input-shape: [300, 300, 3]

model-version: 1

train-dataset: coco

map(0.5~0.95): 0.23

asset:

  -
    file-format: air
    asset-link: <https://hub.example/ssd.geir>
    asset-sha256: {other}

  -
    file-format: ckpt
    asset-link: <https://hub.example/ssd.ckpt>
    asset-sha256: {hash}

license: Apache2.0

---

## Introduction

A detector. `asset-sha256: not me`.
"""
ADDRESS = "https://hub.example/ssd.ckpt"
HASH = "0123456789abcdef" * 4


def card(folder: Path, text: str = CARD, **values: str) -> Path:
    path = folder / "card.md"
    path.write_text(text.format(**{"hash": HASH, "other": HASH, **values}))
    return path


def test_a_card_is_read(tmp_path: Path) -> None:
    found = read_hub_card(card(tmp_path))
    assert found.values["license"] == "Apache2.0"
    assert [a.format for a in found.assets] == ["air", "ckpt"]
    assert found.checkpoint is not None
    assert (found.checkpoint.address, found.checkpoint.sha256) == (
        "https://hub.example/ssd.ckpt",
        HASH,
    )
    assert found.figures == {"map(0.5~0.95)": "0.23"}
    assert lint(found, None) == []
    assert entry_of(found, registry()) is None
    assert entry_from(found, "ssd300").sha256 == HASH


def test_the_hash_of_an_empty_file_is_refused(tmp_path: Path) -> None:
    found = read_hub_card(card(tmp_path, hash=EMPTY_SHA256))
    assert any("sha256 of an empty file" in problem for problem in lint(found, None))
    with pytest.raises(DataError, match="hash of an empty file"):
        entry_from(found, "ssd300")


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("A detector.", "ssd is a audio network.", "calls a detector a network for audio"),
        ("A detector.", "ssd is an  Audio\nModel.", "calls a detector a network for audio"),
        ("A detector.", "It is a network for speech recognition.", "a network for speech"),
        ("A detector.", "is a natural language processing model", "for natural language"),
        ("map(0.5~0.95): 0.23", "accuracy: 88", "cannot be the AP"),
        ("map(0.5~0.95): 0.23", "evaluation: -0.23 mAP", "cannot be the AP"),
        ("map(0.5~0.95): 0.23", "mAP(0.5:0.95): 123%", "map(0.5:0.95) 123% cannot be the AP"),
        ("map(0.5~0.95): 0.23", "accuracy: mAP(0.5~0.95) 88", "cannot be the AP"),
        ("map(0.5~0.95): 0.23", "mAP: 0.93", "map 0.93 cannot be the AP"),
        ("map(0.5~0.95): 0.23", "metrics: mAP 0.88", "cannot be the AP"),
        ("map(0.5~0.95): 0.23", "box AP: 98.7", "box ap 98.7 cannot be the AP"),
        ("map(0.5~0.95): 0.23", "mAP@0.5: 98.7", "map@0.5 98.7 cannot be the AP"),
        ("map(0.5~0.95): 0.23", "coco_map50: 0.9", "coco_map50 0.9 cannot be the AP"),
        ("map(0.5~0.95): 0.23", "accuracy: 0.43 (top-1)", "a classifier's measure"),
        ("map(0.5~0.95): 0.23", "accuracy: nan", "no number"),
        ("map(0.5~0.95): 0.23", "accuracy: 23", "does not say which measure"),
        ("map(0.5~0.95): 0.23", "", "no accuracy"),
        ("[300, 300, 3]", "[227, 227, 3]", "a classifier's"),
        ("mobilenetV2", "ssd300", "not a backbone"),
        ("license: Apache2.0", "", "license is missing"),
        ("https://hub.example/ssd.ckpt", "ftp://hub.example/ssd.ckpt", "no https address"),
        ("file-format: ckpt", "file-format: mindir", "offers no ckpt"),
        ("{hash}", "12", "no proper sha256"),
    ],
)
def test_what_is_wrong_with_a_card_is_listed(
    old: str, new: str, words: str, tmp_path: Path
) -> None:
    assert old in CARD
    found = read_hub_card(card(tmp_path, CARD.replace(old, new)))
    assert any(words in problem for problem in lint(found, None))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"\xff\xfe", "no text"),
        (b"# Readme", "no Hub card"),
        (b"---\na: b\n---\n", "neither model-name nor asset"),
        (b"x" * (1 << 21), "no Hub card is that long"),
    ],
)
def test_what_is_no_card_is_refused(content: bytes, words: str, tmp_path: Path) -> None:
    (tmp_path / "card.md").write_bytes(content)
    with pytest.raises(DataError, match=words):
        read_hub_card(tmp_path / "card.md")


@pytest.mark.skipif(not SEED.exists(), reason="the seed's card is not here")
def test_the_seeds_card_is_the_registrys_ssd300() -> None:
    found = read_hub_card(SEED)
    entry = entry_of(found, registry())
    assert entry is not None and entry.name == "ssd300"
    assert found.checkpoint is not None and found.checkpoint.sha256 == entry.sha256
    assert any("audio" in problem for problem in lint(found, entry))


def test_the_command_reads_a_card(tmp_path: Path, repository: Path) -> None:
    result = subprocess.run(
        [sys.executable, "-m", "training.weights", "card", "--only-read", str(card(tmp_path))],
        cwd=repository, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert "https://hub.example/ssd.ckpt" in result.stdout


@pytest.mark.parametrize("around", ['"{}"', "'{}'", "[the file]({})", "<{}>", "{}"])
@pytest.mark.parametrize("before", ["", "\ufeff"])
def test_what_stands_around_a_value_is_taken_off(around: str, before: str, tmp_path: Path) -> None:
    text = CARD[CARD.index("---") :].replace(f"<{ADDRESS}>", around.format(ADDRESS))
    found = read_hub_card(card(tmp_path, before + text)).checkpoint
    assert found is not None and found.address == ADDRESS
