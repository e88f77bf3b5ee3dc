"""The audit reads every picture once, and finds what the converter finds."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from data_tools.command import run
from data_tools.core.sample import Sample
from tests.helpers.raw_sets import EXPECTED_REPORT, coco_settings, pathological, write_plain_coco


@pytest.fixture()
def reads(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often each picture was read."""
    count: Counter[str] = Counter()
    read = Sample.read_bytes

    def counted(sample: Sample) -> bytes:
        count[sample.file_name] += 1
        return read(sample)

    monkeypatch.setattr(Sample, "read_bytes", counted)
    return count


def test_every_picture_is_read_once(tmp_path: Path, reads: Counter[str]) -> None:
    write_plain_coco(tmp_path, 9)
    settings = coco_settings(tmp_path, check=True, check_out=str(tmp_path / "c"), check_report=0)
    assert run(settings) == 0
    assert len(reads) == 9 and set(reads.values()) == {1}


def test_defects_of_pictures_are_those_of_the_converter(tmp_path: Path) -> None:
    pathological(tmp_path)
    for value in ("skip", "fix", "keep"):
        policy = {"size_mismatch": value}
        check = coco_settings(tmp_path, check=True, check_out=str(tmp_path / "c"), check_report=0)
        for kind, action in policy.items():
            setattr(check.policy, kind, action)
        assert run(check) == 0
        split = json.loads((tmp_path / "c/audit.json").read_text())["splits"]["train"]
        assert split["defects"]["size_mismatch"] == {value: 1}
        assert split["defects"]["undecodable_image"] == EXPECTED_REPORT["undecodable_image"]
        assert split["usable"]["images"] == (4 if value == "skip" else 5)
