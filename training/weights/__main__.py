"""Weights by name on the command line: list, fetch, say where, verify, read a Hub card.

    python -m training.weights list
    python -m training.weights fetch ssd300
    python -m training.weights verify FILE

The work is done in the modules next to this one.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from pathlib import Path

from data_tools.core.errors import CheckpointError
from data_tools.core.files import sha256_of_file
from training.checkpoints.backbone_fit import misfit, of_backbone
from training.checkpoints.classifier_names import ROWS
from training.checkpoints.donors import Arrays, find_donor, libraries_of
from training.checkpoints.identify import identify
from training.checkpoints.weight_files import Weights, read_weights
from training.command_line.error_words import clear_errors
from training.process.runtime import prepare_environment
from training.weights.cache import default_cache
from training.weights.check import require_finite
from training.weights.entry import PREFIX, Entry, find_entry, registry
from training.weights.fetch import address_of, fetch
from training.weights.hub_card import HubCard, entry_from, entry_of, read_hub_card
from training.weights.hub_card_lint import lint


def show_list() -> None:
    """Print every entry in a line: name, what it is, figure, licence, whether it is in the
    cache.
    """
    cache = default_cache()
    rows = [("name", "what", "figure", "licence", "hash", "here")]
    for entry in registry().values():
        what = f"{entry.kind} {entry.network} ({entry.donor})"
        figure = "-" if entry.published is None else f"{entry.published:g}"
        known = "stated" if entry.sha256 else "pinned" if cache.expected(entry) else "unknown"
        here = "yes" if cache.path(entry).is_file() else "no"
        rows.append((PREFIX + entry.name, what, figure, entry.licence, known, here))
    widths = [max(len(row[k]) for row in rows) for k in range(len(rows[0]))]
    for row in rows:
        print("  ".join(text.ljust(width) for text, width in zip(row, widths)).rstrip())
    print(
        "Figures are their publishers', percent; what they are: python -m training.weights where "
        "NAME."
    )


def show_where(entry: Entry) -> None:
    """Print what the registry knows of an entry, and where its file lies or will lie."""
    cache = default_cache()
    path = cache.path(entry)
    lines = {
        "what": f"{entry.what}, {entry.classes} classes",
        "file": f"{path} ({'there' if path.is_file() else 'not fetched yet'})",
        "address": address_of(entry),
        "sha256": cache.expected(entry)
        or (
            entry.sha256_starts + "..." if entry.sha256_starts else "not known: pinned on first use"
        ),
        "seen": "yes"
        if entry.sha256_seen
        else "no: this project has never seen a file with this hash",
        "size": f"{entry.size} bytes" if entry.size else "not stated",
        "licence": entry.licence,
        "published": "no figure" if entry.published is None else f"{entry.published:g}",
        "protocol": entry.protocol,
        "source": entry.source,
        "settings": f"model={entry.settings}" if entry.settings else "",
        "note": entry.note,
    }
    for key, value in lines.items():
        if value:
            print(f"{key:10}{value}")


def kind_of(weights: Weights) -> tuple[str, Arrays]:
    """Say what weights are, and which of them are of use here."""
    try:
        network, classes = identify(weights)
        return f"a detector: {network} with {classes} classes", weights
    except CheckpointError as error:
        for name in ROWS:
            if not misfit(name, weights):
                libraries = " or ".join(libraries_of(name, weights))
                used = of_backbone(find_donor(name, weights), weights)
                return f"a classifier with the backbone {name}, as {libraries} names it", used
        return f"no use: {error}", weights


def verify(path: Path) -> int:
    """Say what a file is, and whether it is what the registry has under its name or hash.

    Returns:
        0 if it is known and unharmed, 1 otherwise.

    Raises:
        CheckpointError: If it is missing, holds no weights, or some that are not finite.
    """
    if not path.is_file():
        raise CheckpointError(f"{path}: no such file.")
    weights = read_weights(path)
    kind, used = kind_of(weights)
    try:
        require_finite(used)
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}.") from None
    sha256, cache = sha256_of_file(path), default_cache()
    print(f"{path}: {len(weights)} weights, {path.stat().st_size} bytes, sha256 {sha256}")
    print(kind)
    entries = registry().values()
    same_hash = [e for e in entries if sha256 == cache.expected(e)]
    same_name = [e for e in entries if e.file_name == path.name]
    for entry in same_hash:
        print(f"the file of {PREFIX}{entry.name}: its hash is right")
    for entry in same_name:
        if entry not in same_hash and (expected := cache.expected(entry)):
            print(f"is called as the file of {PREFIX}{entry.name}, but that has sha256 {expected}")
    if not same_hash:
        print("its hash is not in the registry: nothing is known of where it comes from")
    return 0 if same_hash else 1


def show_card(card: HubCard, network: str, only_read: bool) -> int:
    """Print what a card promises and what is wrong with it; fetch its checkpoint.

    Returns:
        0.

    Raises:
        DataError: If there is nothing to fetch, or the card has the hash of an empty file.
        CheckpointError: If the file cannot be had, or is not what the card says.
    """
    for key in ("model-name", "backbone-name", "model-version", "train-dataset", "license"):
        print(f"{key:16}{card.values.get(key, '-')}")
    for key, value in card.figures.items():
        print(f"{key:16}{value}")
    for asset in card.assets:
        print(f"{'asset':16}{asset.format} {asset.address} sha256 {asset.sha256 or '-'}")
    known = entry_of(card, registry())
    for problem in lint(card, known):
        print(f"wrong: {problem}")
    offered = entry_from(card, known.network if known else network)
    if known is not None and known.sha256 in (None, offered.sha256):
        offered = known
    if not only_read:
        print(f"fetched: {fetch(offered)}")
    return 0


@clear_errors()
def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m training.weights", description="Published weights by name."
    )
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("list", help="what can be had")
    for name, words in (
        ("fetch", "fetch a file into the cache, checked"),
        ("where", "what is known of it"),
    ):
        commands.add_parser(name, help=words).add_argument(
            "name", help="a name of the list, or of a Hub card"
        )
    commands.add_parser("verify", help="what a file is").add_argument("file", type=Path)
    card = commands.add_parser(
        "card", help="read a Hub card, list what is wrong with it, fetch its file"
    )
    card.add_argument("file", type=Path)
    card.add_argument(
        "--network", default="ssd300", help="its network, if the registry does not know the card"
    )
    card.add_argument("--only-read", action="store_true", help="fetch nothing")
    options = parser.parse_args(arguments)
    prepare_environment()
    if options.command == "list":
        with contextlib.suppress(BrokenPipeError):  # `list | head` has seen enough
            show_list()
            sys.stdout.flush()
            return 0
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    elif options.command == "where":
        show_where(find_entry(options.name))
    elif options.command == "fetch":
        print(fetch(find_entry(options.name)))
    elif options.command == "verify":
        return verify(options.file)
    else:
        return show_card(read_hub_card(options.file), options.network, options.only_read)
    return 0


if __name__ == "__main__":
    sys.exit(main())
