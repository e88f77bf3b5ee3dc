"""Weights as other libraries name them, without those libraries."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

NAMES: dict[str, dict[str, list[int]]] = json.loads(
    (Path(__file__).parents[1] / "golden" / "donor_names.json").read_text()
)
"""Name in the registry to name and shape of every weight."""


def flat(donor: str, **more: np.ndarray) -> dict[str, np.ndarray]:
    """The weights of a donor, all of one value, and more of them."""
    return {n: np.full(s, 0.5, np.float32) for n, s in NAMES[donor].items()} | more
