"""A web server on this machine that gives one file, or does what bad servers do.

What is asked of it is kept in `requests`; used by the tests of `training/weights/`.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class FileServer(ThreadingHTTPServer):
    """Answers every GET with `content`.

    Attributes:
        content: What it gives.
        mode: "" for a proper server, or what it does wrong.
        requests: Path and Range header of every request, in order.
        files: Last part of a path to what it gives for it instead.
        etag: Version of the content.
        cut: If not 0, the connection breaks after so many bytes of the file; with `heals` only
            once.
        at_most: If not 0, it gives no more bytes than these with one answer.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.content, self.mode, self.etag = b"", "", '"one"'
        self.files: dict[str, bytes] = {}
        self.requests: list[tuple[str, str | None]] = []
        self.cut, self.heals = 0, False
        self.at_most = 0

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    server: FileServer
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        server, asked = self.server, self.headers.get("Range")
        server.requests.append((self.path, asked))
        if server.mode.isdigit():
            self.send_error(int(server.mode))
            return
        if server.mode.startswith("redirect "):
            self.send_response(302)
            self.send_header("Location", server.mode.partition(" ")[2])
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        if server.mode == "silent":
            time.sleep(3)
            self.close_connection = True
            return
        if server.files:
            name = self.path.rpartition("/")[2]
            if name not in server.files:
                self.send_error(404)
                return
            server.content = server.files[name]
        begin = 0
        fresh = self.headers.get("If-Range", server.etag) == server.etag
        if asked and fresh and server.mode != "no ranges":
            begin = int(asked.removeprefix("bytes=").removesuffix("-"))
        body = server.content[begin : begin + server.at_most if server.at_most else None]
        partial = bool(begin or server.at_most)
        self.send_response(206 if partial else 200)
        if partial:
            last = begin + len(body) - 1
            self.send_header("Content-Range", f"bytes {begin}-{last}/{len(server.content)}")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("ETag", server.etag)
        self.end_headers()
        if server.cut and (begin < server.cut or not server.heals):
            self.wfile.write(body[: max(0, server.cut - begin)])
            self.close_connection = True
            return
        if server.mode == "slow":
            for at in range(0, len(body), 1 + len(body) // 8):
                self.wfile.write(body[at : at + 1 + len(body) // 8])
                self.wfile.flush()
                time.sleep(0.05)
            return
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


@contextmanager
def file_server() -> Iterator[FileServer]:
    """Run a server while the context lasts."""
    server = FileServer()
    thread = threading.Thread(
        target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True
    )
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
