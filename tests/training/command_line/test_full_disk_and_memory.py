"""What the machine refuses: room on the disk, memory, and paths that MindSpore does not take."""

from __future__ import annotations

import errno
import os
import resource
from pathlib import Path
from typing import Any

import pytest

from data_tools.core.files import replacing, write_atomic
from training.command_line.configure import run_command
from training.command_line.error_words import in_words_of_system, is_want_of_memory
from training.process.plain_paths import plain_folder, plain_path

FULL = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_full_disk_leaves_the_old_file_and_names_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "metrics.json"
    write_atomic(path, "old")

    def refuse(self: Path, *_: Any, **__: Any) -> int:
        self.write_bytes(b"hal")
        raise FULL

    with monkeypatch.context() as patch, pytest.raises(OSError, match="No space") as caught:
        patch.setattr(Path, "write_text", refuse)
        write_atomic(path, "new and longer")
    assert caught.value.filename == str(path)
    assert ": No space left on device. Look at" in in_words_of_system(caught.value)
    assert [p.name for p in tmp_path.iterdir()] == ["metrics.json"]
    assert path.read_text() == "old"
    with replacing(path, flush=False) as temporary:
        temporary.write_text("new")
    assert path.read_text() == "new" and len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize(
    ("error", "memory"),
    [
        (MemoryError(), True),
        (RuntimeError("std::bad_alloc"), True),
        (RuntimeError("can't start new thread"), True),
        (ImportError("libx.so: failed to map segment from shared object"), True),
        (RuntimeError("shapes differ"), False),
        (KeyError("x"), False),
    ],
)
def test_want_of_memory_is_known_by_its_names(error: Exception, memory: bool) -> None:
    assert is_want_of_memory(error) is memory


def test_a_limit_of_the_shell_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda which: (3 << 30, 3 << 30))

    def run(settings: Any) -> int:
        raise RuntimeError("std::bad_alloc")

    monkeypatch.setattr("training.run.loop.run", run)
    monkeypatch.setattr("sys.argv", ["train.py", "model=ssd_tiny"])
    with pytest.raises(SystemExit) as caught:
        run_command("train", "training.settings:TrainSettings", "training.run.loop:run")
    assert caught.value.code == 1
    told = capsys.readouterr().err
    assert told.startswith("error: not enough memory (std::bad_alloc): this shell allows 3072 MB")


@pytest.mark.parametrize("name", ["My Models", "run(1)", "c++", "lr=0.1", "数据", "it's", "a,b"])
def test_graphs_go_by_plain_paths(tmp_path: Path, name: str) -> None:
    odd = tmp_path / name
    odd.mkdir()
    with plain_folder(odd) as folder:
        assert odd not in folder.parents and folder.is_dir()
        assert not set(str(folder)) & set(" ()+=',") and str(folder).isascii()
    assert not folder.exists() and list(odd.iterdir()) == []
    (odd / "m.mindir").write_text("graph")
    with plain_path(odd / "m.mindir") as path:
        assert path.read_text() == "graph" and str(path).isascii()
    assert (odd / "m.mindir").exists()
    with plain_folder(tmp_path) as folder:
        assert folder.parent == tmp_path.resolve()  # where it may be, a rename and no copy follows
