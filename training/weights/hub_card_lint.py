"""What is wrong with a Hub card: words of another kind of network, figures that cannot be, files
without a proper address or hash.

Cards are read in `hub_card.py`.
"""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from data_tools.core.json_dataclass import shown
from training.checkpoints.weight_files import EMPTY_SHA256
from training.weights.entry import Entry
from training.weights.hub_card import HubCard

_NUMBER = re.compile(r"(?<![\w.-])-?\d+(?:\.\d+)?")
_KINDS = (
    r"(audio|nlp|text|speech|voice|(?:natural\s+)?language|segmentation|recommendation|translation|"
    r"(?:image\s+)?classification)(?:\s+(?:recognition|processing))?"
)
_WRONG_KIND = re.compile(
    rf"\bis\s+an?\s+(?:{_KINDS}\s+(?:network|model)|(?:network|model)\s+for\s+{_KINDS})\b",
    re.IGNORECASE,
)
_MEASURE = re.compile(r"map|(?<![a-z])ap(?![a-z])|top-?[15]\b", re.IGNORECASE)
_BEST_AP = 60.0
"""Percent on COCO: no SSD comes near; a card that claims more means something else."""


def lint(card: HubCard, entry: Entry | None) -> list[str]:
    """List what is wrong with a card.

    Args:
        card: The card.
        entry: What the registry knows of the file that it offers; None if nothing.

    Returns:
        A sentence each; empty if nothing was found.
    """
    return [*_lint_words(card), *_lint_files(card), *_lint_registry(card, entry)]


def _lint_words(card: HubCard) -> list[str]:
    problems = []
    kind, name = (card.values.get(key, "").lower() for key in ("module-type", "model-name"))
    detects = "detection" in kind or "ssd" in name
    wrong = _WRONG_KIND.search(f"{card.values.get('summary', '')}\n{card.text}")
    if detects and wrong:
        words = " ".join(wrong[0].split())
        purpose = " ".join((wrong[1] or wrong[2]).lower().split())
        problems.append(f"calls a detector a network for {purpose}: “{words}”.")
    for key in ("model-name", "backbone-name", "model-version", "train-dataset", "license"):
        if not card.values.get(key):
            problems.append(f"{key} is missing.")
    backbone, model = card.values.get("backbone-name"), card.values.get("model-name")
    if backbone and re.fullmatch(r"ssd\d*", backbone):
        problems.append(
            f"backbone-name is {backbone}, which is a detector (model-name {model}), not a "
            "backbone."
        )
    if "shape" not in "".join(card.values):
        problems.append("input-shape is missing.")
    elif re.search(r"\b(224|227)\b", card.values.get("input-shape", "")) and detects:
        problems.append(
            f"input-shape {card.values['input-shape']} is a classifier's; SSD's networks take 300, "
            "320 or 640 pixels."
        )
    if not card.figures:
        problems.append("no accuracy: nothing says how good the weights are.")
    for key, value in card.figures.items():
        number = _NUMBER.search(re.sub(r"\([^()]*\)", " ", value))  # not the range of a measure
        if number is None:
            problems.append(f"{key} is {shown(value)}, no number.")
        elif detects and re.search(r"top-?[15]\b", f"{key} {value}", re.IGNORECASE):
            problems.append(f"{key} {value}: is a classifier's measure; a detector has an AP.")
        elif not 0 < _percent(number[0], value) <= _BEST_AP:
            problems.append(
                f"{key} {value} cannot be the AP of an SSD on COCO; the largest published is below "
                "40."
            )
        if not _MEASURE.search(f"{key} {value}"):
            problems.append(f"{key} {value}: does not say which measure it is.")
    return problems


def _percent(number: str, value: str) -> float:
    """A figure in percent; cards give fractions too."""
    figure = float(number)
    return figure if figure > 1 or "%" in value else 100 * figure


def _lint_files(card: HubCard) -> list[str]:
    problems = []
    if card.checkpoint is None:
        problems.append("offers no ckpt file: there is nothing to load here.")
    for asset in card.assets:
        what = f"the {asset.format or 'unnamed'} file"
        if urlsplit(asset.address).scheme != "https":
            problems.append(f"{what} has no https address: {shown(asset.address)}.")
        if asset.sha256 == EMPTY_SHA256:
            problems.append(
                f"{what} has the sha256 of an empty file: a failed download was hashed."
            )
        elif not re.fullmatch("[0-9a-f]{64}", asset.sha256):
            problems.append(f"{what} has no proper sha256: {shown(asset.sha256)}.")
    return problems


def _lint_registry(card: HubCard, entry: Entry | None) -> list[str]:
    asset = card.checkpoint
    if entry is None or asset is None or entry.sha256 in (None, asset.sha256):
        return []
    return [f"its sha256 is not the one that the registry has for hub:{entry.name}: one is wrong."]
