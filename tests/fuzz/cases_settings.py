"""Cases of wrong settings: of the root commands, the launcher and the benchmarks.

Damaged files are in the other modules named `cases_*.py`.
"""

from __future__ import annotations

import random
from pathlib import Path

from tests.fuzz.cases_common import COMMANDS, Case, Maker, base_arguments
from tests.fuzz.fuzz_mutate import (
    VALUES,
)

_PLACES = (
    "out",
    "output",
    "check_out",
    "picture",
    "overwrite",
    "merge",
    "upgrade",
    "serve",
    "replay",
)
_JUNK_KEYS = (
    *("nope", "", "a.b", "model", "dataset.nope", "optim", "model.anchors", "1", "é", "hydra.nope"),
    *("hydra.run.dir", "hydra/launcher", "hydra.mode", "hydra.verbose", "defaults", "_self_"),
    *("+experiment", "experiment", "~model", "~model.name", "+model.x", "++model.name", "+@x"),
    *("dataset@x", "model@_global_", "dataset.splits.train", "dataset.splits.x.images", "~", "+"),
    *("dataset.merge", "optim.lr_factors", "optim.lr_factors.x", "policy.box_outside", "~data"),
)
_JUNK_WORDS = ("", "x", "=", "==", "-x", "--nope", "--cfg", "--cfg=nope", "--info", "--multirun",
               "--help", "--resolve", "--package", "--config-name", "--config-dir=/nope",
               "--config-path=/nope", "--shell-completion", "--version", "-c", "job", "é",
               "\x1b[1m", "+x", "~", "a=${", "@")  # fmt: skip


def settings_case(command: str) -> Maker:
    """Cases of wrong settings of a root command."""

    def make(rng: random.Random, sandbox: Path, seeds: Path) -> Case:
        from training.command_line.configure import load_object
        from training.command_line.setting_names import field_types, group_choices

        keys = sorted(field_types(load_object(COMMANDS[command])))
        groups = group_choices()
        arguments = base_arguments(rng, command, seeds)
        safe = True
        for _ in range(rng.choice((1, 1, 1, 2, 3))):
            kind = rng.random()
            if kind < 0.75:
                key, value = rng.choice(keys), rng.choice(VALUES)
                if rng.random() < 0.1:
                    key = rng.choice(("+", "++", "~")) + key
            elif kind < 0.85:
                key = rng.choice(sorted(groups))
                value = rng.choice((*groups[key], *VALUES))
                key = rng.choice(("", "", "+", "++", "~")) + key
            elif kind < 0.95:
                key, value = rng.choice(_JUNK_KEYS), rng.choice(VALUES)
            else:
                arguments.insert(rng.randrange(len(arguments) + 1), rng.choice(_JUNK_WORDS))
                continue
            if key.lstrip("+~") in _PLACES or key.lstrip("+~").startswith("hydra"):
                safe = False
            if key.lstrip("+~") == "serve" or (command == "train" and "max_steps" in key):
                continue  # a page serves for ever, and a run without an end trains for ever
            arguments.append(f"{key}={value}")
        out = "out" if safe else ""
        return Case(command, arguments, "settings", out)

    return make


def launch_case(rng: random.Random, sandbox: Path, seeds: Path) -> Case:
    """The launcher's command line, dry."""
    case = settings_case("train")(rng, sandbox, seeds)
    words = [rng.choice(("1", "2", "8", "0", "-1", "x", "", "1e9", str(10**20), "٣", "é"))]
    for _ in range(rng.choice((0, 0, 1, 2))):
        option = rng.choice(
            ("--nodes", "--node-rank", "--master", "--port", "--log-dir", "--rank-table", "--nope")
        )
        words.append(option)
        if rng.random() < 0.9:
            words.append(rng.choice((*VALUES, "1", "2", "8118")))
    words += ["--dry-run"]
    settings = [a for a in case.arguments if not a.startswith(("preview", "summary", "-"))]
    return Case("launch", [*words, *settings], "launcher", "")


def benchmark_case(rng: random.Random, sandbox: Path, seeds: Path) -> Case:
    """Command lines of the benchmarks that must be refused before anything is measured."""
    name = rng.choice(("convert", "pipeline", "step", "postprocess", "inference", "scaling"))
    words = rng.choice(
        (["--nope"], ["x"], ["--quick=1"], ["--batch", "x"], ["--images", "x"], ["--workers", "é"],
         ["--help"], ["--steps", "1e400"], ["--worker-kind", "x"], ["--classes", ""],
         ["--quick", "--nope"])
    )  # fmt: skip
    return Case(f"benchmarks.{name}:main", words, f"benchmark {name} {words}", "")
