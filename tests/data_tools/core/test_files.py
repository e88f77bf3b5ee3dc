"""Files that are whole or not there, and a disk that fails while a file grows."""

from __future__ import annotations

import errno
import hashlib
import os
import threading
from pathlib import Path

import pytest

from data_tools.core.files import EarlyFlush, sha256_of_file, write_atomic
from data_tools.shards.writer import ShardWriter


def test_a_failed_flush_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel tells an error of the disk once: swallowing it would publish a damaged shard."""

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    path = tmp_path / "a"
    path.touch()
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
    monkeypatch.setattr(os, "fdatasync", full)
    flush = EarlyFlush(path, every_bytes=10)
    flush.wrote(9)
    flush.close()  # nothing was flushed, so nothing failed
    flush = EarlyFlush(path, every_bytes=10)
    flush.wrote(10)
    with pytest.raises(OSError, match="No space left"):
        flush.start()
    with pytest.raises(OSError, match="No space left"):
        flush.close()
    flush.close()
    assert len(os.listdir("/proc/self/fd")) == before  # noqa: PTH208
    assert not [t for t in threading.enumerate() if t.name.startswith("flush")]
    writer = ShardWriter(tmp_path / "s.mindrecord")
    with pytest.raises(OSError, match="No space left"):
        writer._flush.start()
        writer.abort()


def test_what_was_written_is_flushed_once_it_is_enough(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[int] = []
    monkeypatch.setattr(os, "fdatasync", calls.append)
    path = tmp_path / "a"
    path.touch()
    flush = EarlyFlush(path, every_bytes=100)
    for _ in range(3):
        flush.wrote(40)
    flush.close()
    assert len(calls) == 1


def test_atomic_text_and_hash(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_atomic(path, "é" * 300_000)
    assert path.read_text(encoding="utf-8") == "é" * 300_000
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]
    assert sha256_of_file(path) == hashlib.sha256(path.read_bytes()).hexdigest()
