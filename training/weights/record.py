"""The ledger of a fetched file, next to it in the cache: whose weights these are, and which is
which in our networks.

Nothing is compared here: that a file holds what its entry promises was checked in `check.py`, and
what becomes of the weights in a network is put on record where they are loaded.
"""

from __future__ import annotations

from pathlib import Path

from training.checkpoints.classifier_names import ROWS
from training.checkpoints.donors import COUNTER, find_donor
from training.checkpoints.ledger import ledger, write_ledger
from training.checkpoints.torchvision_detectors import our_names
from training.checkpoints.weight_files import PREFIX, Weights, is_torchvision, read_with_rest
from training.weights.entry import PREFIX as HUB
from training.weights.entry import Entry


def put_on_record(path: Path, entry: Entry, sha256: str) -> Path:
    """Write `FILE.parity.json`; returns its path.

    Args:
        path: The file in the cache, checked.
        entry: What it is.
        sha256: Its hash.
    """
    weights, rest = read_with_rest(path)
    names = (
        _names_of_detector(path, entry, weights)
        if entry.kind == "detector"
        else _names_of_backbone(entry, weights)
    )
    reasons: dict[str, str] = {}
    if entry.kind == "backbone":
        used = set(names.values())
        reasons = {name: "not of the backbone" for name in weights if name not in used}
    reasons |= dict.fromkeys(rest, "not needed: a counter, or of the trainer")
    reasons |= {n: "steps that a batch norm has seen" for n in reasons if n.endswith(COUNTER)}
    return write_ledger(
        path,
        ledger(
            donor=f"{HUB}{entry.name}",
            donor_sha256=sha256,
            library=entry.donor,
            licence=entry.licence,
            names=names,
            left_out=reasons,
            inputs="nothing: the file is as it was fetched, from " + entry.address,
            differences={},
        ),
    )


def _names_of_detector(path: Path, entry: Entry, weights: Weights) -> dict[str, str]:
    theirs = our_names(entry.network) if is_torchvision(path) else {}
    return {PREFIX + n: theirs.get(n, PREFIX + n) for n in weights}


def _names_of_backbone(entry: Entry, weights: Weights) -> dict[str, str]:
    """Names in classifiers of MindSpore, from which every network here derives its own, to the
    donor's.
    """
    donor = find_donor(entry.network, weights)
    leaves = ("weight", "bias", "gamma", "beta", "moving_mean", "moving_variance")
    return {
        own: theirs
        for row in ROWS[entry.network]()
        for leaf in leaves
        if (theirs := donor.name_of(own := f"{row[0]}.{leaf}")) in weights
    }
