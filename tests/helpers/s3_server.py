"""A real S3 server on this machine, moto's, and the packages of the extra `cloud`, each in a folder
of its own: moto does not install beside our pins.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

PACKAGES = ("fsspec", "obstore", "aiohttp")
"""Those of the extra `cloud`."""
KEYS = {"AWS_ACCESS_KEY_ID": "me", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_REGION": "us-east-1"}


def install(folder: Path, *packages: str) -> None:
    """Install packages into a folder, or skip the test: the index is not always there."""
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--target", str(folder)]
    # Of moto's modules, which are very many, the server of one service imports few.
    done = subprocess.run(
        [*command, "--no-compile", *packages], capture_output=True, text=True, timeout=600
    )
    if done.returncode:
        pytest.skip(f"{', '.join(packages)} cannot be installed: {done.stderr[-300:]}")


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@contextmanager
def s3_server(moto: Path) -> Iterator[str]:
    """Run moto's server from the folder that it was installed to; yields its address."""
    port = free_port()
    path = f"{moto}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"
    server = subprocess.Popen(
        [sys.executable, "-m", "moto.server", "-p", str(port)],
        env={**os.environ, "PYTHONPATH": path},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    address = f"http://127.0.0.1:{port}"
    try:
        for _ in range(600):
            try:
                urllib.request.urlopen(f"{address}/moto-api/", timeout=5).close()
                break
            except OSError:
                assert server.poll() is None, "moto's server ended"
                time.sleep(0.1)
        yield address
    finally:
        server.terminate()
        server.wait(30)


def put(address: str, bucket: str, folder: Path) -> None:
    """Make a bucket of a folder: every file below it becomes an object."""
    _request(f"{address}/{bucket}", b"")
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        key = urllib.request.quote(path.relative_to(folder).as_posix())  # type: ignore[attr-defined]
        _request(f"{address}/{bucket}/{key}", path.read_bytes())


def _request(url: str, data: bytes) -> None:
    # moto asks for a signature's form and checks none.
    sign = "AWS4-HMAC-SHA256 Credential=me/20240101/us-east-1/s3/aws4_request, "
    headers = {
        "Authorization": f"{sign}SignedHeaders=host, Signature=0",
        "Content-Type": "application/octet-stream",
    }
    urllib.request.urlopen(
        urllib.request.Request(url, data=data, method="PUT", headers=headers), timeout=30
    ).close()
