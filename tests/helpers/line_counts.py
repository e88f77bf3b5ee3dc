"""Counting the lines that tests run (`--cov`) without watching what is not ours.

Until Python 3.12, coverage is called at every call and return of Python code, anyone's: some work
takes twice as long. Where others work for long without calling us, it is not told, and neither is
it of tests that run no code of the two packages. No line counts more or less for it, and without
`--cov` nothing happens here.
"""

from __future__ import annotations

import functools
import importlib
import os
import sys
from collections.abc import Callable
from typing import Any

import pytest

# Modules and functions of others, slow in Python, that call nothing of ours whose lines count. What
# MindSpore compiles it reads as text, and Numba as bytecode.
OF_OTHERS = (
    ("hydra", "compose"),
    ("mindspore.graph.api", "_JitExecutor.compile"),
    ("mindspore.graph.api", "_CellGraphExecutor.compile"),
    ("numba.core.dispatcher", "Dispatcher.compile"),
    ("matplotlib.figure", "Figure.savefig"),
    ("_pytest.assertion.rewrite", "_rewrite_test"),
)
# Within `hydra.compose` our readers of YAML and of words are at work: these test them.
OF_THE_COMMAND_LINE = ("test_configure.py", "test_text_values.py")
# They read source and documents; what they run of the packages, tests of those run too.
OF_TEXTS = ("test_layers.py", "test_words.py", "test_security.py", "test_ci.py",
            "test_dockerfile.py", "test_readme.py")  # fmt: skip


def counter() -> Any:
    """Return what counts this thread's lines, to be stopped and started again; None if nothing
    does.

    Both must happen in one frame: it keeps a stack of them, and a call whose return it does not see
    would give the caller's lines to another file.
    """
    found = sys.gettrace()
    return found if type(found).__name__ == "CTracer" else None


def count_ours_alone() -> None:
    """Import what is slow to import, and wrap what is slow in Python; only if lines are counted."""
    tracer = counter()
    if tracer is None:
        return
    tracer.stop()
    try:
        for module, name in OF_OTHERS:
            holder: Any = importlib.import_module(module)
            *classes, function = name.split(".")
            for part in classes:
                holder = getattr(holder, part)
            setattr(holder, function, _uncounted(getattr(holder, function)))
    finally:
        tracer.start()


def _uncounted(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        tracer = counter()
        test = os.environ.get("PYTEST_CURRENT_TEST", "").partition("::")[0]
        if tracer is None or test.endswith(OF_THE_COMMAND_LINE):
            return function(*args, **kwargs)
        tracer.stop()
        try:
            return function(*args, **kwargs)
        finally:
            tracer.start()

    return call


def is_of_texts(item: pytest.Item) -> bool:
    """Whether a test is about source and documents."""
    return item.path.name in OF_TEXTS
