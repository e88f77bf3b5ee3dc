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
LIGHT = ["data_tools/errors.py", "data_tools/fields.py", "training/help_text.py"]


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
    if module_name(path) != "training.configure":
        assert not roots & {"hydra", "omegaconf"}, "only training/configure.py knows Hydra"
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
