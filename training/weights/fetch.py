"""From a name to a file that may be used: cached, or fetched, and checked before it lies in the
cache.

The bytes come from `download.py`; where the file lies, `cache.py` says; what it must be, its entry
does.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from data_tools.core.errors import CheckpointError, SettingError
from data_tools.core.files import publish, sha256_of_file
from training.checkpoints.ledger import ledger_path
from training.checkpoints.weight_files import refuse_page
from training.weights.cache import Cache, default_cache
from training.weights.check import check_content
from training.weights.download import TIMEOUT_S, Interrupted, NotReached, discard, download
from training.weights.entry import PREFIX, Entry, find_entry
from training.weights.record import put_on_record

MIRROR = "SSD_WEIGHTS_MIRROR"
HF_ENDPOINT = "HF_ENDPOINT"
OFFLINE = ("SSD_WEIGHTS_OFFLINE", "HF_HUB_OFFLINE")

Notify = Callable[[str], None]


def notify(line: str) -> None:
    """Print a line where it does not mix with results."""
    print(line, file=sys.stderr, flush=True)


def local_path(name_or_path: str | Path, kind: str = "detector") -> Path:
    """Return a path as it is, and for `hub:NAME` the path of its file, fetched if need be.

    Args:
        name_or_path: A path, or `hub:` and a name of the registry or of a Hub card.
        kind: `detector` or `backbone`: what is of use here.

    Raises:
        SettingError: If the name is unknown, or of the other kind.
        CheckpointError: If the file cannot be had, or is not what it should be.
    """
    text = str(name_or_path)
    if not text.startswith(PREFIX):
        return Path(name_or_path)
    return fetch(find_entry(text, kind))


def fetch(
    entry: Entry,
    cache: Cache | None = None,
    *,
    notify: Notify = notify,
    timeout_s: float = TIMEOUT_S,
) -> Path:
    """Return the file of an entry, from the cache or from its address; its hash is checked either
    way.

    Args:
        entry: What to fetch.
        cache: Where it is kept; None for the default.
        notify: Prints a line.
        timeout_s: Longest silence of a server, seconds.

    Raises:
        CheckpointError: If it cannot be reached (the message says where to put a file fetched by
            other means), or is not what it should be; then it is removed.
        SettingError: If the cache's folder cannot be written to.
    """
    cache = cache or default_cache()
    path = cache.path(entry)
    if path.is_file() and (expected := cache.expected(entry)) is not None:
        _check_cached(path, expected)
        if not ledger_path(path).is_file():  # fetched before there were any
            # A cache that others fill may be read only: its files are of use all the same.
            with contextlib.suppress(OSError, SettingError), cache.locked(entry, notify):
                put_on_record(path, entry, expected)
        return path
    with cache.locked(entry, notify):
        ledger_path(path).unlink(missing_ok=True)  # that of a file that is gone
        if not path.is_file():
            _fetch(entry, cache, notify, timeout_s)
        else:  # put there by hand
            _accept(entry, cache, path, notify)
        put_on_record(path, entry, str(cache.expected(entry)))
    return path


def _check_cached(path: Path, expected: str) -> None:
    actual = sha256_of_file(path)
    if actual != expected:
        raise CheckpointError(
            f"{path}: sha256 {actual}, expected {expected}: it was changed or damaged since it was "
            "fetched. Remove the file; then it is fetched again."
        )


def _fetch(entry: Entry, cache: Cache, notify: Notify, timeout_s: float) -> None:
    part = cache.part(entry)
    address = address_of(entry)
    if any(os.environ.get(name, "") not in ("", "0") for name in OFFLINE):
        raise CheckpointError(by_hand(entry, cache, f"{OFFLINE[0]} forbids to fetch anything"))
    _require_safe(address, cache.expected(entry))
    notify(f"fetching {PREFIX}{entry.name} ({entry.what}) from {address}")
    try:
        download(address, part, entry.size, timeout_s=timeout_s, name=entry.name)
    except Interrupted:
        raise
    except NotReached as error:
        discard(part)
        raise CheckpointError(by_hand(entry, cache, str(error).rstrip("."))) from error
    except CheckpointError:
        discard(part)
        raise
    _accept(entry, cache, part, notify)
    publish(part, cache.path(entry))


def _accept(entry: Entry, cache: Cache, file: Path, notify: Notify) -> None:
    """Check a whole file, and pin its hash if none is known; remove it if it is not what it should
    be.
    """
    try:
        size, sha256 = file.stat().st_size, sha256_of_file(file)
        expected = cache.expected(entry)
        if not size:
            raise CheckpointError("the file is empty: the server sent nothing")
        refuse_page(file)
        if entry.size is not None and size != entry.size:
            raise CheckpointError(
                f"{size} bytes, expected {entry.size}: cut short, or another file"
            )
        if expected is not None and sha256 != expected:
            raise CheckpointError(f"sha256 {sha256}, expected {expected}: damaged, or another file")
        if not sha256.startswith(entry.sha256_starts):
            raise CheckpointError(f"sha256 {sha256}, expected one with {entry.sha256_starts}...")
        check_content(file, entry, cache.path(entry).suffix)
    except CheckpointError as error:
        file.unlink(missing_ok=True)
        problem = str(error).replace(str(file), "the file").rstrip(".")
        raise CheckpointError(
            f"{PREFIX}{entry.name} from {address_of(entry)}: {problem}. It was not kept."
        ) from error
    if expected is None:
        cache.pin(entry, sha256)
        notify(
            f"warning: no source states the sha256 of {PREFIX}{entry.name}; this file has "
            f"{sha256}. From now on only it is accepted; compare it with another machine's if you "
            "can."
        )


def address_of(entry: Entry) -> str:
    """The address to fetch from: the entry's, or the mirror that the variables name.

    `SSD_WEIGHTS_MIRROR` stands for scheme and host of every address, `HF_ENDPOINT` for
    https://huggingface.co.

    Raises:
        SettingError: If a variable holds no http or https address.
    """
    parts = urlsplit(entry.address)
    variables = [MIRROR] + ([HF_ENDPOINT] if parts.hostname == "huggingface.co" else [])
    for variable in variables:
        value = os.environ.get(variable, "").rstrip("/")
        if value:
            mirror = urlsplit(value)
            if mirror.scheme not in ("http", "https") or not mirror.hostname:
                raise SettingError(f"{variable}={value}: expected an http or https address.")
            return urlunsplit(
                (mirror.scheme, mirror.netloc, mirror.path + parts.path, parts.query, "")
            )
    return entry.address


def _require_safe(address: str, expected: str | None) -> None:
    """Over plain http anybody on the way can exchange a file; a known hash would show it."""
    parts = urlsplit(address)
    here = parts.hostname in ("localhost", "127.0.0.1", "::1")
    if parts.scheme == "http" and expected is None and not here:
        raise CheckpointError(
            f"{address}: plain http, and no hash of the file is known: not fetched. Use an https "
            "mirror."
        )


def by_hand(entry: Entry, cache: Cache, reason: str) -> str:
    """Say what to fetch, from where, and where to put it."""
    expected = entry.sha256 or (f"{entry.sha256_starts}..." if entry.sha256_starts else "not known")
    return (
        f"{PREFIX}{entry.name} is not in the cache and could not be fetched: {reason}. On a "
        f"machine with a network fetch {entry.address} (sha256 {expected}) and put it at "
        f"{cache.path(entry)}; then run the same command. A proxy is taken from HTTPS_PROXY, a "
        f"mirror from {MIRROR}."
    )
