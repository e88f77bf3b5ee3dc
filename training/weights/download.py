"""One file over HTTP: resumed where it broke off, never longer than it should be, with progress.

Proxies are those of the usual variables (`HTTPS_PROXY`, `NO_PROXY`), which the standard library
reads. What the bytes are worth is checked in `fetch.py`.
"""

from __future__ import annotations

import http.client
import os
import socket
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from data_tools.core.errors import CheckpointError
from data_tools.core.json_dataclass import first_line, shown
from data_tools.core.progress import Progress

TIMEOUT_S = 20.0
"""Longest silence of a server, seconds."""
TRIES = 3
_PROGRESS = 1 << 20
"""Bytes that one connection must have brought for it not to count as a failed try."""
LARGEST = 4 << 30
"""Bytes: no weights of a detector or backbone come near."""
_PIECE = 1 << 18
_LATER = (408, 425, 429)
"""Answers that mean: not now."""


class NotReached(CheckpointError):
    """The server could not be reached at all: no network, no such host, no answer."""


class Interrupted(CheckpointError):
    """The transfer broke off; what came is kept, and the next call goes on from there."""


class _SameScheme(urllib.request.HTTPRedirectHandler):
    """Follows redirects, but not to another scheme: https must not become http, nor a file."""

    def redirect_request(
        self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str
    ) -> Any:
        if urlsplit(newurl).scheme != urlsplit(req.full_url).scheme:
            raise CheckpointError(
                f"{req.full_url}: is redirected to {shown(newurl)[1:-1]}, which is another scheme. "
                "Not followed."
            )
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def download(
    address: str, part: Path, size: int | None, *, timeout_s: float = TIMEOUT_S, name: str = "file"
) -> None:
    """Fetch a file into `part`, going on with what is there already.

    Args:
        address: http or https address.
        part: The growing file; it is whole when this returns, and stays for the next try otherwise.
        size: Bytes that it must have, if known.
        timeout_s: Longest silence of the server, seconds.
        name: What is fetched, for the progress.

    Raises:
        NotReached: If there is no network, or the server does not answer.
        Interrupted: If the transfer broke off several times.
        CheckpointError: If the server refuses, sends another size, or redirects to another scheme.
    """
    left = TRIES
    while True:
        before = _length(part)
        try:
            if _once(address, part, size, timeout_s, name):
                return
            problem = f"{address}: the connection ended after {_length(part)} bytes"
        except (http.client.HTTPException, ConnectionError, TimeoutError) as error:
            problem = f"{address}: {_words(error)}"
        came = _length(part)
        left = left if came - before >= _PROGRESS else left - 1
        if left == 0 or came == before == 0:
            break
        time.sleep(0.2)
    if _length(part):
        raise Interrupted(
            f"{problem}. What came so far is kept; the same command goes on from there."
        )
    raise NotReached(f"{problem}.")


def discard(part: Path) -> None:
    """Remove a growing file and what is noted next to it."""
    part.unlink(missing_ok=True)
    _marker(part).unlink(missing_ok=True)


def _once(address: str, part: Path, size: int | None, timeout_s: float, name: str) -> bool:
    """One request; True once the file is whole."""
    begin = _length(part)
    if size is not None and begin > size:
        part.unlink()
        begin = 0
    if size is not None and begin == size:
        return True
    marker = _marker(part)
    version = _version(marker)
    if begin and not version:  # nobody knows which version of the file it is a part of
        part.unlink()
        begin = 0
    headers = {"User-Agent": "mindspore-ssd", "Accept-Encoding": "identity"}
    if begin:
        headers |= {"Range": f"bytes={begin}-", "If-Range": version}
    request = urllib.request.Request(address, headers=headers)
    opener = urllib.request.build_opener(_SameScheme())
    try:
        with opener.open(request, timeout=timeout_s) as answer:
            return _receive(answer, part, begin, size, name, marker)
    except urllib.error.HTTPError as error:
        if (
            error.code == 416 and begin
        ):  # nothing after what is there: it was whole, or is of another file
            part.unlink(missing_ok=True)
            return False
        if 300 <= error.code < 400:
            where = error.headers.get("Location") or "nowhere"
            raise CheckpointError(
                f"{address}: is redirected to {shown(where)[1:-1]}, which is another scheme or no "
                "end. Not followed."
            ) from None
        problem = f"the server says {error.code} {shown(str(error.reason))[1:-1]}"
        # Its own trouble, which may pass: what came so far stays.
        if error.code >= 500 or error.code in _LATER:
            raise http.client.HTTPException(problem) from None
        raise CheckpointError(f"{address}: {problem}. {_advice(error.code)}") from None
    except urllib.error.URLError as error:
        raise NotReached(f"{address}: {_words(error.reason)}{_by_proxy(address)}.") from None
    except ValueError as error:  # a redirect to what is no address
        raise CheckpointError(f"{address}: leads to no proper address ({error}).") from None


def _receive(
    answer: Any, part: Path, begin: int, size: int | None, name: str, marker: Path
) -> bool:
    resumed = answer.status == 206
    sent = str(answer.headers.get("Content-Range", ""))
    if resumed and not sent.startswith(f"bytes {begin}-"):
        raise CheckpointError(f"{answer.url}: the server sent another part than was asked for.")
    if not resumed:
        begin = 0
    length = answer.headers.get("Content-Length", "")
    whole = begin + int(length) if _is_count(length) else None
    if resumed and _is_count(total := sent.rpartition("/")[2]):
        whole = int(total)  # a server may give less at once than was asked for
    if whole is not None and (whole > LARGEST or (size is not None and whole != size)):
        expected = f"{size} are expected" if size is not None else f"at most {LARGEST} can be right"
        raise CheckpointError(
            f"{answer.url}: the file has {whole} bytes, {expected}: this is another file."
        )
    marker.unlink(missing_ok=True)
    version = answer.headers.get("ETag", "")
    if not version or version.startswith("W/"):
        version = answer.headers.get("Last-Modified", "")
    if version:
        marker.write_text(version, encoding="latin-1")  # as headers are
    limit = size if size is not None else LARGEST
    done = begin
    with (
        open(part, "ab" if resumed else "wb") as file,
        Progress(f"fetching {name}", whole, unit="B", done=begin) as progress,
    ):
        while piece := _piece(answer):
            done += len(piece)
            if done > limit:
                raise CheckpointError(f"{answer.url}: sends more than the {limit} bytes expected.")
            file.write(piece)
            progress.update(len(piece))
        file.flush()
        os.fsync(file.fileno())
    finished = whole is None or done == whole
    if finished:
        marker.unlink(missing_ok=True)
    return finished


def _piece(answer: Any) -> bytes:
    """The next bytes; whatever breaks on the way, also within TLS, counts as a broken connection,
    unlike a disk that is full.
    """
    try:
        return bytes(answer.read(_PIECE))
    except TimeoutError:
        raise
    except OSError as error:
        raise ConnectionError(str(error)) from error


def _is_count(text: str) -> bool:
    return text.isascii() and text.isdigit()


def _marker(part: Path) -> Path:
    """Where the version of a half-fetched file is noted, so that two versions are never joined."""
    return part.with_name(part.name + ".etag")


def _version(marker: Path) -> str:
    """What is noted there; empty if nothing is, or what no server ever said."""
    try:
        text = marker.read_text(encoding="latin-1")
    except FileNotFoundError:
        return ""
    return text if text.isprintable() else ""


def _length(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _advice(code: int) -> str:
    if code in (401, 403, 407):
        return "It asks for rights, or a proxy on the way does."
    return "The file may have moved: look at its source."


def _by_proxy(address: str) -> str:
    """Name the proxy, without a password in it, if there is one on the way."""
    parts = urlsplit(address)
    proxy = urllib.request.getproxies().get(parts.scheme, "")
    if not proxy or urllib.request.proxy_bypass(parts.hostname or ""):
        return ""
    return f", by the proxy {proxy.rpartition('@')[2].rpartition('//')[2]}"


def _words(error: Any) -> str:
    if isinstance(error, (TimeoutError, socket.timeout)):
        return "the server is silent"
    if isinstance(error, socket.gaierror):
        return "the name of the server cannot be resolved: there is no network, or it needs a proxy"
    if isinstance(error, http.client.IncompleteRead):
        return "the connection broke"
    text = first_line(error) if isinstance(error, BaseException) else str(error)
    return shown(text)[1:-1]  # it may be the server's, and terminals obey some
