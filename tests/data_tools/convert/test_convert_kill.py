"""Real processes: killed at random moments, on full and read-only disks, two at once. Nothing is
lost.
"""

from __future__ import annotations

import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helpers.raw_sets import box_entry, image_entry, jpeg, tree_bytes, write_coco

pytestmark = [pytest.mark.slow, pytest.mark.several_processes]

COUNT, SHARDS = 160, 10


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("source")
    images = [image_entry(n, 480, 640) for n in range(1, COUNT + 1)]
    boxes = [box_entry(n, n, [10, 10, 50.5, 60]) for n in range(1, COUNT + 1)]
    write_coco(root, images, boxes)
    (root / "images" / "000033.jpg").write_bytes(b"not a picture")
    (root / "images" / "000099.jpg").write_bytes(jpeg(480, 640)[:5000])
    return root


def command(repository: Path, source: Path, out: Path, *more: str) -> list[str]:
    return [
        sys.executable,
        str(repository / "convert.py"),
        "dataset=coco",
        f"dataset.root={source}",
        "dataset.only=[train]",
        "dataset.splits.train.annotations=train.json",
        "dataset.splits.train.fraction=null",
        "image.quality=60",  # re-encoding takes time, so that a kill finds work under way
        f"shards={SHARDS}",
        f"out={out}",
        *more,
    ]


def children_of(pid: int) -> list[int]:
    try:
        text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    except OSError:
        return []
    direct = [int(word) for word in text.split()]
    return direct + [grandchild for child in direct for grandchild in children_of(child)]


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def wait_until_gone(pids: list[int]) -> None:
    end = time.monotonic() + 20
    while any(map(alive, pids)):
        assert time.monotonic() < end, f"workers outlive their parent: {pids}"
        time.sleep(0.05)


def finished_shards(folder: Path) -> list[Path]:
    return sorted((folder / "out.partial" / "state" / "train").glob("*.json"))


@pytest.mark.parametrize("workers", [1, 2])
def test_killed_at_random_moments(
    repository: Path, source: Path, tmp_path: Path, workers: int
) -> None:
    whole, out = tmp_path / "whole", tmp_path / "out"
    subprocess.run(command(repository, source, whole), check=True, capture_output=True)
    rng = random.Random(workers)
    in_the_middle = 0
    made: dict[str, int] = {}
    for attempt in range(6):
        process = subprocess.Popen(
            command(repository, source, out, f"workers={workers}"),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        # The first is killed once a shard is finished, the others while they read, write or finish.
        wanted = len(made) + (1 if attempt == 0 else rng.randrange(2))
        while process.poll() is None and len(finished_shards(tmp_path)) < wanted:
            time.sleep(0.002)
        time.sleep(rng.uniform(0, 0.03 if attempt == 0 else 0.6))
        workers_of_it = children_of(process.pid)
        process.send_signal(signal.SIGKILL)
        process.wait()
        wait_until_gone(workers_of_it)
        if process.returncode == 0:
            break
        assert process.returncode == -signal.SIGKILL
        states = finished_shards(tmp_path)
        assert not out.exists() or len(states) in (0, SHARDS), "published before it was whole"
        in_the_middle += 0 < len(states) < SHARDS
        for state in states:  # a finished shard is never made again
            assert made.setdefault(state.name, state.stat().st_mtime_ns) == state.stat().st_mtime_ns
        if out.exists():
            break
    subprocess.run(command(repository, source, out), check=True, capture_output=True)
    assert in_the_middle, "no kill found work under way"
    assert tree_bytes(out) == tree_bytes(whole)
    assert not (tmp_path / "out.partial").exists()


def test_a_killed_worker_is_an_error(repository: Path, source: Path, tmp_path: Path) -> None:
    process = subprocess.Popen(
        command(repository, source, tmp_path / "out", "workers=2"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    end = time.monotonic() + 60
    killed = False
    while not killed and time.monotonic() < end and process.poll() is None:
        if list((tmp_path / "out.partial").rglob("scratch/*")):
            for pid in children_of(process.pid):
                if "spawn_main" in Path(f"/proc/{pid}/cmdline").read_text():
                    subprocess.run(["kill", "-9", str(pid)], check=False)
                    killed = True
                    break
        time.sleep(0.02)
    _, errors = process.communicate(timeout=60)
    assert killed and process.returncode == 1, errors
    assert "a worker process died" in errors and "Traceback" not in errors
    subprocess.run(command(repository, source, tmp_path / "out"), check=True, capture_output=True)


def test_two_at_once(repository: Path, source: Path, tmp_path: Path) -> None:
    runs = [
        subprocess.Popen(
            command(repository, source, tmp_path / "out"),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    outputs = [run.communicate(timeout=120) for run in runs]
    codes = [run.returncode for run in runs]
    # Either they met, and one was told so, or the second came when the first was done.
    assert 0 in codes
    for code, (printed, errors) in zip(codes, outputs, strict=True):
        assert code == 0 or "another converter is at work" in errors, (printed, errors)
    assert (tmp_path / "out/train/manifest.json").is_file()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 300 kB, which the test fills."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = shutil.which("mount")
    if (
        mount is None
        or subprocess.run(
            [mount, "-t", "tmpfs", "-o", "size=300k", "tmpfs", str(folder)],
            capture_output=True,
            check=False,
        ).returncode
    ):
        pytest.skip("a tmpfs can only be mounted by root")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.parametrize("inside", [False, True])
def test_a_full_disk(repository: Path, source: Path, small_disk: Path, inside: bool) -> None:
    """Also with the mount point itself as `out`, which no rename can replace."""
    out = small_disk if inside else small_disk / "out"
    done = subprocess.run(
        command(repository, source, out), capture_output=True, text=True, check=False
    )
    assert done.returncode == 1 and "error: " in done.stderr
    assert "No space left" in done.stderr and "run the same command again" in done.stderr
    assert "Traceback" not in done.stderr and not (out / "train").exists()
    subprocess.run(["mount", "-o", "remount,size=64m", str(small_disk)], check=True)
    subprocess.run(command(repository, source, out), check=True, capture_output=True)
    assert (out / "train/manifest.json").is_file()
    assert not list(small_disk.rglob("*partial"))


def test_a_read_only_disk(repository: Path, source: Path, small_disk: Path) -> None:
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    done = subprocess.run(
        command(repository, source, small_disk / "out"), capture_output=True, text=True, check=False
    )
    assert done.returncode == 1 and "Read-only file system" in done.stderr
    assert "Traceback" not in done.stderr


def test_multirun_over_parts(repository: Path, source: Path, tmp_path: Path) -> None:
    whole, out = tmp_path / "whole", tmp_path / "out"
    subprocess.run(command(repository, source, whole), check=True, capture_output=True)
    parts = command(repository, source, out, "parts=3", "part=1,2,3")
    subprocess.run([*parts, "--multirun"], check=True, capture_output=True, cwd=tmp_path)
    merge = [sys.executable, str(repository / "convert.py"), f"merge={out}"]
    subprocess.run(merge, check=True, capture_output=True)
    assert tree_bytes(out) == tree_bytes(whole)
