"""The local page of `predict.py serve=true`: takes a picture, answers with detections, keeps nothing.

The page itself is in `serve_page.py`. Nothing that is sent is ever written to disk.
"""

from __future__ import annotations

import ipaddress
import json
import signal
import sys
import threading
import time
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from data_tools.core.errors import DataError, SettingError
from data_tools.images.decode import PictureError, picture_size
from training.inference.detector import Choice, Detector
from training.inference.image_source import read_image
from training.inference.serve_page import PAGE

MAX_PIXELS = 60_000_000
"""Pictures that decode to more are refused before they are decoded: a small file can hold a huge one."""

_FLOOR = 0.02  # the page's slider goes down to this; below are only guesses
_READ_SECONDS = 30
_LENGTH_DIGITS = 15

_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src blob: data:; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


def serve(detector: Detector, choice: Choice, host: str, port: int, max_upload_mb: float) -> int:
    """Serve the page until Ctrl-C.

    Args:
        detector: What finds the objects.
        choice: Starting threshold, most detections, NMS overlap and classes.
        host: Address to bind.
        port: Port; 0 takes any free one.
        max_upload_mb: Largest picture taken.

    Returns:
        0.

    Raises:
        SettingError: If the address cannot be bound.
    """
    server = build_server(detector, choice, host, port, max_upload_mb)
    # Compiled calls put a handler of MindSpore's on SIGINT, which makes a SIGTERM of Ctrl-C.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    where = f"http://{_in_url(host)}:{server.server_port}/"
    print(f"open {where} (Ctrl-C ends)", flush=True)
    if not is_loopback(host):
        print(f"host={host}: every machine that reaches this address can use the page", flush=True)
    with server:
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            print("\nended")
    return 0


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Stay silent about browsers that left before their answer; print what else went wrong."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


def build_server(
    detector: Detector, choice: Choice, host: str, port: int, max_upload_mb: float
) -> ThreadingHTTPServer:
    """Bind the page's server; `serve_forever` runs it. See `serve` for the arguments."""
    limit = int(max_upload_mb * 1e6)
    one_at_a_time = threading.Lock()

    class Handler(_Handler):
        def answer(self, data: bytes) -> dict[str, Any]:
            with one_at_a_time:
                return detections(detector, choice, data)

    Handler.page = _page(detector, choice, limit).encode()
    Handler.limit = limit
    Handler.only_local = is_loopback(host)
    try:
        return _Server((host, port), Handler)
    except OSError as error:
        raise SettingError(
            f"host={host} port={port}: cannot be bound ({error.strerror or error}). Choose another "
            "port, or port=0 for any free one."
        ) from error


def detections(detector: Detector, choice: Choice, data: bytes) -> dict[str, Any]:
    """Return what the page shows for a picture: its size and its detections down to a low score.

    Raises:
        DataError: If the bytes are no picture, or it is too large.
    """
    try:
        height, width = picture_size(data)
    except PictureError as error:
        raise DataError(f"the picture: {error}") from error
    if height * width > MAX_PIXELS:
        raise DataError(
            f"the picture has {height * width / 1e6:.0f} megapixels; at most {MAX_PIXELS / 1e6:.0f}"
        )
    image = read_image(data)
    begun = time.perf_counter()
    low = Choice(min(_FLOOR, choice.threshold), choice.top_k, choice.nms_iou, choice.labels)
    found = detector.predict_batch([image], low)[0]
    return {
        "height": found.height,
        "width": found.width,
        "seconds": round(time.perf_counter() - begun, 4),
        "detections": [
            {
                "name": found.names[k],
                "label": int(found.labels[k]),
                "score": round(float(found.scores[k]), 4),
                "box": [round(float(v), 2) for v in found.boxes_yxyx_px[k]],
            }
            for k in range(len(found))
        ],
    }


def _page(detector: Detector, choice: Choice, limit: int) -> str:
    settings = {
        "threshold": choice.threshold,
        "floor": min(_FLOOR, choice.threshold),
        "limit": limit,
        "classes": [c.name for c in detector.classes],
        "auto": list(choice.by_label),
    }
    # Inside a script element only "</" and "<!--" could end the text early.
    return PAGE.replace("/*SETTINGS*/null", json.dumps(settings).replace("<", "\\u003c"))


class _Handler(BaseHTTPRequestHandler):
    page = b""
    limit = 0
    only_local = True
    timeout = _READ_SECONDS
    protocol_version = "HTTP/1.1"
    server_version = "mindspore-ssd"
    sys_version = ""

    def answer(self, data: bytes) -> dict[str, Any]:
        raise NotImplementedError

    def do_GET(self) -> None:
        """Send the page."""
        if not self._trusted():
            return
        if self.path == "/":
            self._send(HTTPStatus.OK, "text/html; charset=utf-8", self.page)
        elif self.path == "/favicon.ico":
            self._send(HTTPStatus.NO_CONTENT, "image/x-icon", b"")
        else:
            self._refuse(HTTPStatus.NOT_FOUND, "there is only one page here: /")

    def do_POST(self) -> None:
        """Take a picture, send its detections."""
        if not self._trusted():
            return
        if self.path != "/detect":
            self._refuse(HTTPStatus.NOT_FOUND, "pictures go to /detect")
            return
        length = self.headers.get("Content-Length", "")
        if not length.isascii() or not length.isdigit():
            self._refuse(HTTPStatus.LENGTH_REQUIRED, "the picture's size must come first")
            return
        # Python refuses to read numbers of thousands of digits.
        size = int(length) if len(length) <= _LENGTH_DIGITS else 10**_LENGTH_DIGITS
        if size > self.limit:
            self._refuse(
                HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
                f"the picture has {size / 1e6:.1f} MB; at most {self.limit / 1e6:g} MB",
            )
            return
        data = self.rfile.read(size)
        if len(data) < size:
            self._refuse(HTTPStatus.BAD_REQUEST, "the picture was cut short")
            return
        try:
            result = self.answer(data)
        except DataError as error:
            self._refuse(HTTPStatus.UNPROCESSABLE_ENTITY, str(error))
            return
        self._send(HTTPStatus.OK, "application/json", json.dumps(result).encode())

    def _trusted(self) -> bool:
        """Refuse other sites' pages: they could reach this port through the user's own browser."""
        host = self.headers.get("Host", "")
        if self.only_local and not is_loopback(_without_port(host)):
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


def _in_url(host: str) -> str:
    return f"[{host}]" if ":" in host else host
