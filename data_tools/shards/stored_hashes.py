"""Hashes of pictures as they stand in a manifest: those of a shard's rows one after the other, in
base64.

What is hashed is the business of `images/picture_hash.py`.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable

from data_tools.shards.manifest import Manifest

IDS, BYTES, PICTURES = "ids", "bytes", "pictures"
"""Keys of `Manifest.hashes`: image ids (8 bytes each, the lowest first), which say whose the hashes
are; hashes of the stored bytes (16 bytes each), and of what is seen (32 bytes each)."""

SIZES = {IDS: 8, BYTES: 16, PICTURES: 32}


def pack_hashes(hashes: Iterable[bytes]) -> str:
    """Return the hashes of a shard's rows as one text.

    >>> pack_hashes([b"12", b"34"])
    'MTIzNA=='
    """
    return base64.b64encode(b"".join(hashes)).decode("ascii")


def stored_hashes(manifest: Manifest, kind: str) -> list[bytes] | None:
    """Return a split's hashes in the order of its rows.

    Args:
        manifest: The split's manifest.
        kind: `IDS`, `BYTES` or `PICTURES`.

    Returns:
        One for each row, or None if the manifest has not those of every shard.
    """
    texts = manifest.hashes.get(kind, {})
    size, hashes = SIZES[kind], []
    for shard in manifest.shards:
        try:
            data = base64.b64decode(texts.get(shard.file, ""), validate=True)
        except (binascii.Error, ValueError):
            return None
        if len(data) != size * shard.rows:
            return None
        hashes += [data[k : k + size] for k in range(0, len(data), size)]
    return hashes


def pack_id(image_id: int) -> bytes:
    """Return an image's id as it stands among the hashes."""
    return image_id.to_bytes(8, "little", signed=True)


def unpack_id(data: bytes) -> int:
    """Return the id that `pack_id` was given.

    >>> unpack_id(pack_id(-7))
    -7
    """
    return int.from_bytes(data, "little", signed=True)
