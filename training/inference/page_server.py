"""The HTTP server behind the local page: one page, pictures in, JSON out, with a limit on
everything.

What an answer is decided by is `serve.py`'s matter; the page is `serve_page.py`.
"""

from __future__ import annotations

import contextlib
import ctypes
import ipaddress
import json
import socket
import sys
import threading
import time
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from data_tools.core.errors import DataError

MOST_CONNECTIONS = 512
"""Connections at a time; one more is answered with 503."""

HEADER_SECONDS = 30.0
"""A request's first line and headers must be here by then, however they trickle; an idle connection
ends then."""

BODY_SECONDS = 120.0
"""A whole picture must be here by then, waiting for a free slot included."""

PENDING_BYTES = 64_000_000
"""Bytes of pictures that wait for their detection at a time; further ones wait in the network. One
always fits."""

DISCARDED_BYTES = 1_000_000_000
"""So much of a refused body is read and thrown away: a client that sends before it listens sees the
answer."""

_PIECE = 1 << 16
_LENGTH_DIGITS = 15
_M_MMAP_THRESHOLD = -3  # of malloc.h

_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src blob: "
        "data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}

Answer = Callable[[bytes], dict[str, Any]]


class PageServer(ThreadingHTTPServer):
    """Serves one page, and answers the pictures that are sent to `/detect`.

    Args:
        address: Host and port to bind; port 0 takes any free one.
        page: The page, UTF-8.
        answer: From the bytes of a picture to what the page shows.
        limit: Largest picture taken, in bytes.

    Raises:
        OSError: If the address cannot be bound.
    """

    daemon_threads = True
    request_queue_size = 256

    def __init__(self, address: tuple[str, int], page: bytes, answer: Answer, limit: int) -> None:
        self.page, self.answer, self.limit = page, answer, limit
        self.only_local = is_loopback(address[0])
        self.pending = PendingBytes(max(limit, PENDING_BYTES))
        self._free = threading.BoundedSemaphore(MOST_CONNECTIONS)
        self._deadlines: dict[socket.socket, float] = {}
        self._lock = threading.Lock()
        self._closed = threading.Event()
        _return_large_memory()
        super().__init__(address, _Handler)
        threading.Thread(target=self._end_the_late, name="deadlines", daemon=True).start()

    def set_deadline(self, connection: socket.socket, seconds: float | None) -> None:
        """Let a connection be cut after a number of seconds; None lets it live."""
        with self._lock:
            if seconds is None:
                self._deadlines.pop(connection, None)
            else:
                self._deadlines[connection] = time.monotonic() + seconds

    def _end_the_late(self) -> None:
        while not self._closed.wait(0.25):
            now = time.monotonic()
            with self._lock:
                late = [c for c, deadline in self._deadlines.items() if deadline < now]
                for connection in late:
                    del self._deadlines[connection]
            for connection in late:
                _cut(connection)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Give a connection a thread, or refuse it where there are too many."""
        if self._free.acquire(blocking=False):
            super().process_request(request, client_address)
            return
        body = b'{"error": "too many connections; try again"}'
        head = (
            "HTTP/1.1 503 Service Unavailable\r\n"
            f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        )
        request.settimeout(1)
        try:
            request.sendall(head.encode() + body)
        except OSError:
            pass
        self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Serve a connection; what it took is free afterwards, whatever happened."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self.set_deadline(request, None)
            self._free.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Stay silent about browsers that left before their answer; print what else went wrong."""
        if not isinstance(sys.exc_info()[1], OSError):
            super().handle_error(request, client_address)

    def server_close(self) -> None:
        """Close the socket, and end the watch on the deadlines."""
        self._closed.set()
        super().server_close()


class PendingBytes:
    """How many bytes of pictures may be in memory at a time.

    Args:
        most: The limit.
    """

    def __init__(self, most: int) -> None:
        self._left = self.most = most
        self._changed = threading.Condition()

    def take(self, size: int, seconds: float) -> bool:
        """Wait for a free slot; returns whether there was any in time."""
        with self._changed:
            if not self._changed.wait_for(lambda: self._left >= size, seconds):
                return False
            self._left -= size
            return True

    def give_back(self, size: int) -> None:
        """Free the slot for others."""
        with self._changed:
            self._left += size
            self._changed.notify_all()


class _Handler(BaseHTTPRequestHandler):
    server: PageServer
    protocol_version = "HTTP/1.1"
    server_version = "mindspore-ssd"
    sys_version = ""

    def handle_one_request(self) -> None:
        """Read and answer a request, or cut the connection when it takes too long to come."""
        self._unread = 0
        self.server.set_deadline(self.connection, HEADER_SECONDS)
        super().handle_one_request()

    def do_GET(self) -> None:
        """Send the page."""
        if not self._trusted():
            return
        if self.path == "/":
            self._send(HTTPStatus.OK, "text/html; charset=utf-8", self.server.page)
        elif self.path == "/favicon.ico":
            self._send(HTTPStatus.NO_CONTENT, "image/x-icon", b"")
        else:
            self._refuse(HTTPStatus.NOT_FOUND, "there is only one page here: /")

    def do_POST(self) -> None:
        """Take a picture, send its detections."""
        self.server.set_deadline(self.connection, BODY_SECONDS)
        if self._refused_before_its_body():
            return
        size, begun = self._unread, time.monotonic()
        # Before it is read: what waits does so in the network, not in memory.
        if not self.server.pending.take(size, BODY_SECONDS / 2):
            self._refuse(HTTPStatus.SERVICE_UNAVAILABLE, "too many pictures wait; try again")
            return
        try:
            left = BODY_SECONDS - (time.monotonic() - begun)
            self.server.set_deadline(self.connection, left)
            data = self.rfile.read(size)
            self._unread = 0
            self.server.set_deadline(self.connection, None)
            if len(data) < size:
                self._refuse(HTTPStatus.BAD_REQUEST, "the picture was cut short")
                return
            try:
                result = self.server.answer(data)
            except DataError as error:
                self._refuse(HTTPStatus.UNPROCESSABLE_ENTITY, str(error))
                return
        finally:
            self.server.pending.give_back(size)
        self._send(HTTPStatus.OK, "application/json", json.dumps(result).encode())

    def handle_expect_100(self) -> bool:
        """Refuse before the body is sent where the client asks first."""
        return not self._refused_before_its_body() and super().handle_expect_100()

    def _refused_before_its_body(self) -> bool:
        length = self.headers.get("Content-Length", "")
        known = length.isascii() and length.isdigit()
        # Python refuses to read numbers of thousands of digits.
        size = int(length) if known and len(length) <= _LENGTH_DIGITS else 10**_LENGTH_DIGITS
        self._unread = size if known else 0
        if not self._trusted():
            return True
        if self.path != "/detect":
            self._refuse(HTTPStatus.NOT_FOUND, "pictures go to /detect")
        elif not known or "Transfer-Encoding" in self.headers:
            self._refuse(HTTPStatus.LENGTH_REQUIRED, "the picture's size must come first")
        elif size > self.server.limit:
            most = f"at most {self.server.limit / 1e6:g} MB"
            self._refuse(
                HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
                f"the picture has {size / 1e6:.1f} MB; {most}",
            )
        else:
            return False
        return True

    def _trusted(self) -> bool:
        """Refuse other sites' pages: they could reach this port through the user's own browser."""
        for name in ("Host", "Content-Length", "Origin"):
            if len(self.headers.get_all(name, [])) > 1:
                self._refuse(HTTPStatus.BAD_REQUEST, f"{name} stands twice")
                return False
        host = self.headers.get("Host", "")
        if self.server.only_local and not is_loopback(_without_port(host)):
            self._refuse(HTTPStatus.FORBIDDEN, f"host {host!r} is not this machine")
            return False
        origin = self.headers.get("Origin")
        if origin is not None and origin != f"http://{host}":
            self._refuse(HTTPStatus.FORBIDDEN, "another site's page may not use this one")
            return False
        return True

    def _refuse(self, status: HTTPStatus, reason: str) -> None:
        self.close_connection = True
        body = json.dumps({"error": reason}).encode()
        self._send(status, "application/json", body)
        # Closing now would reset the connection of a client that still sends, and lose it the
        # answer.
        left = min(self._unread, DISCARDED_BYTES)
        while left > 0 and (piece := self.rfile.read1(min(left, _PIECE))):
            left -= len(piece)

    def _send(self, status: HTTPStatus, kind: str, body: bytes) -> None:
        self.send_response(status)
        for name, value in _HEADERS.items():
            self.send_header(name, value)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)
        self.wfile.flush()

    def log_message(self, format: str, *args: Any) -> None:
        """Stay silent: what was looked at is nobody's business."""


def is_loopback(host: str) -> bool:
    """Whether an address or name can only be this machine."""
    name = host.strip("[]")
    if name == "localhost":
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def _without_port(host: str) -> str:
    if host.startswith("["):
        return host.partition("]")[0]
    return host.partition(":")[0]


def _cut(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)


def _return_large_memory() -> None:
    """Let glibc give every large block back once it is free, in place of keeping some for each
    thread.

    Measured with 200 uploads of 14 MB at a time: the peak rises by 90 MB in place of 590.
    """
    with contextlib.suppress(OSError, AttributeError):  # another C library
        ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, 1 << 20)
