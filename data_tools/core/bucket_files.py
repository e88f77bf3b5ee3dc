"""The files of a bucket with an S3 interface, as a file system of fsspec that reads by obstore.

obstore's own adapter for fsspec hands over what it read in threads of Rust that call Python. A
process that ends while one of them is not done, as a command does right after an error, is aborted
(SIGABRT, exit code -6). obstore's blocking interface, used here, calls Python in no other thread
than the one that asks.

What is tried again, and what errors mean, is the business of `data_tools/core/object_storage.py`.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from fsspec import AbstractFileSystem
from obstore.store import S3Store


class BucketFiles(AbstractFileSystem):  # type: ignore[misc]
    """A bucket whose files are read; names are `bucket/key`, as fsspec's are.

    Threads may share it. Faults are obstore's exceptions, and not retried here.

    Args:
        bucket: Its name.
        config: Address and credentials, see `storage_keys.py`.
    """

    cachable = False

    def __init__(self, bucket: str, config: dict[str, Any]) -> None:
        super().__init__()
        self._start = f"{bucket}/"
        self._store = S3Store(
            bucket,
            config=config,
            client_options={"allow_http": True, "connect_timeout": "10s", "timeout": "300s"},
            retry_config={"max_retries": 0, "retry_timeout": timedelta(seconds=1)},
        )

    def cat_file(self, path: str, start: int | None = None, end: int | None = None) -> bytes:
        """Return the bytes of a file, or those from `start` up to `end`."""
        key = path.removeprefix(self._start)
        if start is None or end is None:
            whole: bytes = self._store.get(key).bytes().to_bytes()
            return whole
        part: bytes = self._store.get_range(key, start=start, end=end).to_bytes()
        return part

    def info(self, path: str) -> dict[str, Any]:
        """Return `name`, `size` in bytes and `type` of a file; folders are not there."""
        head = self._store.head(path.removeprefix(self._start))
        return {"name": path, "size": head["size"], "type": "file"}

    def find(self, path: str, detail: bool) -> dict[str, dict[str, Any]]:
        """Return all files below a folder, by name, as `info` has them."""
        assert detail
        prefix = path.removeprefix(self._start) if path.startswith(self._start) else None
        return {
            name: {"name": name, "size": head["size"], "type": "file"}
            for batch in self._store.list(prefix)
            for head in batch
            for name in (f"{self._start}{head['path']}",)
        }
