"""Sets are read from a real S3 server and a web server on this machine: the same rows as from the
folder.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.helpers.document_commands import REPOSITORY
from tests.helpers.hostile_exporters import EXPORTS
from tests.helpers.raw_sets import tree_bytes
from tests.helpers.s3_server import KEYS, PACKAGES, free_port, install, put, s3_server

pytestmark = [pytest.mark.slow, pytest.mark.several_processes]

NAMES = ("coco", "yolo", "voc", "txt")


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("raw")
    for name in NAMES:
        EXPORTS[name].write(folder / name)
    with zipfile.ZipFile(folder / "set.zip", "w", zipfile.ZIP_DEFLATED) as file:
        for path in sorted(p for p in (folder / "coco").rglob("*") if p.is_file()):
            file.write(path, path.relative_to(folder / "coco").as_posix())
    return folder


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cloud")
    install(folder, *PACKAGES)
    return folder


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, raw: Path) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("moto")
    install(folder, "moto[server,s3]")
    with s3_server(folder) as address:
        put(address, "bucket", raw)
        yield address


def convert(cloud: Path | None, *words: str, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("AWS_", "OBS_"))}
    environment |= {"PYTHONPATH": str(cloud), **variables} if cloud else variables
    command = [sys.executable, "convert.py", "dataset=auto", "shards=2", "workers=2", *words]
    return subprocess.run(
        command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, timeout=300
    )


@pytest.mark.parametrize("name", [*NAMES, "set.zip"])
def test_the_same_set_as_from_the_folder(
    tmp_path: Path, raw: Path, cloud: Path, server: str, name: str
) -> None:
    roots = {"folder": str(raw / name), "s3": f"s3://bucket/{name}", "obs": f"obs://bucket/{name}"}
    made = {}
    for kind, root in roots.items():
        words = [f"dataset.root={root}", f"dataset.endpoint={server}", f"out={tmp_path / kind}"]
        done = convert(cloud, *words, **KEYS)
        assert done.returncode == 0, done.stderr
        made[kind] = tree_bytes(tmp_path / kind)
    assert made["folder"] == made["s3"] == made["obs"]


def test_no_thread_that_may_call_python_outlives_a_read(cloud: Path, server: str) -> None:
    # One that is not done when the process ends aborts it, now and then.
    code = (
        "import threading\n"
        "from data_tools.core import object_storage as storage\n"
        "assert storage.names('s3:/bucket/coco') and storage.size('s3:/bucket/set.zip')\n"
        "assert storage.read('s3:/bucket/set.zip', 0, 2) == b'PK'\n"
        "print([thread.name for thread in threading.enumerate()])\n"
    )
    environment = {**os.environ, **KEYS, "PYTHONPATH": str(cloud), "AWS_ENDPOINT_URL": server}
    command = [sys.executable, "-c", code]
    done = subprocess.run(
        command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, timeout=100
    )
    assert (done.returncode, done.stdout) == (0, "['MainThread']\n"), done.stderr


def test_a_web_server(tmp_path: Path, raw: Path, cloud: Path) -> None:
    handler = partial(SimpleHTTPRequestHandler, directory=str(raw))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as web:
        threading.Thread(target=web.serve_forever, daemon=True).start()
        made = []
        for root in (str(raw / "txt"), f"http://127.0.0.1:{web.server_port}/txt"):
            out = tmp_path / str(len(made))
            done = convert(cloud, f"dataset.root={root}", f"out={out}")
            assert done.returncode == 0, done.stderr
            made.append(tree_bytes(out))
        assert made[0] == made[1]
        # This server gives no parts of files, which an archive needs.
        address = f"http://127.0.0.1:{web.server_port}/set.zip"
        done = convert(cloud, f"dataset.root={address}", f"out={tmp_path / 'zip'}")
        assert done.returncode == 1 and "whole files only" in done.stderr
        web.shutdown()


class Refusing(SimpleHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_error(403)

    do_HEAD = do_GET


def test_what_goes_wrong_is_told(tmp_path: Path, raw: Path, cloud: Path, server: str) -> None:
    root, out = "dataset.root=s3://bucket/coco", f"out={tmp_path / 'out'}"
    nobody = {"AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "none")}
    with ThreadingHTTPServer(("127.0.0.1", 0), Refusing) as refusing:
        threading.Thread(target=refusing.serve_forever, daemon=True).start()
        closed = f"http://127.0.0.1:{free_port()}"
        refused = f"http://127.0.0.1:{refusing.server_port}"
        for words, variables, message in (
            ([root, f"dataset.endpoint={server}"], nobody, "no credentials"),
            ([root, f"dataset.endpoint={refused}"], KEYS, "access is refused"),
            ([root, f"dataset.endpoint={closed}"], KEYS, "after 4 tries"),
            (["dataset.root=s3://none/x", f"dataset.endpoint={server}"], KEYS, "no bucket of this"),
            (
                ["dataset.root=s3://bucket/x", f"dataset.endpoint={server}"],
                KEYS,
                "there is nothing",
            ),
        ):
            done = convert(cloud, *words, out, **variables)
            assert done.returncode == 1 and message in done.stderr, (message, done.stderr)
            assert "Traceback" not in done.stderr and not (tmp_path / "out").exists()
        refusing.shutdown()
