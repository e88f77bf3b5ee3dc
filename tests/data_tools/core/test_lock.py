"""Results of two processes do not mix: one is alone in its folder."""

from __future__ import annotations

import errno
import fcntl
from pathlib import Path
from typing import Any

import pytest

from data_tools.core.errors import SettingError
from data_tools.core.lock import alone_in


def test_a_second_writer_of_results_is_refused_and_the_first_leaves_no_lock(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "results"
    with alone_in(folder, "output", "evaluation"):
        with (
            pytest.raises(SettingError, match=r"output=.*another evaluation .*process \d+"),
            alone_in(folder, "output", "evaluation"),
        ):
            raise AssertionError("two are in")
        (folder / "metrics.json").write_text("{}")
    assert [path.name for path in folder.iterdir()] == ["metrics.json"]
    with alone_in(folder, "output", "evaluation"):
        pass


def test_a_folder_in_which_nothing_was_written_goes_again(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no"), alone_in(tmp_path / "new", "out", "prediction"):
        raise ValueError("no")
    mine = tmp_path / "mine"
    mine.mkdir()
    with alone_in(mine, "out", "prediction"):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


@pytest.mark.parametrize(
    ("number", "refused"), [(errno.ENOLCK, False), (errno.EOPNOTSUPP, False), (errno.EIO, True)]
)
def test_a_file_system_without_locks_is_no_hindrance(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, refused: bool
) -> None:
    def refuse(*_: Any) -> None:
        raise OSError(number, "no")

    monkeypatch.setattr(fcntl, "flock", refuse)
    if refused:
        with pytest.raises(SettingError, match="cannot be written to"):
            alone_in(tmp_path, "out", "prediction").__enter__()
    else:
        with alone_in(tmp_path, "out", "prediction"):
            pass
