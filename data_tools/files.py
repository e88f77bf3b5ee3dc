"""Files that are there whole or not at all, their hashes, and what survives a power cut.

What is written is the callers' matter; shards and manifests have modules of their own.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path


def write_atomic(path: Path, text: str) -> None:
    """Write a text file so that it is there whole or not at all, also after a power cut."""
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_text(text, encoding="utf-8")
    publish(temporary, path)


def publish(temporary: Path, path: Path) -> None:
    """Flush a finished file to the disk, then give it its name in place of what bore it before.

    Args:
        temporary: The file, closed, in the folder of `path`.
        path: Its name.
    """
    sync_path(temporary)
    temporary.replace(path)


def sync_path(path: Path) -> None:
    """Flush a file, or a folder's entries, to the disk, so that it survives a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sha256_of_file(path: Path) -> str:
    """Return the sha256 of a file as hexadecimal text."""
    digest = hashlib.sha256()
    piece = memoryview(bytearray(1 << 18))  # one buffer that stays in the processor's cache
    with open(path, "rb", buffering=0) as file:
        while size := file.readinto(piece):
            digest.update(piece[:size])
    return digest.hexdigest()
