"""Files in object storage and on web servers: `s3://bucket/key`, `obs://bucket/key`, `https://...`.

Read where they lie, with a few tries, through fsspec: obstore for storage with an S3 interface,
aiohttp for the web (the extra `cloud`). `pathlib` writes such a path with one slash, `s3:/bucket`.
"""

from __future__ import annotations

import functools
import os
import re
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote, urljoin

from data_tools.core.errors import StorageError
from data_tools.core.storage_keys import storage_config

_STARTS = ("s3:/", "obs:/", "http:/", "https:/")
_PATH = re.compile(r"(s3|obs|https?):/+(.*)", re.DOTALL)
_PAUSES_S = (0.2, 1.0, 3.0, None)
"""Seconds between the tries; none after the last one."""
_REFUSED = (400, 401, 403)
_DEEPEST = 20
_ASKED_AT_ONCE = 16
_listed: dict[str, dict[str, int]] = {}
"""Folder -> its files, relative to it, and their bytes (-1 where a server does not say)."""
_sizes: dict[str, int | None] = {}


def is_remote(path: str | Path) -> bool:
    """Whether a path leads to object storage or a web server.

    >>> is_remote("s3://bucket/a.jpg"), is_remote(Path("s3://bucket/a.jpg")), is_remote("/s3/a")
    (True, True, False)
    """
    return str(path).startswith(_STARTS)


def root_path(text: str) -> Path:
    """Return the path that a setting means: `~` is the home folder, an address is decoded.

    >>> root_path("https://host/my%20set").as_posix()
    'https:/host/my set'
    """
    return (
        Path(unquote(text))
        if text.startswith("http") and is_remote(text)
        else (Path(text).expanduser())
    )


def address(path: str | Path) -> str:
    """Return a path as a person writes it.

    >>> address(Path("s3://bucket/a b.jpg")), address(Path("http://host/a b.jpg"))
    ('s3://bucket/a b.jpg', 'http://host/a%20b.jpg')
    """
    if not is_remote(path):
        return str(path)
    scheme, rest = _parts(path)
    return f"{scheme}://{quote(rest, safe='/:@') if scheme.startswith('http') else rest}"


def use_endpoint(endpoint: str) -> None:
    """Take an S3 interface at another address than Amazon's; processes started later do too."""
    if endpoint:
        os.environ["AWS_ENDPOINT_URL"] = endpoint


def read(path: str | Path, start: int = 0, count: int | None = None) -> bytes:
    """Return the bytes of a file, or `count` of them from byte `start` on.

    Raises:
        FileNotFoundError: If there is none.
        StorageError: If it cannot be read after several tries, or may not be.
    """
    if count == 0:
        return b""
    end = None if count is None else start + count
    first = None if count is None else start
    data: bytes = _tried(path, lambda files, name: files.cat_file(name, start=first, end=end))
    if count is not None and len(data) > count:
        raise StorageError(
            f"{address(path)}: the server gives whole files only, no parts of them (Range), so an "
            "archive there cannot be read in place. Copy it to the disk."
        )
    return data


def size(path: str | Path) -> int | None:
    """Return the size in bytes of a file; None if there is none.

    Raises:
        StorageError: If that cannot be told.
    """
    text = "/".join(_parts(path))
    for folder in _parents(text):
        if folder in _listed:
            known = _listed[folder].get(text[len(folder) + 1 :])
            if known != -1:
                return known
    if text not in _sizes:
        try:
            entry = _tried(path, lambda files, name: files.info(name))
            _sizes[text] = entry["size"] if entry["type"] == "file" else None
            if entry["type"] == "file" and entry["size"] is None:
                _sizes[text] = len(read(path))
        except FileNotFoundError:
            _sizes[text] = None
    return _sizes[text]


def learn_sizes(folder: str | Path, files: Sequence[str]) -> None:
    """Ask for the sizes of files at once, several at a time; `size` knows them then.

    Raises:
        StorageError: If the folder cannot be reached.
    """
    names(folder)
    with ThreadPoolExecutor(_ASKED_AT_ONCE) as pool:
        for _ in pool.map(lambda name: size(f"{folder}/{name}"), files):
            pass


def names(path: str | Path) -> list[str] | None:
    """Return the names of all files below a folder, relative to it; None if there are none.

    A folder is asked for once in the life of a process.

    Raises:
        StorageError: If it cannot be listed.
    """
    text = "/".join(_parts(path))
    for folder in (text, *_parents(text)):
        if folder in _listed:
            start = text[len(folder) + 1 :] + "/" if folder != text else ""
            inside = [n[len(start) :] for n in _listed[folder] if n.startswith(start)]
            return inside or None
    try:
        _listed[text] = _list_web(path) if text.startswith("http") else _list_bucket(path)
    except FileNotFoundError:
        _listed[text] = {}
    return list(_listed[text]) or None


def _list_bucket(path: str | Path) -> dict[str, int]:
    base = _parts(path)[1]
    entries = _tried(path, lambda files, name: files.find(name, detail=True))
    return {
        name[len(base) + 1 :]: int(entry["size"])
        for name, entry in entries.items()
        if name.startswith(f"{base}/") and not name.endswith("/") and entry["type"] == "file"
    }


def _list_web(path: str | Path) -> dict[str, int]:
    """Follow the links of a server's index pages that lead downwards."""
    base = "://".join(_parts(path)) + "/"
    files: dict[str, int] = {}
    folders = [base]
    for _ in range(_DEEPEST):
        deeper = []
        for folder in folders:
            page = f"{address(folder)}/"
            links = _tried(folder, lambda web, name: web.ls(f"{name}/", detail=False))
            for link in dict.fromkeys(urljoin(page, link) for link in links):
                name = unquote(link)
                if "?" in link or "#" in link or name == folder or not name.startswith(folder):
                    continue
                if name.endswith("/"):
                    deeper.append(name)
                else:
                    files[name[len(base) :]] = -1
        folders = deeper
    return files


def _parts(path: str | Path) -> tuple[str, str]:
    match = _PATH.fullmatch(str(path))
    assert match is not None
    return match[1], match[2].rstrip("/")


def _parents(text: str) -> list[str]:
    """The folders above, the innermost first; the scheme is none."""
    parts = text.split("/")
    return ["/".join(parts[:k]) for k in range(len(parts) - 1, 1, -1)]


def _tried(path: str | Path, action: Callable[[Any, str], Any]) -> Any:
    """Do something with a file, up to four times; what is refused or not there is not retried."""
    scheme, rest = _parts(path)
    name = address(path) if scheme.startswith("http") else rest
    files, faults = _files(scheme, rest.partition("/")[0])
    for pause in _PAUSES_S:
        try:
            return action(files, name)
        except faults as error:
            reason = " ".join(str(error).partition("Debug source")[0].split())
            reason = reason[:400] or type(error).__name__
            kind, status = type(error).__name__, getattr(error, "status", 0)
            if isinstance(error, FileNotFoundError) or kind == "NotFoundError" or status == 404:
                raise FileNotFoundError(2, os.strerror(2), address(path)) from error
            if "NoSuchBucket" in reason:
                raise StorageError(
                    f"{address(path)}: there is no bucket of this name at "
                    f"{os.environ.get('AWS_ENDPOINT_URL') or 'Amazon'}. Check the name, "
                    "AWS_REGION and dataset.endpoint."
                ) from error
            # What obstore raises of a listing has its status in the text alone.
            named = re.search(r"status code: (\d{3})\b", reason)
            status = status or int(named[1] if named else 0)
            refused = isinstance(error, PermissionError) or status in _REFUSED
            if refused or kind in ("PermissionDeniedError", "UnauthenticatedError"):
                raise StorageError(
                    f"{address(path)}: access is refused ({reason}). Check the credentials "
                    "(AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN; OBS_... for "
                    "obs://), their rights to list and read it, and dataset.endpoint."
                ) from error
            if pause is None:
                raise StorageError(
                    f"{address(path)}: cannot be read after {len(_PAUSES_S)} tries ({reason}). "
                    "Check the address, dataset.endpoint and the network, then run the same "
                    "command again: finished shards are kept."
                ) from error
            time.sleep(pause)
    raise AssertionError


@functools.cache
def _files(scheme: str, bucket: str) -> tuple[Any, tuple[type[Exception], ...]]:
    """The file system of fsspec for a scheme, and the exceptions that it has for faults."""
    try:
        if scheme in ("http", "https"):
            import aiohttp
            from fsspec.implementations.http import HTTPFileSystem

            limits = aiohttp.ClientTimeout(total=None, sock_connect=10, sock_read=60)
            web = HTTPFileSystem(
                encoded=True, use_listings_cache=False, client_kwargs={"timeout": limits}
            )
            return web, (aiohttp.ClientError, OSError, TimeoutError)
        from obstore.exceptions import BaseError

        from data_tools.core.bucket_files import BucketFiles
    except ImportError as error:
        raise StorageError(
            f"{scheme}:// needs the extra `cloud`, which is not installed ({error.name}): "
            "pip install '.[cloud]'"
        ) from error
    return BucketFiles(bucket, storage_config(scheme, bucket)), (BaseError, OSError)
