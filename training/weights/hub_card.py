"""A Hub card as it is: what it promises, and where its files are.

Cards are Markdown with lines `key: value` between two rules; addresses stand in angle brackets, the
files in an indented list. What is wrong with a card is listed in `hub_card_lint.py`; fetching is
`fetch.py`'s matter.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

from data_tools.core.errors import DataError
from data_tools.core.json_dataclass import shown
from training.checkpoints.weight_files import EMPTY_SHA256
from training.weights.entry import ENDINGS, Entry

_LARGEST = 1 << 20
_RULE = re.compile(r"-{3,}\s*")
_PAIR = re.compile(r"([A-Za-z](?:[\w .~@%-]|\([^()]*\))*):\s*(.*)")
"""A key may have a colon in parentheses: `mAP(0.5:0.95)`."""
_FIGURE = re.compile(
    r"^(?:accuracy|evaluation|metrics?|performance|(?:.*[\W_])?m?ap(?:[\W_\d].*)?|.*top-?1.*)$",
    re.IGNORECASE,
)
_LINK = re.compile(r"\[[^\]]*\]\((.*)\)")


@dataclass(frozen=True)
class Asset:
    """One file that a card offers.

    Attributes:
        format: `ckpt`, `air`, `mindir`, `mslite`, ...
        address: Where it is, without angle brackets.
        sha256: What the card says, in lower case; empty if nothing.
    """

    format: str
    address: str
    sha256: str


@dataclass(frozen=True)
class HubCard:
    """What a card says.

    Attributes:
        path: The card's file.
        values: Key to value of its head, without angle brackets.
        assets: Its files.
        text: What follows the head.
    """

    path: Path
    values: dict[str, str]
    assets: tuple[Asset, ...]
    text: str = field(default="", repr=False)

    @property
    def checkpoint(self) -> Asset | None:
        """The file that can be loaded here; None if the card has none."""
        return next((a for a in self.assets if a.format == "ckpt"), None)

    @property
    def figures(self) -> dict[str, str]:
        """What it says of the model's quality, key to value."""
        return {k: v for k, v in self.values.items() if _FIGURE.match(k)}


def read_hub_card(path: str | Path) -> HubCard:
    """Read a card.

    Raises:
        DataError: If it is missing, no text, or has no head of `key: value` lines.
    """
    path = Path(path)
    try:
        if path.stat().st_size > _LARGEST:
            raise DataError(f"{path}: {path.stat().st_size} bytes: no Hub card is that long.")
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}).") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: is no text, so no Hub card.") from error
    rules = [k for k, line in enumerate(lines) if _RULE.fullmatch(line)]
    if len(rules) < 2:
        raise DataError(
            f"{path}: no Hub card: expected `key: value` lines between two lines of dashes."
        )
    values, assets = _read_head(path, lines[rules[0] + 1 : rules[1]])
    if "model-name" not in values and not assets:
        raise DataError(f"{path}: no Hub card: it has neither model-name nor asset.")
    return HubCard(path, values, assets, "\n".join(lines[rules[1] + 1 :]))


def _read_head(path: Path, lines: list[str]) -> tuple[dict[str, str], tuple[Asset, ...]]:
    values: dict[str, str] = {}
    files: list[dict[str, str]] = []
    within = False
    for line in lines:
        text = line.strip()
        if within and text.startswith("-"):
            files.append({})
            text = text[1:].strip()
        pair = _PAIR.fullmatch(text)
        if not pair:
            continue
        key, value = pair[1].strip().lower(), _bare(pair[2])
        if key == "asset":
            within = True
        elif within and (key.startswith("asset-") or key == "file-format"):
            if not files:
                files.append({})
            if key in files[-1]:
                raise DataError(f"{path}: {key} stands twice in one asset.")
            files[-1][key] = value
        else:
            within = False
            values[key] = value
    assets = tuple(
        Asset(f.get("file-format", "").lower(), f.get("asset-link", ""),
              f.get("asset-sha256", "").lower())
        for f in files
        if f
    )  # fmt: skip
    return values, assets


def _bare(value: str) -> str:
    """A value without what Markdown or YAML puts around it: brackets, quotes, the words of a
    link.
    """
    value = value.strip()
    if link := _LINK.fullmatch(value):
        value = link[1].strip()
    if value[:1] in ('"', "'") and value[-1:] == value[:1]:
        value = value[1:-1].strip()
    return value.strip("<>").strip()


def entry_of(card: HubCard, known: dict[str, Entry]) -> Entry | None:
    """The registry's entry with the address of the card's checkpoint."""
    asset = card.checkpoint
    if asset is None:
        return None
    return next((e for e in known.values() if e.address == asset.address), None)


def entry_from(card: HubCard, network: str) -> Entry:
    """Make an entry of what a card says, for a card that the registry does not know.

    Args:
        card: The card.
        network: Our network that it should be.

    Raises:
        DataError: If it offers no checkpoint, or with the hash of an empty file or none.
    """
    asset = card.checkpoint
    if asset is None:
        raise DataError(f"{card.path}: offers no ckpt file: there is nothing to load here.")
    if asset.sha256 == EMPTY_SHA256:
        raise DataError(
            f"{card.path}: asset-sha256 is the hash of an empty file: whoever wrote the card "
            "hashed a failed download. It proves nothing; ask for the right one."
        )
    if not re.fullmatch("[0-9a-f]{64}", asset.sha256):
        raise DataError(f"{card.path}: asset-sha256 is {shown(asset.sha256)}, no sha256.")
    name = PurePosixPath(urlsplit(asset.address).path)
    if name.suffix not in ENDINGS:
        raise DataError(f"{card.path}: asset-link {shown(asset.address)} is no checkpoint's.")
    return Entry(
        kind="detector",
        donor="mindspore",
        network=network,
        classes=81,  # COCO's, with background
        address=asset.address,
        sha256=asset.sha256,
        licence=card.values.get("license", "unknown"),
        protocol="see the card",
        source=str(card.path),
        name="card_" + re.sub(r"[^a-z0-9_.]", "_", card.path.stem.lower()),
    )
