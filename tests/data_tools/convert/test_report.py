"""What a conversion prints of pictures that it did not read: each ending by name."""

from __future__ import annotations

from pathlib import Path

import pytest

from data_tools.convert.report import print_summary


def test_endings_that_are_not_read_are_named(capsys: pytest.CaptureFixture[str]) -> None:
    details = [f".{k:03d} is not read: 2 files, \x1b{k} the first" for k in range(30)]
    report = {
        "split": "train",
        "written": {"images": 1, "boxes": 1},
        "found": {"images": 1, "boxes": 1},
        "left_out": {"images_without_boxes": 0, "boxes_of_other_classes": 0},
        "defects": {"unread_files": {"skip": 30}},
        "meanings": {"unread_files": "pictures of a kind that nothing here reads"},
        "files": {".": [{"kind": "unread_files", "detail": detail} for detail in details]},
        "images_changed": {},
    }
    print_summary(Path("out"), [report])
    printed = capsys.readouterr().out
    assert "    .000 is not read: 2 files" in printed and "\x1b" not in printed
    assert printed.count("is not read") == 20
