"""Pictures have boxes where they belong, and progress says where the work stands."""

from __future__ import annotations

import errno
import io
from pathlib import Path

import numpy as np
import pytest

from data_tools.core.errors import UserError
from data_tools.core.progress import Progress
from data_tools.images import draw


def test_boxes_are_drawn_on_a_copy() -> None:
    image = np.zeros((60, 80, 3), np.uint8)
    got = draw.draw_boxes(image, [[10, 20, 40, 60]], [1])
    assert not image.any()
    assert tuple(got[10, 40]) == draw.colour_of(1)
    assert tuple(got[25, 20]) == draw.colour_of(1)
    assert not got[20:30, 30:50].any()


@pytest.mark.parametrize("box", [[-5, -5, 5, 5], [0, 0, 59, 79], [50, 70, 70, 90], [3, 3, 3, 3]])
def test_boxes_at_the_border_do_not_break_captions(box: list[float]) -> None:
    image = np.zeros((60, 80, 3), np.uint8)
    got = draw.draw_boxes(image, [box], [2], ["größe 尺"], [0.5], dashed=[True])
    assert got.shape == image.shape


def test_no_boxes_leave_the_picture_alone() -> None:
    image = np.full((8, 8, 3), 7, np.uint8)
    np.testing.assert_array_equal(draw.draw_boxes(image, np.zeros((0, 4)), []), image)


def test_a_picture_that_cannot_be_written_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(UserError, match="cannot be written"):
        draw.save_png(tmp_path / "file" / "x.png", np.zeros((2, 2, 3), np.uint8))


def test_a_picture_is_there_whole_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Path.write_bytes

    def half(self: Path, content: bytes) -> int:
        real(self, content[: len(content) // 2])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", half)
    with pytest.raises(UserError, match=r"x\.png: the picture cannot be written \(No space"):
        draw.save_png(tmp_path / "x.png", np.zeros((2, 2, 3), np.uint8))
    assert list(tmp_path.iterdir()) == []


def test_progress_in_a_log_is_plain_lines() -> None:
    stream = io.StringIO()
    with Progress("converting", 10, done=4, every_s=0, stream=stream) as bar:
        bar.update(2, bad=1)
        bar.update(4)
    lines = stream.getvalue().splitlines()
    assert lines[0].startswith("converting: 6/10 img, ")
    assert "bad 1" in lines[0]
    assert " left" in lines[0]
    assert lines[-1].startswith("converting: 10/10 img")


def test_progress_can_be_silent() -> None:
    stream = io.StringIO()
    with Progress("x", None, enabled=False, every_s=0, stream=stream) as bar:
        bar.update()
    assert stream.getvalue() == ""
