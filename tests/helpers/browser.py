"""A headless Chromium for tests of pages, driven through chromedriver's HTTP protocol."""

from __future__ import annotations

import contextlib
import json
import shutil
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest


class Browser:
    """One session of the browser."""

    def __init__(self, driver_port: int, chromium: str) -> None:
        self._base = f"http://127.0.0.1:{driver_port}"
        options = {
            "binary": chromium,
            "args": ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"],
        }
        wanted = {"alwaysMatch": {"goog:chromeOptions": options}}
        self._base += f"/session/{self.call('POST', '/session', capabilities=wanted)['sessionId']}"

    def call(self, method: str, path: str, **body: Any) -> Any:
        data = json.dumps(body).encode() if method == "POST" else None
        request = urllib.request.Request(self._base + path, data, method=method)
        with urllib.request.urlopen(request, timeout=60) as reply:
            return json.load(reply)["value"]

    def run(self, script: str) -> Any:
        return self.call("POST", "/execute/sync", script=script, args=[])

    def upload(self, selector: str, path: Path) -> None:
        found = self.call("POST", "/element", using="css selector", value=selector)
        element = next(iter(found.values()))
        self.call("POST", f"/element/{element}/value", text=str(path))

    def wait_for(self, script: str) -> None:
        for _ in range(200):
            if self.run(script):
                return
            time.sleep(0.1)
        raise AssertionError(f"never came true: {script}")


@pytest.fixture()
def browser() -> Iterator[Browser]:
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if chromium is None or driver is None:
        pytest.skip("no headless browser here: apt-get install chromium chromium-driver")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        driver_port = free.getsockname()[1]
    process = subprocess.Popen([driver, f"--port={driver_port}"], stdout=subprocess.DEVNULL)
    try:
        for _ in range(100):
            with (
                contextlib.suppress(OSError),
                socket.create_connection(("127.0.0.1", driver_port), timeout=1),
            ):
                break
            time.sleep(0.1)
        session = Browser(driver_port, chromium)
        yield session
        session.call("DELETE", "")
    finally:
        process.terminate()
        process.wait(20)
