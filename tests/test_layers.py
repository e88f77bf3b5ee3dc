"""The house's one-way streets, read from the imports: root commands -> training -> data_tools."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent
MODULES = sorted(
    [*REPOSITORY.glob("data_tools/**/*.py"), *REPOSITORY.glob("training/**/*.py")],
)
ROOTS = [REPOSITORY / f"{name}.py" for name in ("convert", "train", "eval", "predict", "export")]


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
    # Also imports inside functions: a circle that is only closed at run time is one.
    graph = {module_name(path): set(imported(path)) for path in MODULES}

    def reachable(name: str, seen: set[str]) -> set[str]:
        for target in graph.get(name, set()) - seen:
            seen.add(target)
            reachable(target, seen)
        return seen

    circular = [name for name in graph if name in reachable(name, set())]
    assert not circular


# The floors of each package, lowest first. A room imports from lower floors only.
FLOORS = {
    "data_tools": (
        ("core",),
        ("sources", "shards", "images", "pages"),
        ("convert", "augment"),
        ("audit", "converted", "pipeline"),
        ("command",),
    ),
    "training": (
        ("collective",),
        ("nets", "process"),
        ("ROOM/settings",),
        ("settings",),
        ("boxes", "checkpoints", "command_line"),
        ("weights",),
        ("learning", "evaluation"),
        ("inference", "watching"),
        ("exporting", "insight"),
        ("run",),
        ("launch", "commands"),
        ("report", "import_checkpoint"),
    ),
}


def floor_of(module: str) -> int:
    """Number of the floor that a module stands on; a package itself is below all."""
    package, _, rest = module.partition(".")
    if not rest:
        return -1
    room, _, module_of_room = rest.partition(".")
    floors = FLOORS[package]
    if package == "training" and module_of_room == "settings":
        # What a room can be told is known below it, where the settings of a whole run are composed.
        room = room if room in (*floors[0], *floors[1]) else "ROOM/settings"
    return next(k for k, floor in enumerate(floors) if room in floor)


@pytest.mark.parametrize("package", list(FLOORS))
def test_every_room_stands_on_one_floor(package: str) -> None:
    rooms = {p.stem for p in (REPOSITORY / package).iterdir() if p.suffix == ".py" or p.is_dir()}
    rooms -= {"__init__", "__pycache__", "py"}
    named = [room for floor in FLOORS[package] for room in floor if room != "ROOM/settings"]
    assert sorted(named) == sorted(rooms)


@pytest.mark.parametrize("path", MODULES, ids=module_name)
def test_rooms_stand_on_lower_floors(path: Path) -> None:
    name = module_name(path)
    if "." not in name:
        return
    package, room = name.split(".")[:2]
    targets = {n for n in imported(path) if n.startswith(f"{package}.")}
    # The settings of rooms are one floor, and one may take its defaults from another (no circles:
    # above).
    ours = name.endswith(".settings")
    wrong = {
        n
        for n in targets
        if floor_of(n) >= floor_of(name) + (ours and n.endswith(".settings"))
        and n.split(".")[1] != room
    }
    assert not wrong, "a room imports from lower floors only"


def drawn_floors(page: str, package: str) -> list[set[str]]:
    """The floors of a package as docs/architecture.md draws them, lowest first."""
    drawing = page.split(f"\n## `{package}`")[1].split("```")[1]
    rows = re.findall(r"^floor +(\d+)  +(.+?)(?:   |$)", drawing, re.MULTILINE)
    assert [int(number) for number, _ in rows] == list(range(len(rows), 0, -1))
    known = {room for floor in FLOORS[package] for room in floor}
    return [{word for word in rooms.split() if word in known} for _, rooms in reversed(rows)]


@pytest.mark.parametrize("package", list(FLOORS))
def test_the_page_draws_the_floors_as_they_are(package: str) -> None:
    page = (REPOSITORY / "docs/architecture.md").read_text(encoding="utf-8")
    assert drawn_floors(page, package) == [set(floor) for floor in FLOORS[package]]
    for floor in FLOORS[package]:
        for room in floor:
            if (REPOSITORY / package / room).is_dir():
                assert f"| `{package}/{room}/` |" in page, "the table leaves out a room"


# Packages that take long to import, which a function imports when it needs them; so also modules of
# ours that import one of them as they load.
LAZY = {"mindspore", "matplotlib", "onnx", "onnxruntime", "hydra", "omegaconf", "numba"}
# Others that a function may import, and why. docs/architecture.md states the rule.
ALSO_LAZY = {
    "indexed_gzip": "only for a .tar.gz, and nearly as long to import as NumPy",
    "aiohttp": "of the extra `cloud`",
    "fsspec": "of the extra `cloud`",
    "google": "protobuf, which only a .ckpt needs, comes with MindSpore",
    "obstore": "of the extra `cloud`",
    "pillow_heif": "an extra: pictures in HEIC are read where it is installed",
    "pycocotools": "a second opinion on AP, by crosscheck=true only; draws in matplotlib",
    "tensorboardX": "only with tensorboard=true, and as long to import as NumPy",
}
STATEMENTS = {path: ast.parse(path.read_text(encoding="utf-8")) for path in [*MODULES, *ROOTS]}
PATHS = {module_name(path): path for path in STATEMENTS}


def targets(statement: ast.Import | ast.ImportFrom) -> list[str]:
    """What an import statement imports; `from package import module` imports the module."""
    if isinstance(statement, ast.Import):
        return [alias.name for alias in statement.names]
    whole = [f"{statement.module}.{alias.name}" for alias in statement.names]
    return [name if name in PATHS else str(statement.module) for name in whole]


def statements(nodes: list[ast.stmt], *, functions: bool) -> Iterator[ast.Import | ast.ImportFrom]:
    """Imports that run as a module loads, or those that run in its functions."""
    for node in nodes:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            if functions:
                yield from (n for n in ast.walk(node) if isinstance(n, ast.Import | ast.ImportFrom))
        elif isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            continue
        elif isinstance(node, ast.Import | ast.ImportFrom):
            if not functions:
                yield node
        else:
            inner = [n for n in ast.iter_child_nodes(node) if isinstance(n, ast.stmt)]
            handlers = [n for n in ast.iter_child_nodes(node) if isinstance(n, ast.excepthandler)]
            bodies = [*inner, *(statement for handler in handlers for statement in handler.body)]
            yield from statements(bodies, functions=functions)


def loaded_with(names: list[str]) -> set[str]:
    """Everything that is loaded when the named modules are: modules of ours, and packages."""
    loaded: set[str] = set()
    while names:
        name = names.pop()
        if name in loaded:
            continue
        loaded.add(name)
        if name in PATHS:
            tree = STATEMENTS[PATHS[name]]
            names += [t for s in statements(tree.body, functions=False) for t in targets(s)]
            # A kernel is compiled, which takes Numba, as its module loads.
            decorators = [d for n in tree.body for d in getattr(n, "decorator_list", [])]
            if any("compiled" in ast.dump(decorator) for decorator in decorators):
                names.append("numba")
    return loaded


def before_the_settings() -> set[str]:
    """Modules that a command loads before it knows what to do: `--help` must be there at once."""
    roots = [module_name(path) for path in ROOTS]
    classes = [
        constant.value.partition(":")[0]
        for path in ROOTS
        for constant in ast.walk(STATEMENTS[path])
        if isinstance(constant, ast.Constant)
        and re.fullmatch(r"[a-z_.]+settings:\w+", str(constant.value))
    ]
    assert len(classes) == 5
    return loaded_with([*roots, *classes])


def test_help_loads_no_package() -> None:
    roots = {name.split(".")[0] for name in before_the_settings()} - set(PATHS)
    assert not roots - set(sys.stdlib_module_names) - {"data_tools", "training"}


def test_functions_import_only_what_takes_long() -> None:
    early = before_the_settings()
    wrong = []
    for name, path in PATHS.items():
        for statement in statements(STATEMENTS[path].body, functions=True):
            for target in targets(statement):
                packages = {loaded.split(".")[0] for loaded in loaded_with([target])}
                slow = packages & (LAZY | ALSO_LAZY.keys())
                late = name in early and target not in early
                late = late and target.split(".")[0] not in sys.stdlib_module_names
                if not slow and not late:
                    wrong.append(f"{name}:{statement.lineno}: {target}")
    assert not wrong, "import these at the top"


@pytest.mark.parametrize("path", MODULES, ids=module_name)
def test_modules_open_with_what_lives_there(path: Path) -> None:
    docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
    assert docstring, f"{path}: no module docstring"
    assert len(docstring.splitlines()) >= 2, f"{path}: say what lives here and what does not"


@pytest.mark.parametrize("path", MODULES, ids=module_name)
def test_modules_stay_small(path: Path) -> None:
    lines = len(path.read_text(encoding="utf-8").splitlines())
    assert lines <= 320, f"{path}: {lines} lines; split it"


TESTS = sorted(REPOSITORY.glob("tests/**/*.py"))


def other_test_modules(path: Path) -> set[str]:
    return {n for n in imported(path) if any(p.startswith("test_") for p in n.split("."))}


def test_test_modules_import_no_other() -> None:
    """What several of them need lies in `tests/helpers/`."""
    wrong = {path.name: found for path in TESTS if (found := other_test_modules(path))}
    assert not wrong


def test_such_an_import_would_be_found(tmp_path: Path) -> None:
    module = tmp_path / "test_x.py"
    module.write_text("def f():\n    from tests.nets.test_anchors import corners\n")
    assert other_test_modules(module) == {"tests.nets.test_anchors"}
