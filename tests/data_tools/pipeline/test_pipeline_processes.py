"""Real processes that are interrupted, killed or starved of memory: a message, and nothing left
behind.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.small_sets import drawn_split

PROGRAM = Path(__file__).resolve().parents[2] / "helpers" / "pipeline_run.py"
pytestmark = [pytest.mark.slow, pytest.mark.several_processes]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("set")
    drawn_split(root, 24, shards=2)
    return root


def start(folder: Path, kind: str, *numbers: object, repository: Path, **options: Any) -> Any:
    environment = {**os.environ, "PYTHONPATH": str(repository)}
    command = [sys.executable, str(PROGRAM), str(folder), kind, *map(str, numbers)]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment,
        start_new_session=True, **options,
    )  # fmt: skip


def wait_for_step(process: Any, step: int) -> None:
    for line in process.stdout:
        if line.strip() == f"step {step}":
            return
    raise AssertionError(f"ended early: {process.stderr.read()}")


def children(pid: int) -> list[int]:
    """Process ids of all descendants."""
    found = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in task.read_text().split():
            found += [int(child), *children(int(child))]
    return found


def command_of(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ")
    except OSError:
        return ""


def gone(pids: list[int], seconds: float = 15.0) -> bool:
    """Whether all processes end within some seconds (zombies have ended)."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if not any(command_of(pid) for pid in pids):
            return True
        time.sleep(0.05)
    return False


def shared_memory_of(pids: list[int]) -> set[str]:
    """Files of /dev/shm that these processes have mapped or open; other programs' do not count."""
    found = set()
    for pid in pids:
        try:
            maps = Path(f"/proc/{pid}/maps").read_text()
            files = [os.readlink(file) for file in Path(f"/proc/{pid}/fd").iterdir()]  # noqa: PTH115
        except OSError:
            continue
        for name in [*(line.split(maxsplit=5)[-1] for line in maps.splitlines()), *files]:
            if name.startswith("/dev/shm/"):
                found.add(name.removesuffix(" (deleted)"))
    return found


@pytest.mark.parametrize("kind", ["threads", "processes"])
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_nothing_is_left_however_the_run_ends(
    folder: Path, kind: str, how: signal.Signals, repository: Path
) -> None:
    process = start(folder, kind, 2, 100_000, repository=repository)
    wait_for_step(process, 3)
    family = children(process.pid)
    assert len(family) >= (2 if kind == "processes" else 0)
    theirs = shared_memory_of([process.pid, *family])
    process.send_signal(how)
    process.communicate(timeout=30)
    assert process.returncode != 0
    assert gone(family), [command_of(pid) for pid in family]
    assert not [name for name in theirs if Path(name).exists()]


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSEGV])
def test_a_killed_worker_ends_the_run_with_a_message(
    folder: Path, how: signal.Signals, repository: Path
) -> None:
    process = start(folder, "processes", 2, 100_000, 0.01, repository=repository)
    wait_for_step(process, 3)
    family = children(process.pid)
    workers = [pid for pid in family if "spawn_main" in command_of(pid)]
    assert len(workers) == 2
    os.kill(workers[1], how)
    begin = time.monotonic()
    _, errors = process.communicate(timeout=30)
    assert time.monotonic() - begin < 15
    assert process.returncode == 1
    assert errors.startswith("error: ") and "Traceback" not in errors
    assert f"(pid {workers[1]}) was killed by {how.name}" in errors
    assert "pipeline.worker_kind=threads" in errors
    assert gone(family)


def test_a_damaged_row_in_a_worker_process_is_named(tmp_path: Path, repository: Path) -> None:
    split = drawn_split(tmp_path, 24, shards=2)
    path = split.shard_paths[1]
    path.write_bytes(path.read_bytes()[: (1 << 20) + 30_000])
    from data_tools.shards.manifest import Manifest, ShardInfo, read_manifest

    manifest = read_manifest(split.folder)
    shards = (
        manifest.shards[0],
        ShardInfo(**{**vars(manifest.shards[1]), "bytes": path.stat().st_size}),
    )
    Manifest(**{**vars(manifest), "shards": shards}).write(split.folder)
    process = start(tmp_path, "processes", 2, 100, repository=repository)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "train-00001.mindrecord: image" in errors and "ends within the row" in errors


def limited(size: int) -> Any:
    import resource

    return lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


def test_too_little_shared_memory_says_how_much_is_needed(folder: Path, repository: Path) -> None:
    # The limit on file sizes holds for anonymous files too: the memory cannot be had.
    process = start(
        folder, "processes", 2, 100, repository=repository,
        preexec_fn=lambda: (signal.signal(signal.SIGXFSZ, signal.SIG_IGN), limited(20_000)()),
    )  # fmt: skip
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "pipeline.worker_kind=processes needs" in errors and "MiB of shared memory" in errors


@pytest.mark.parametrize("kind", ["threads", "processes"])
def test_a_full_dev_shm_is_no_obstacle(folder: Path, kind: str, repository: Path) -> None:
    """In a mount namespace of its own, /dev/shm is a full tmpfs of one page."""
    script = (
        "mount -t tmpfs -o size=4096 none /dev/shm && head -c 4096 /dev/zero > /dev/shm/full; "
        f'exec "{sys.executable}" "{PROGRAM}" "{folder}" {kind} 2 6'
    )
    probe = subprocess.run(["unshare", "-m", "true"], capture_output=True, check=False)
    if probe.returncode:
        pytest.skip("no right to make a mount namespace")
    done = subprocess.run(
        ["unshare", "-m", "sh", "-c", script], capture_output=True, text=True, timeout=90,
        check=False,
        env={**os.environ, "PYTHONPATH": str(repository)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "step 5" in done.stdout


def resident_mib() -> float:
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


def test_memory_does_not_grow_over_fifty_epochs(folder: Path) -> None:
    from data_tools.shards.manifest import open_split
    from tests.helpers.small_pipelines import build

    pipeline = build(open_split(folder, "train"), workers=2, batch_size=4)
    steps = pipeline.steps_per_epoch
    for _ in pipeline.batches(0, 10 * steps):
        pass
    before, files = resident_mib(), len(list(Path("/proc/self/fd").iterdir()))
    for _ in pipeline.batches(10 * steps, 60 * steps):
        pass
    assert resident_mib() - before < 5
    assert len(list(Path("/proc/self/fd").iterdir())) <= files
    # Runs left early and pipelines thrown away leave nothing either.
    for start_step in range(20):
        next(pipeline.batches(start_step, start_step + 50))
    pipeline.close()
    assert resident_mib() - before < 8
