"""Names say what a thing is in the field's words: index, offset, buffer, log, matches.

The words listed here were names once, and meant something else in every function.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent
SOURCES = sorted(
    [
        *REPOSITORY.glob("*.py"),
        *REPOSITORY.glob("data_tools/**/*.py"),
        *REPOSITORY.glob("training/**/*.py"),
        *REPOSITORY.glob("benchmarks/**/*.py"),
    ]
)
INSTEAD = {
    "place": "index, position, offset, path",
    "room": "buffer, bytes, what is available",
    "found": "matches, detections, files, the thing's own name",
    "told": "reported, messages",
    "say": "notify, log",
    "keeper": "SaveAndEvaluate, saver",
    "due": "triggers",
    "verdict": "stage costs",
    "dearest": "slowest",
    "said": "messages, header, metadata",
    "bench": "buffers",
    "typed": "json_dataclass, given",
}
OLD = {*INSTEAD, "places", "rooms", "says", "benches"}
# `found` is a key of report.json, which its dataclasses have as a field; `as_typed` is what a user
# typed on the command line; NOT_FOUND is HTTP's.
ALLOWED = {"attribute found", "as_typed", "sweep_as_typed", "NOT_FOUND"}

# Old-fashioned in names, comments, help and messages alike, and what to write.
IN_PROSE = {
    "beside": (r"beside(?!s)", "next to; besides, and, with"),
    "dearest": (r"dearest", "slowest, most expensive"),
    "so many": (r"\bso\s+many\b", "this many, N"),
}
PROSE = sorted([*SOURCES, *REPOSITORY.glob("conf/**/*.yaml"), REPOSITORY / "Makefile"])


def names_in(tree: ast.AST) -> Iterator[tuple[str, int]]:
    """Names of variables, arguments, functions, classes and attributes, with their line."""
    fields = {
        id(line.target)
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef)
        for line in node.body
        if isinstance(line, ast.AnnAssign)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Name):
            yield f"attribute {node.id}" if id(node) in fields else node.id, node.lineno
        elif isinstance(node, ast.Attribute):
            yield f"attribute {node.attr}", node.lineno
        elif isinstance(node, ast.arg):
            yield node.arg, node.lineno
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.name, node.lineno


def old_names(text: str) -> list[str]:
    """Names that have one of the old words in them, as `line: name`."""
    wrong = []
    for name, line in names_in(ast.parse(text)):
        bare = name.removeprefix("attribute ")
        if not {name, bare} & ALLOWED and OLD & set(re.split("_", bare.lower())):
            wrong.append(f"{line}: {bare}")
    return wrong


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: p.relative_to(REPOSITORY).as_posix())
def test_names_are_the_fields(path: Path) -> None:
    assert not old_names(path.read_text(encoding="utf-8")), f"take instead: {INSTEAD}"


def old_prose(text: str) -> list[str]:
    """Which words of `IN_PROSE` a text has."""
    return [word for word, (pattern, _) in IN_PROSE.items() if re.search(pattern, text, re.I)]


@pytest.mark.parametrize("path", PROSE, ids=lambda p: p.relative_to(REPOSITORY).as_posix())
def test_prose_is_modern(path: Path) -> None:
    old = old_prose(path.read_text(encoding="utf-8"))
    assert not old, f"write instead: {', '.join(IN_PROSE[word][1] for word in old)}"


def test_old_prose_is_seen() -> None:
    assert old_prose("# It lies Beside the file.") == ["beside"]
    assert old_prose('"""At most so\n    many of the dearest."""') == ["dearest", "so many"]
    assert not old_prose("And besides, `NEXT_TO` has many.")


def test_an_old_name_is_seen() -> None:
    text = "class Plan:\n    found: dict\n\ndef f(room, k):\n    found = k.due\n    g(a=k.found)\n"
    assert sorted(old_names(text)) == ["4: room", "5: due", "5: found"]
