"""The registry: one YAML file an entry in `conf/weights/`, read and checked.

Fetching is `fetch.py`'s; what the cache knows of a file next to its entry (a pinned hash) is
`cache.py`'s.
"""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, Optional
from urllib.parse import urlsplit

import yaml  # type: ignore[import-untyped]

from data_tools.core.errors import SettingError
from data_tools.core.files import is_plain_name
from data_tools.core.json_dataclass import build, first_line
from data_tools.core.settings_fields import require, require_choice, setting
from training.checkpoints.weight_files import EMPTY_SHA256

FOLDER = Path(__file__).resolve().parents[2] / "conf" / "weights"
PREFIX = "hub:"
ENDINGS = (".ckpt", ".safetensors", ".pth", ".pt")
NAME = re.compile(r"[a-z0-9][a-z0-9_.]*")


@dataclass
class Entry:
    """Where some published weights are, and what is known of them. The name is the file's."""

    kind: str = setting("", "detector or backbone")
    donor: str = setting("", "whose weights: mindspore, torchvision, timm or mindcv")
    network: str = setting("", "our network (detector), or the classifier (backbone)")
    classes: int = setting(0, "classes of the head, a detector's with the background")
    address: str = setting("", "https address of the file")
    size: Optional[int] = setting(None, "bytes, if a source states them")
    sha256: Optional[str] = setting(None, "hash, if a source states it; else pinned on first use")
    sha256_starts: str = setting("", "first digits of the hash, if only they are stated")
    sha256_seen: bool = setting(False, "whether this project ever saw a file with that hash")
    licence: str = setting("", "licence that the donor states, or unknown")
    published: Optional[float] = setting(None, "published figure, percent")
    protocol: str = setting("", "what that figure is, and who measured it")
    source: str = setting("", "where the facts of this file stand")
    cards: list[str] = setting([], "names of Hub cards that mean it")
    settings: str = setting("", "file of conf/model that it needs; empty = the network's own")
    model: dict[str, Any] = setting({}, "model settings that its donor trained with")
    note: str = setting("", "anything else a user should know")
    name: str = field(default="", metadata={"help": "name of the file without .yaml"})

    def __post_init__(self) -> None:
        require_choice("kind", self.kind, ("detector", "backbone"))
        require_choice("donor", self.donor, ("mindspore", "torchvision", "timm", "mindcv"))
        for key in ("network", "licence", "protocol", "source"):
            require(bool(getattr(self, key)), key, getattr(self, key), "text")
        require(self.classes >= 2, "classes", self.classes, "a count of 2 or more")
        require(self.size is None or self.size > 0, "size", self.size, "a number of bytes > 0")
        parts = urlsplit(self.address)
        require(
            parts.scheme == "https" and bool(parts.hostname), "address", self.address, "https://..."
        )
        require(
            is_plain_name(self.file_name) and self.file_name.endswith(ENDINGS),
            "address",
            self.address,
            "the address of a file that ends in " + ", ".join(ENDINGS),
        )
        digits = set("0123456789abcdef")
        require(
            self.sha256 is None
            or (
                (len(self.sha256) == 64 and not set(self.sha256) - digits)
                and self.sha256 != EMPTY_SHA256
            ),
            "sha256",
            self.sha256,
            "64 hexadecimal digits in lower case, not those of an empty file",
        )
        require(not set(self.sha256_starts) - digits, "sha256_starts", self.sha256_starts, "digits")

    @property
    def file_name(self) -> str:
        """What the file is called at its source."""
        return PurePosixPath(urlsplit(self.address).path).name

    @property
    def what(self) -> str:
        """The entry in a few words, for messages."""
        return f"{self.kind} {self.network} of {self.donor}"


def read_entry(path: Path) -> Entry:
    """Read one file of the registry.

    Raises:
        SettingError: If it cannot be read, or a key or value is not accepted; the message names the
            file.
    """
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise SettingError(f"{path}: cannot be read ({first_line(error)}).") from error
    if not isinstance(values, dict) or not NAME.fullmatch(path.stem):
        raise SettingError(
            f"{path}: expected `key: value` lines in a file called NAME.yaml, NAME of small "
            "letters, digits, _ and dots."
        )
    try:
        return build(Entry, {**values, "name": path.stem})
    except ValueError as error:
        raise SettingError(f"{path}: {error}") from error


def registry(folder: Path | None = None) -> dict[str, Entry]:
    """Return all entries by name, detectors first.

    Args:
        folder: Where the files are; None for those of this project.

    Raises:
        SettingError: If a file cannot be read, or two entries claim one card.
    """
    folder = folder or FOLDER
    entries = [read_entry(path) for path in sorted(folder.glob("*.yaml"))]
    owners: dict[str, str] = {}
    for entry in entries:
        for card in entry.cards:
            if card in owners:
                raise SettingError(f"{folder}: {entry.name} and {owners[card]} both claim {card}.")
            owners[card] = entry.name
    return {e.name: e for e in sorted(entries, key=lambda e: (e.kind != "detector", e.name))}


def find_entry(name: str, kind: str | None = None) -> Entry:
    """Look a name up, with or without `hub:`; a Hub card's name means its entry too.

    Args:
        name: A name such as `ssd300`, or `mindspore/ascend/1.1/ssd_v1.1`.
        kind: `detector` or `backbone`, if only that is of use.

    Raises:
        SettingError: If there is none; the message names the near ones, or of the kind needed.
    """
    entries = registry()
    key = name.removeprefix(PREFIX)
    by_card = {card: entry for entry in entries.values() for card in entry.cards}
    entry = entries.get(key) or by_card.get(key)
    if entry is None:
        near = difflib.get_close_matches(key, [*entries, *by_card], 4, 0.5)
        hint = f"Near: {', '.join(near)}." if near else "See python -m training.weights list."
        raise SettingError(f"{name}: no weights of this name are known. {hint}")
    if kind and entry.kind != kind:
        words = {"detector": "a whole detector", "backbone": "a classifier's backbone"}
        key_for = {"detector": "checkpoint=", "backbone": "init.backbone="}
        raise SettingError(
            f"{name}: is {words[entry.kind]}, but {words[kind]} is needed here. Use it with "
            f"{key_for[entry.kind]}{PREFIX}{entry.name}."
        )
    return entry
