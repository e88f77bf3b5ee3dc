"""The house's one-way streets, read from the imports: root commands -> training -> data_tools."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent
MODULES = sorted(
    [*REPOSITORY.glob("data_tools/**/*.py"), *REPOSITORY.glob("training/**/*.py")],
)
# Modules that commands import before they know what to do: `--help` must be there at once.
LIGHT = ["data_tools/errors.py", "data_tools/fields.py", "training/command_line/help_text.py"]


def imported(path: Path, *, top_level_only: bool = False) -> Iterator[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    nodes = tree.body if top_level_only else list(ast.walk(tree))
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module


def module_name(path: Path) -> str:
    parts = path.relative_to(REPOSITORY).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@pytest.mark.parametrize("path", MODULES, ids=module_name)
def test_imports_run_one_way(path: Path) -> None:
    roots = {name.split(".")[0] for name in imported(path)}
    if module_name(path).startswith("data_tools"):
        assert "training" not in roots, "data_tools must not know training"
    if module_name(path) != "training.command_line.configure":
        assert not roots & {"hydra", "omegaconf"}, (
            "only training/command_line/configure.py knows Hydra"
        )
    assert not roots & {"convert", "train", "eval", "predict", "export", "tests", "benchmarks"}


def test_no_circular_imports() -> None:
    graph = {module_name(path): set(imported(path, top_level_only=True)) for path in MODULES}

    def reachable(name: str, seen: set[str]) -> set[str]:
        for target in graph.get(name, set()) - seen:
            seen.add(target)
            reachable(target, seen)
        return seen

    circular = [name for name in graph if name in reachable(name, set())]
    assert not circular


# The floors of `training`, lowest first: rooms, and on the second what they share. Modules that are named on none are
# the commands and the run, above them all.
FLOORS = (
    ("nets",),
    ("settings", "eval_settings", "runtime", "distributed", "signals", "disk"),
    ("boxes", "checkpoints", "command_line"),
    ("learning", "evaluation"),
    ("inference", "watching"),
    ("exporting",),
)


def floor_of(module: str) -> int:
    place = module.split(".")[1]
    return next((k for k, floor in enumerate(FLOORS) if place in floor), len(FLOORS))


@pytest.mark.parametrize("path", [*REPOSITORY.glob("training/*/**/*.py")], ids=module_name)
def test_rooms_stand_on_lower_floors(path: Path) -> None:
    room = module_name(path).split(".")[1]
    own = floor_of(module_name(path))
    assert own < len(FLOORS), f"training/{room}/ stands on no floor: give it one in FLOORS"
    targets = {name for name in imported(path) if name.startswith("training.")}
    wrong = {n for n in targets if floor_of(n) >= own and n.split(".")[1] != room}
    assert not wrong, "a room imports from lower floors only"


@pytest.mark.parametrize("name", FLOORS[1])
def test_what_rooms_share_knows_no_room_above(name: str) -> None:
    targets = {n for n in imported(REPOSITORY / f"training/{name}.py") if n.startswith("training.")}
    assert not {n for n in targets if floor_of(n) > 1}


@pytest.mark.parametrize("name", LIGHT)
def test_light_modules_import_no_framework(name: str) -> None:
    heavy = {"mindspore", "numpy", "cv2", "hydra", "omegaconf", "matplotlib"}
    assert not heavy & {n.split(".")[0] for n in imported(REPOSITORY / name)}


@pytest.mark.parametrize("path", MODULES, ids=module_name)
def test_modules_open_with_what_lives_there(path: Path) -> None:
    docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
    assert docstring, f"{path}: no module docstring"
    assert len(docstring.splitlines()) >= 2, f"{path}: say what lives here and what does not"


@pytest.mark.parametrize("path", MODULES, ids=module_name)
def test_modules_stay_small(path: Path) -> None:
    lines = len(path.read_text(encoding="utf-8").splitlines())
    assert lines <= 320, f"{path}: {lines} lines; split it"
