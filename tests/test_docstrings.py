"""Docstrings and documents name modules that exist, and the examples in docstrings run.

Commands, settings and links of the documents are `test_readme.py`'s.
"""

from __future__ import annotations

import ast
import doctest
import importlib
import re
from pathlib import Path

import pytest

from tests.helpers.document_commands import documents, spans

REPOSITORY = Path(__file__).resolve().parent.parent
MODULES = sorted(
    [*REPOSITORY.glob("data_tools/**/*.py"), *REPOSITORY.glob("training/**/*.py")],
)
BENCHMARKS = sorted(REPOSITORY.glob("benchmarks/**/*.py"))
TESTS = sorted(REPOSITORY.glob("tests/**/*.py"))


def module_name(path: Path) -> str:
    parts = path.relative_to(REPOSITORY).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


PYTHON = [
    path.relative_to(REPOSITORY).as_posix()
    for path in [
        *MODULES,
        *TESTS,
        *BENCHMARKS,
        *REPOSITORY.glob("*.py"),
    ]
]


def missing_modules(docstring: str, home: Path) -> set[str]:
    """What a module's docstring names that is no module: `x.py`, `room/`, `training.boxes.nms`.

    A path is looked up from the checkout, from any folder above the module, and as the end of a
    path.
    """
    wrong = set()
    for words in re.findall(r"`([^`]+)`", docstring):
        for name in re.findall(r"[\w/]+\.py\b", words):
            if not any(f"/{path}".endswith(f"/{name}") for path in PYTHON):
                wrong.add(name)
        for name in re.findall(r"(?<![\w/<])[a-z_]+(?:/[a-z_]+)*/(?=$|\s)", words):
            if not any((folder / name).is_dir() for folder in [home, *home.parents]):
                wrong.add(name)
        for name in re.findall(r"\b(?:data_tools|training|benchmarks)(?:\.[a-z_]+)+\b", words):
            if name.endswith(".py"):
                continue
            path = REPOSITORY.joinpath(*name.split("."))
            if not (path.is_dir() or path.with_suffix(".py").is_file()):
                wrong.add(name)
    return wrong


def test_docstrings_name_modules_that_exist() -> None:
    wrong = {}
    for path in [*MODULES, *TESTS]:
        docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
        if gone := missing_modules(docstring, path.parent):
            wrong[path.relative_to(REPOSITORY).as_posix()] = gone
    assert not wrong


def test_a_module_that_is_gone_would_be_found() -> None:
    home = REPOSITORY / "training" / "nets"
    assert not missing_modules("in `ssd.py`, `boxes/nms.py`, `zoo/`, `training.boxes.nms`", home)
    gone = "`keeper.py`, `boxes/gone.py`, `zoos/`, `training.boxes.gone`, `python -m training.gone`"
    assert missing_modules(gone, home) == {
        "keeper.py",
        "boxes/gone.py",
        "zoos/",
        "training.boxes.gone",
        "training.gone",
    }


# Modules of another project that docs/migrating.md compares with, and names that stand for any.
NOT_OURS = {"create_data.py", "eval_onnx.py", "training/nets/zoo/NAME.py"}


def missing_in(page: str) -> set[str]:
    """Which modules a document names, between backticks, that do not exist."""
    named = {name for span in spans(page) for name in re.findall(r"(?<![\w/.])[\w/]+\.py\b", span)}
    return {n for n in named - NOT_OURS if not any(f"/{path}".endswith(f"/{n}") for path in PYTHON)}


@pytest.mark.parametrize("page", documents(), ids=lambda p: p.relative_to(REPOSITORY).as_posix())
def test_documents_name_modules_that_exist(page: Path) -> None:
    assert not missing_in(page.read_text(encoding="utf-8"))


def test_a_module_that_a_document_should_not_name_is_found() -> None:
    assert missing_in("`boxes/nms.py: run`, `gone.py`, `nets/gone.py`") == {
        "gone.py",
        "nets/gone.py",
    }


EXAMPLES = [p for p in [*MODULES, *BENCHMARKS] if re.search(r"^ *>>> ", p.read_text(), re.M)]


@pytest.mark.parametrize("path", EXAMPLES, ids=module_name)
def test_examples_of_docstrings_run(path: Path) -> None:
    assert not doctest.testmod(importlib.import_module(module_name(path))).failed


@pytest.mark.parametrize("path", [*MODULES, *BENCHMARKS], ids=module_name)
def test_no_example_is_hidden_in_a_line(path: Path) -> None:
    """`>>>` within a line is an example that re-wrapping has swallowed; it would never run."""
    for line in path.read_text(encoding="utf-8").splitlines():
        assert ">>>" not in line or re.match(r' *(?:r?""")?>>> ', line), line
