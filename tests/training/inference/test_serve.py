"""The local page: what it answers, what it refuses, and (slow) that a real browser shows the
boxes.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

import training.inference.page_server
import training.inference.serve
from data_tools.core.errors import SettingError
from tests.helpers.browser import Browser
from tests.helpers.eval_fixtures import CLASSES
from training.inference.detector import Choice, Detector
from training.inference.page_server import is_loopback
from training.inference.serve import build_server


def two_boxes(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Find a sure square in the upper left and a doubtful star in the lower right."""
    boxes = np.zeros((len(images), 2, 4), np.float32)
    boxes[:, 0], boxes[:, 1] = [0.1, 0.1, 0.5, 0.5], [0.6, 0.6, 0.9, 0.9]
    scores = np.zeros((len(images), 2, len(CLASSES) + 1), np.float32)
    scores[:, 0, 2], scores[:, 1, 4] = 0.95, 0.25
    return boxes, scores


def png(height: int = 80, width: int = 120) -> bytes:
    ok, data = cv2.imencode(".png", np.full((height, width, 3), 200, np.uint8))
    assert ok
    return data.tobytes()


@contextlib.contextmanager
def page(find: Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]) -> Iterator[int]:
    """The port of a page whose detector is the function given."""
    detector = Detector(find, (32, 32), CLASSES)
    server = build_server(detector, Choice(threshold=0.4), "127.0.0.1", 0, max_upload_mb=0.05)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server.server_port
    server.shutdown()
    server.server_close()
    thread.join(10)


@pytest.fixture()
def port() -> Iterator[int]:
    with page(two_boxes) as number:
        yield number


def ask(
    port: int, method: str, path: str, body: bytes | None = None, **headers: str
) -> tuple[int, dict[str, str], bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    with contextlib.closing(connection):
        connection.request(method, path, body, {k.replace("_", "-"): v for k, v in headers.items()})
        reply = connection.getresponse()
        return reply.status, dict(reply.getheaders()), reply.read()


def test_page_is_whole_and_takes_nothing_from_elsewhere(port: int) -> None:
    status, headers, body = ask(port, "GET", "/")
    text = body.decode()
    assert status == 200 and "Drop a picture" in text
    assert '"threshold": 0.4' in text and "6 classes" in text
    assert "http://" not in text and "https://" not in text
    assert headers["Content-Security-Policy"].startswith("default-src 'none'")


def test_detections_of_a_picture_reach_below_the_threshold(port: int) -> None:
    status, _, body = ask(port, "POST", "/detect", png())
    answer = json.loads(body)
    assert status == 200
    assert (answer["height"], answer["width"]) == (80, 120)
    assert [(d["name"], d["score"]) for d in answer["detections"]] == [
        ("square", 0.95),
        ("star", 0.25),
    ]
    assert answer["detections"][0]["box"] == pytest.approx([8, 12, 40, 60], abs=0.01)


def test_what_is_no_picture_is_refused_and_the_page_lives_on(port: int) -> None:
    for body in (b"", b"hello", png()[:60]):
        status, _, text = ask(port, "POST", "/detect", body)
        error = json.loads(text)["error"]
        # The page sets the file's name before it.
        assert status == 422 and error and not error.startswith("the picture:")
    assert ask(port, "POST", "/detect", png())[0] == 200


def test_too_large_an_upload_is_refused_unread(port: int) -> None:
    status, headers, body = ask(port, "POST", "/detect", b"x", Content_Length="999999999")
    assert status == 413 and headers["Connection"] == "close"
    assert "at most 0.05 MB" in json.loads(body)["error"]
    # More digits than Python reads as a number.
    assert ask(port, "POST", "/detect", b"x", Content_Length="9" * 5000)[0] == 413


def test_a_browser_that_leaves_early_is_no_news(capfd: pytest.CaptureFixture[str]) -> None:
    asked, left = threading.Event(), threading.Event()

    def slow(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        if not left.is_set():
            asked.set()
            assert left.wait(20)
        return two_boxes(images)

    with page(slow) as port:
        data = png()
        head = f"POST /detect HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {len(data)}\r\n\r\n"
        with socket.create_connection(("127.0.0.1", port), timeout=20) as browser:
            browser.sendall(head.encode() + data)
            assert asked.wait(20)
            # Closed without a farewell: what is sent to it from now on meets a reset.
            browser.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        left.set()
        assert ask(port, "POST", "/detect", png())[0] == 200
    assert "Traceback" not in capfd.readouterr().err


def test_a_small_file_with_a_huge_picture_is_refused(
    port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training.inference.serve, "MAX_PIXELS", 1000)
    status, _, body = ask(port, "POST", "/detect", png())
    assert status == 422 and "megapixels" in json.loads(body)["error"]


def test_a_client_that_sends_before_it_listens_reads_the_refusal(port: int) -> None:
    body = bytes(30_000_000)  # far above the limit and what a socket holds
    for path, status in (("/detect", 413), ("/other", 404)):
        found, _, text = ask(port, "POST", path, body)
        assert found == status and json.loads(text)["error"]


def first_answer(port: int, request: bytes) -> bytes:
    """What the server says to bytes that no client library would send."""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as stream:
        stream.sendall(request)
        return stream.recv(4096)


def test_who_asks_first_is_refused_before_sending(port: int) -> None:
    request = (
        b"POST /detect HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 900000\r\n"
        b"Expect: 100-continue\r\n\r\n"
    )
    assert b" 413 " in first_answer(port, request)


@pytest.mark.parametrize(
    "twice",
    ["Host: evil.example", "Host: 127.0.0.1", "Content-Length: 5", "Origin: http://evil.example"],
)
def test_a_header_that_stands_twice_is_refused(port: int, twice: str) -> None:
    own = f"Host: 127.0.0.1\r\nContent-Length: 5\r\nOrigin: http://127.0.0.1\r\n{twice}"
    request = f"POST /detect HTTP/1.1\r\n{own}\r\n\r\nhello".encode()
    assert b" 400 " in first_answer(port, request)


def test_a_body_without_a_size_is_refused(port: int) -> None:
    request = (
        b"POST /detect HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 5\r\n"
        b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
    )
    assert b" 411 " in first_answer(port, request)


@pytest.mark.parametrize(
    "start",
    [
        b"GET / HTT",
        b"POST /detect HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 5000\r\n\r\nab",
        b"",
    ],
)
def test_a_connection_that_drips_is_cut(
    port: int, start: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training.inference.page_server, "HEADER_SECONDS", 0.5)
    monkeypatch.setattr(training.inference.page_server, "BODY_SECONDS", 0.5)
    with socket.create_connection(("127.0.0.1", port), timeout=20) as stream:
        stream.sendall(start)
        stream.settimeout(0.1)
        dripped = 0
        # Every byte comes within any limit of a single read; the whole never does.
        while dripped < 200:
            try:
                stream.sendall(b"x")
                if stream.recv(4096) == b"":
                    break
            except TimeoutError:
                dripped += 1
            except ConnectionError:
                break
        assert dripped < 200
    assert ask(port, "GET", "/")[0] == 200


def test_two_hundred_uploads_at_a_time_are_all_answered(port: int) -> None:
    statuses: list[int] = []
    threads = [
        threading.Thread(target=lambda: statuses.append(ask(port, "POST", "/detect", png())[0]))
        for _ in range(200)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert statuses == [200] * 200


def test_pictures_that_wait_are_bounded(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    pending = training.inference.page_server.PendingBytes(100)
    assert pending.take(60, 0.01) and not pending.take(50, 0.01) and pending.take(40, 0.01)
    pending.give_back(60)
    assert pending.take(60, 0.01)


def test_more_connections_than_can_be_served_are_told_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(training.inference.page_server, "MOST_CONNECTIONS", 1)
    detector = Detector(two_boxes, (32, 32), CLASSES)
    server = build_server(detector, Choice(), "127.0.0.1", 0, max_upload_mb=0.05)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    with socket.create_connection(("127.0.0.1", server.server_port), timeout=20) as first:
        first.sendall(b"GET / HTTP/1.1\r\n")
        with socket.create_connection(("127.0.0.1", server.server_port), timeout=20) as second:
            assert b" 503 " in second.recv(4096)
    server.shutdown()
    server.server_close()
    thread.join(10)


def test_other_paths_methods_and_missing_length(port: int) -> None:
    assert ask(port, "GET", "/etc/passwd")[0] == 404
    assert ask(port, "POST", "/other", b"x")[0] == 404
    assert ask(port, "DELETE", "/")[0] == 501
    with socket.create_connection(("127.0.0.1", port), timeout=20) as stream:
        stream.sendall(b"POST /detect HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        assert b" 411 " in stream.recv(4096)


def test_other_sites_may_not_use_the_page(port: int) -> None:
    # A name that resolves to this machine, and a page from elsewhere, both through the user's
    # browser.
    assert ask(port, "GET", "/", Host="evil.example:80")[0] == 403
    assert ask(port, "POST", "/detect", png(), Origin="http://evil.example")[0] == 403
    own = f"http://127.0.0.1:{port}"
    assert ask(port, "POST", "/detect", png(), Origin=own)[0] == 200


def test_nothing_is_written(port: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = []
    real = open

    def watching(file: Any, mode: str = "r", *args: Any, **kwargs: Any) -> Any:
        if set(mode) & set("wax+"):
            opened.append(file)
        return real(file, mode, *args, **kwargs)

    monkeypatch.setattr("builtins.open", watching)
    monkeypatch.chdir(tmp_path)
    assert ask(port, "POST", "/detect", png())[0] == 200
    assert opened == [] and list(tmp_path.iterdir()) == []


def test_a_port_in_use_is_an_error(port: int) -> None:
    with pytest.raises(SettingError, match=rf"port={port}: cannot be bound"):
        build_server(Detector(two_boxes, (32, 32), CLASSES), Choice(), "127.0.0.1", port, 1)


def test_loopback() -> None:
    assert all(map(is_loopback, ("127.0.0.1", "127.1.2.3", "localhost", "::1", "[::1]")))
    assert not any(map(is_loopback, ("0.0.0.0", "192.168.1.2", "example.org", "", "::")))


ROWS = (
    "return [...document.querySelectorAll('#list tr')].map("
    "r => [...r.children].map(c => c.textContent).join(' '))"
)
"""Script that returns the lines of the page's table."""


@pytest.mark.slow
def test_a_real_browser_shows_the_boxes(port: int, browser: Browser, tmp_path: Path) -> None:
    (tmp_path / "p.png").write_bytes(png())
    (tmp_path / "bad.png").write_bytes(b"not a picture")
    browser.call("POST", "/url", url=f"http://127.0.0.1:{port}/")
    browser.upload("#file", tmp_path / "p.png")
    browser.wait_for("return document.getElementById('canvas').dataset.boxes === '1'")
    assert browser.run(ROWS) == ["1 square 0.95 12.0 8.0 48.0 32.0"]
    inside_line = (
        "return [...document.getElementById('canvas').getContext('2d')"
        ".getImageData(70, 146, 1, 1).data]"
    )
    red, green, blue, _ = browser.run(inside_line)
    assert (red, green, blue) != (200, 200, 200)  # the frame of the square
    move = (
        "const s = document.getElementById('threshold'); s.value = '{}'; "
        "s.dispatchEvent(new Event('input'));"
    )
    browser.run(move.format("0.1"))
    assert browser.run("return document.getElementById('canvas').dataset.boxes") == "2"
    browser.run(move.format("0.99"))
    assert browser.run("return document.getElementById('canvas').dataset.boxes") == "0"
    status = "return document.getElementById('status').textContent"
    assert "0 of 2 boxes: the best score is 0.95" in browser.run(status)
    label = "return document.getElementById('canvas').getAttribute('aria-label')"
    assert browser.run(label) == "p.png: 0 of 2 boxes: the best score is 0.95"
    browser.upload("#file", tmp_path / "bad.png")
    browser.wait_for("return document.getElementById('status').className === 'bad'")
    assert "no picture" in browser.run(status)
    # Nothing of the picture before is left: a refusal must not look like an answer.
    assert browser.run("return document.getElementById('view').checkVisibility()") is False
    assert browser.run("return document.getElementById('canvas').width") == 0
    assert browser.run(ROWS) == []


@pytest.mark.slow
def test_several_pictures_a_choice_of_classes_and_what_is_saved(
    port: int, browser: Browser, tmp_path: Path
) -> None:
    names = ["a.png", "b.png", "bad.png"]
    for name in names:
        (tmp_path / name).write_bytes(png() if name != "bad.png" else b"not a picture")
    (tmp_path / "large.png").write_bytes(bytes(60_000))
    browser.call("POST", "/url", url=f"http://127.0.0.1:{port}/")
    text = browser.run("return document.body.innerText")
    assert "6 classes" in text and "32 x 32" in text and "up to 0.05 MB and 60 megapixels" in text
    for name in [*names, "large.png"]:
        browser.upload("#file", tmp_path / name)
    files = "return [...document.querySelectorAll('#files button')].map(b => b.textContent)"
    browser.wait_for("return document.querySelectorAll('#files .bad').length === 2")
    assert browser.run(files) == [
        "a.png: 1 boxes",
        "b.png: 1 boxes",
        "bad.png: refused",
        "large.png: refused",
    ]
    assert "0.1 MB; this page takes up to 0.05 MB" in browser.run(
        "return document.getElementById('status').textContent"
    )
    browser.run("document.querySelector('#files button').click()")
    browser.wait_for("return document.getElementById('canvas').dataset.boxes === '1'")
    browser.run(
        "window.kept = []; save = (blob, name) => blob.text().then(t => kept.push([name, t]))"
    )
    browser.run(
        "document.getElementById('save-all').click(); "
        "document.getElementById('save-picture').click()"
    )
    browser.wait_for("return kept.length === 2")
    kept = dict(browser.run("return kept"))
    assert "PNG" in kept["a-boxes.png"][:8]
    saved = json.loads(kept["boxes.json"])
    assert [s["file_name"] for s in saved] == ["a.png", "b.png"]
    number = next(c.category_id for c in CLASSES if c.name == "square")
    found = {"class": "square", "category_id": number, "score": 0.95, "bbox": [12, 8, 48, 32]}
    assert saved[0]["detections"] == [found]
    browser.run("document.querySelector('#classes input').click()")
    assert browser.run(ROWS) == []
    assert "1 hidden by the choice of classes" in browser.run(
        "return document.getElementById('status').textContent"
    )
    browser.run("document.getElementById('all').click()")
    assert len(browser.run(ROWS)) == 1
    heads = "return [...document.querySelectorAll('th[scope=col]')].map(h => h.textContent)"
    assert browser.run(heads) == ["No.", "Class", "Score", "x", "y", "Width", "Height"]
    browser.call("POST", "/chromium/send_command", cmd="Emulation.setDeviceMetricsOverride",
                 params={"width": 360, "height": 700, "deviceScaleFactor": 2,
                         "mobile": True})  # fmt: skip
    browser.wait_for("return innerWidth === 360")
    assert browser.run("return document.documentElement.scrollWidth") <= 360


@pytest.mark.slow
def test_captions_on_the_page_hide_no_box_and_no_other_caption(port: int, browser: Browser) -> None:
    browser.call("POST", "/url", url=f"http://127.0.0.1:{port}/")
    # The free places around a box, one after the other, until there is none.
    taken = "const taken = [[100, 100, 200, 200]]; const spots = [];"
    search = (
        "for (;;) { const s = place(60, 18, [100, 100, 200, 200], taken, [300, 300]);"
        " if (!s) return taken; taken.push([s[0], s[1], s[0] + 60, s[1] + 18]); }"
    )
    places = browser.run(taken + search)
    assert len(places) > 4
    for i, a in enumerate(places):
        assert a[0] >= 0 and a[2] <= 300 and a[1] >= 0 and a[3] <= 300
        for b in places[:i]:
            assert a[0] >= b[2] or b[0] >= a[2] or a[1] >= b[3] or b[1] >= a[3]


@pytest.mark.slow
def test_dropping_a_picture_on_the_page(port: int, browser: Browser) -> None:
    browser.call("POST", "/url", url=f"http://127.0.0.1:{port}/")
    values = ",".join(str(b) for b in png())
    browser.run(
        f"const file = new File([new Uint8Array([{values}])], 'p.png', {{type: 'image/png'}});"
        "const carried = new DataTransfer(); carried.items.add(file);"
        "document.body.dispatchEvent(new DragEvent('drop', {dataTransfer: carried, bubbles: "
        "true}));"
    )
    browser.wait_for("return document.getElementById('canvas').dataset.boxes === '1'")
    assert browser.run("return document.getElementById('canvas').width") == 700
    # And one pasted: it gets a line of its own.
    browser.run(
        f"const file = new File([new Uint8Array([{values}])], '', {{type: 'image/png'}});"
        "const carried = new DataTransfer(); carried.items.add(file);"
        "document.dispatchEvent(new ClipboardEvent('paste', {clipboardData: carried}));"
    )
    browser.wait_for("return document.querySelectorAll('#files button').length === 2")
    assert "pasted picture" in browser.run("return document.getElementById('files').innerText")
    browser.run(
        "const text = new DataTransfer(); text.setData('text/plain', 'http://x/y.png');"
        "document.dispatchEvent(new ClipboardEvent('paste', {clipboardData: text}));"
    )
    assert "no picture to paste" in browser.run(
        "return document.getElementById('status').textContent"
    )


@pytest.mark.slow
def test_the_page_uses_the_best_threshold_of_each_class(browser: Browser, tmp_path: Path) -> None:
    # The star scores 0.25, which is enough for its class; the square's 0.95 is not.
    by_label = tuple(0.2 if c.name == "star" else 0.97 for c in CLASSES)
    detector = Detector(two_boxes, (32, 32), CLASSES, 1, by_label)
    choice = detector.choice("auto", 100, 0.6, ())
    server = build_server(detector, choice, "127.0.0.1", 0, max_upload_mb=1)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    (tmp_path / "p.png").write_bytes(png())
    browser.call("POST", "/url", url=f"http://127.0.0.1:{server.server_port}/")
    browser.upload("#file", tmp_path / "p.png")
    browser.wait_for("return document.getElementById('canvas').dataset.boxes === '1'")
    shown = ROWS.replace("[...r.children]", "[...r.children].slice(1, 3)")
    assert browser.run(shown) == ["star 0.25"]
    assert browser.run("return document.getElementById('shown').textContent") == "auto"
    browser.run("document.getElementById('auto').click()")  # now the slider counts: 0.2
    assert browser.run(shown) == ["square 0.95", "star 0.25"]
    server.shutdown()
    server.server_close()
    thread.join(10)
