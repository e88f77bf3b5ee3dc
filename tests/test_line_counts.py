"""Work that is not counted (`helpers/line_counts.py`) takes no line from those around it, and gives
them none.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

OURS = """\
import theirs

def add(number):
    try:
        found = theirs.work(number)
    except TypeError:
        found = 0
    found += 1
    return found

def twice():
    return add(1) + add("a")

def never():
    return 0

total = twice()
"""
THEIRS = """\
def work(number):
    return half(number) + half(number)

def half(number):
    return number / 2
"""
COUNT = """\
import json, sys, coverage
from tests.helpers import line_counts
sys.path.insert(0, sys.argv[1])
import theirs
line_counts.OF_OTHERS = (("theirs", "work"),) if sys.argv[2] == "apart" else ()
watch = coverage.Coverage(data_file=None, include=[f"{sys.argv[1]}/*"], config_file=False)
watch.start()
line_counts.count_ours_alone()
import ours
watch.stop()
found = watch.get_data()
print(json.dumps([sorted(found.lines(f"{sys.argv[1]}/{n}.py") or []) for n in ("ours", "theirs")]))
assert ours.total == 3.0
"""


def lines_of(folder: Path, repository: Path, how: str) -> tuple[list[int], list[int]]:
    env = {k: v for k, v in os.environ.items() if not k.startswith("COV")}
    done = subprocess.run(
        [sys.executable, "-c", COUNT, str(folder), how], env=env, cwd=repository,
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    ours, theirs = json.loads(done.stdout)
    return ours, theirs


def test_lines_around_it_are_counted_as_ever(tmp_path: Path, repository: Path) -> None:
    (tmp_path / "ours.py").write_text(OURS)
    (tmp_path / "theirs.py").write_text(THEIRS)
    ours, theirs = lines_of(tmp_path, repository, "together")
    assert theirs == [2, 5]
    assert 15 not in ours and {5, 6, 7, 8, 9, 12, 17} < set(ours)
    assert lines_of(tmp_path, repository, "apart") == (ours, [])
