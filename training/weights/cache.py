"""The folder that fetched weights lie in: where it is, its lock, and the hashes pinned on first
use.

The bytes come from `download.py`; what is checked of them before they lie here is `fetch.py`'s
business.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from data_tools.core.errors import CheckpointError, SettingError
from data_tools.core.files import make_folder, write_atomic
from data_tools.core.json_dataclass import read_json
from training.process.cache_folder import cache_folder
from training.weights.entry import Entry

VARIABLE = "SSD_WEIGHTS_CACHE"
PINS = "pinned.json"


@dataclass(frozen=True)
class Cache:
    """A folder of fetched files, each in a folder of its entry's name.

    Args:
        folder: The cache's folder; need not exist.
    """

    folder: Path

    def path(self, entry: Entry) -> Path:
        """Where the file of an entry lies or will lie."""
        return self.folder / entry.name / entry.file_name

    def part(self, entry: Entry) -> Path:
        """Where it grows while it is fetched."""
        return self.path(entry).with_name(entry.file_name + ".part")

    def expected(self, entry: Entry) -> str | None:
        """The sha256 that the file must have: the registry's, or the one pinned when it was first
        fetched.

        Raises:
            CheckpointError: If the file of pinned hashes is damaged.
        """
        return entry.sha256 or self._pins().get(f"{entry.name} {entry.address}")

    def pin(self, entry: Entry, sha256: str) -> None:
        """From now on accept only this hash for an entry without one; the lock must be held."""
        pins = {**self._pins(), f"{entry.name} {entry.address}": sha256}
        write_atomic(self.folder / PINS, json.dumps(pins, indent=1) + "\n")

    def _pins(self) -> dict[str, str]:
        path = self.folder / PINS
        if not path.exists():
            return {}
        try:
            pins = read_json(path)
            if not isinstance(pins, dict) or not all(isinstance(v, str) for v in pins.values()):
                raise ValueError("it is no mapping of names to hashes")
        except (OSError, ValueError) as error:
            raise CheckpointError(
                f"{path}: the hashes of what was fetched before cannot be read ({error}). Mend the "
                "file, or remove it: then files are trusted anew as they come."
            ) from error
        return pins

    @contextlib.contextmanager
    def locked(self, entry: Entry, notify: Callable[[str], None]) -> Iterator[None]:
        """Hold the lock of the cache; a second process waits and then finds the file there.

        Raises:
            SettingError: If the folder cannot be made or written to, its disk is full, or something
                is in the way in it.
        """
        make_folder(self.folder, VARIABLE)
        try:
            with self._locked(entry, notify):
                yield
        except OSError as error:
            where = error.filename2 or error.filename or self.folder
            raise SettingError(
                f"the cache of weights, {where}: {error.strerror or error}. Look at the free space "
                f"and the rights, remove what is in the way, or choose another folder: {VARIABLE}."
            ) from error

    @contextlib.contextmanager
    def _locked(self, entry: Entry, notify: Callable[[str], None]) -> Iterator[None]:
        descriptor = os.open(self.folder / "lock", os.O_RDWR | os.O_CREAT, 0o644)
        try:
            announced = False
            while True:
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if not announced:
                        notify(f"waiting: another process is fetching into {self.folder}")
                        announced = True
                    time.sleep(0.1)
            self.path(entry).parent.mkdir(exist_ok=True)
            try:
                yield
            finally:
                with contextlib.suppress(OSError):
                    self.path(entry).parent.rmdir()  # stays if anything lies in it
        finally:
            os.close(descriptor)


def default_cache() -> Cache:
    """Return the cache that the variables choose, see `process/cache_folder.py`.

    Raises:
        SettingError: If a variable holds a relative path.
    """
    return Cache(cache_folder(VARIABLE, "weights"))
