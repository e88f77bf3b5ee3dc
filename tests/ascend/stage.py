"""Dry runs: one process each, with its exit code, its text, and the graphs it compiled."""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.ascend.graphs import PASSES, Graphs, read_graphs
from tests.ascend.stand_ins.build import environment
from tests.helpers.warm import run_warm

REPOSITORY = Path(__file__).resolve().parents[2]
LIMIT_SECONDS = 600


@dataclass
class Dry:
    """What one process did in the dry run.

    Attributes:
        code: Its exit code.
        text: What it said.
        graphs: What was compiled; None if nothing.
    """

    code: int
    text: str
    graphs: Graphs | None

    def report(self) -> dict[str, Any]:
        """The line of JSON that `dry_step` prints."""
        found: dict[str, Any] = json.loads(
            next(line for line in self.text.splitlines() if line.startswith('{"model"'))
        )
        return found


@dataclass
class Stage:
    """Where dry runs happen: the stand-ins, and a folder."""

    stand_ins: Path
    folder: Path

    def run(self, *words: str, cores: int = 24, **variables: str) -> Dry:
        """Run this Python with some words in the dry run; read what it compiled."""
        graphs = self.folder / f"graphs-{len(list(self.folder.iterdir()))}"
        env = {
            **os.environ,
            **environment(self.stand_ins, cores),
            "GLOG_v": "3",
            "MS_DEV_SAVE_GRAPHS": "1",
            "MS_DEV_SAVE_GRAPHS_PATH": str(graphs),
            "MS_DEV_DUMP_IR_PASSES": PASSES,
            "MS_OM_PATH": str(self.folder / "debris"),
            **variables,
        }
        done = run_warm(
            *words, cwd=REPOSITORY, env=env, stderr=subprocess.STDOUT, timeout=LIMIT_SECONDS
        )
        try:
            found = read_graphs(graphs)
        except FileNotFoundError:
            found = None
        return Dry(done.returncode, done.stdout, found)

    def step(self, *overrides: str, **variables: Any) -> Dry:
        """Compile one training step; fail where a card should not be given it."""
        dry = self.run("-m", "tests.ascend.dry_step", *overrides, **variables)
        assert dry.code == 0, dry.text[-3000:]
        check(dry)
        return dry


def check(dry: Dry) -> None:
    """Fail if a graph has anything that a card should not be given."""
    assert dry.graphs is not None, dry.text[-3000:]
    assert dry.graphs.problems() == []
