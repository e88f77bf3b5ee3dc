"""Where a file of weights comes from, as far as the registry knows: by its hash.

Names of layers are recognised in `training/checkpoints/donors.py`.
"""

from __future__ import annotations

from training.weights.cache import default_cache
from training.weights.entry import Entry, registry


def origin_of(sha256: str) -> Entry | None:
    """The registry's entry with this hash, stated or pinned; None if there is none."""
    cache = default_cache()
    return next((e for e in registry().values() if sha256 == cache.expected(e)), None)


def licence_of(sha256: str) -> str:
    """The licence of a file, `unknown` if the registry does not know the file."""
    entry = origin_of(sha256)
    return entry.licence if entry else "unknown"
