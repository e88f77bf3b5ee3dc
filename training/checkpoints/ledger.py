"""The ledger of conversions: what `FILE.parity.json` says, in one form for every import and export.

Who compares what fills it in: `training/exporting/parity.py`,
`training/commands/import_checkpoint.py`, `training/run/first_weights.py`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from data_tools.core.files import write_atomic

FORMAT = "ssd-ledger/1"
ENDING = ".parity.json"


def ledger(
    *,
    donor: str,
    donor_sha256: str,
    library: str,
    licence: str,
    names: Mapping[str, str],
    left_out: Mapping[str, str],
    inputs: str,
    differences: Mapping[str, float],
) -> dict[str, Any]:
    """Put a conversion on record.

    Args:
        donor: Path or `hub:` name of the file that the weights come from.
        donor_sha256: Its hash.
        library: Whose names it bears: mindspore, torchvision, timm, mindcv.
        licence: Of the donor's weights; `unknown` if nobody says.
        names: Name in the result to name in the donor, of every weight that was taken over.
        left_out: Name in the donor to the reason, of every other.
        inputs: On what both were compared, in words.
        differences: What was compared to the largest difference found.

    Returns:
        Plain values for JSON.
    """
    return {
        "ledger": FORMAT,
        "donor": {"file": donor, "sha256": donor_sha256, "house": library, "licence": licence},
        "names": dict(names),
        "left_out": dict(left_out),
        "compared_on": inputs,
        "largest_differences": dict(differences),
    }


def ledger_path(file: Path) -> Path:
    """Where the ledger of a file is."""
    return file.with_name(file.name + ENDING)


def write_ledger(file: Path, values: Mapping[str, Any]) -> Path:
    """Write the ledger of a file next to it, whole or not at all; returns its path."""
    path = ledger_path(file)
    write_atomic(path, json.dumps(values, indent=1) + "\n")
    return path
