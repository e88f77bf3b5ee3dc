"""What all tests share: the environment before MindSpore is imported, and small converted sets."""

from __future__ import annotations

import atexit
import gc
import os
import shutil
import signal
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests.helpers.browser import browser  # noqa: F401  (a fixture for all)
from tests.helpers.line_counts import count_ours_alone, counter, is_of_texts

# Before anything imports MindSpore; the commands do the same in training/process/runtime.py.
os.environ.setdefault("GLOG_v", "3")
os.environ.setdefault("ONEDNN_MAX_CPU_ISA", "AVX2")
os.environ.setdefault("MPLBACKEND", "Agg")
# No test fetches weights from the internet, or finds those of the user; tests with a server of
# their own say so.
os.environ["SSD_WEIGHTS_OFFLINE"] = "1"
os.environ["SSD_WEIGHTS_CACHE"] = str(Path(tempfile.gettempdir()) / "mindspore-ssd-no-weights")
# No test finds the user's graphs, or leaves some there.
os.environ["SSD_GRAPH_CACHE"] = tempfile.mkdtemp(prefix="mindspore-ssd-graphs-")
atexit.register(shutil.rmtree, os.environ["SSD_GRAPH_CACHE"], ignore_errors=True)

# A collection looks at much of what MindSpore, Hydra and the tests hold; with Python's 700 new
# objects between two, that is a tenth of the time.
gc.set_threshold(10_000)

# What a script starts in the background has Ctrl-C ignored, and so has every program that it starts
# in turn; the tests that press Ctrl-C in a process of their own need the usual answer to it.
signal.signal(signal.SIGINT, signal.default_int_handler)

count_ours_alone()

# How long a busy machine takes to think of an example says nothing of the code; a failure prints
# how to get it again.
settings.register_profile(
    "house", deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True
)
settings.load_profile("house")

REPOSITORY = Path(__file__).resolve().parent.parent


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Import no file for long tests that has none: no such mark is named in it."""
    wanted = set(config.option.markexpr.split(" or "))
    if collection_path.suffix != ".py" or not wanted <= {"slow", "ascend"}:
        return None
    text = collection_path.read_text(encoding="utf-8")
    return None if any(f"mark.{mark}" in text for mark in wanted) else True


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Say which tests share a worker, and in which order workers take them
    (`--no-loadscope-reorder`): the short ones last, so that no worker waits long for the other.

    All that start several processes are one group: two jobs of several ranks at a time would run
    into the limits that are being tested. Others are grouped by module, for what they import and
    make is shared. A long test that shares nothing is a group of its own.
    """
    groups = {item: group_of(item) for item in items}
    sizes = Counter(groups.values())
    items.sort(key=lambda item: (turn_of(item), -sizes[groups[item]]))
    for item, name in groups.items():
        if name != item.nodeid:
            item.add_marker(pytest.mark.xdist_group(name))


def group_of(item: pytest.Item) -> str:
    """Return what the tests that must run on the same worker have in common."""
    if item.get_closest_marker("several_processes"):
        return "several processes"
    alone = item.get_closest_marker("slow") and not shared_fixtures(item)
    return item.nodeid if alone or is_dry(item) else item.nodeid.partition("::")[0]


def turn_of(item: pytest.Item) -> int:
    """Return which tests come first: the longest chain, then what compiles networks or settings;
    of the long tests the dry runs of Ascend last, of the others those that do neither.
    """
    if item.get_closest_marker("several_processes"):
        return 0
    if is_dry(item):
        return 3
    compiles = {"training", "fuzz", "test_readme.py", "test_hub.py"} & set(item.path.parts)
    return 1 if compiles or item.get_closest_marker("slow") else 2


def is_dry(item: pytest.Item) -> bool:
    """Whether a test compiles for Ascend."""
    return item.get_closest_marker("ascend") is not None


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """Count no lines for tests that are about source and documents."""
    tracer = counter() if is_of_texts(item) else None
    if tracer is None:
        return (yield)
    tracer.stop()
    try:
        return (yield)
    finally:
        tracer.start()


def shared_fixtures(item: pytest.Item) -> set[str]:
    """Return the fixtures of a test that others of its module use too, and that take a while."""
    definitions = item._fixtureinfo.name2fixturedefs  # type: ignore[attr-defined]
    return {
        name
        for name, (*_, used) in definitions.items()
        if used.scope == "module" or name == "browser"
    }


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print what tests measured for people to judge: `record_property("figures", text)`."""
    for report in terminalreporter.getreports("passed"):
        for name, text in report.user_properties:
            if name == "figures":
                terminalreporter.write_line(text)


@pytest.fixture(scope="session")
def repository() -> Path:
    """The checkout: the folder with the root commands."""
    return REPOSITORY


@pytest.fixture(scope="session")
def golden_dir() -> Path:
    """Small numbers of the published models."""
    return REPOSITORY / "tests" / "golden"


@pytest.fixture(scope="session")
def shared_dir() -> Path:
    """Real data beside the checkout; tests that need it skip where it is absent."""
    folder = Path(os.environ.get("SSD_SHARED_DIR", REPOSITORY.parent / "shared"))
    if not (folder / "data").is_dir():
        pytest.skip(f"real data not found at {folder} (set SSD_SHARED_DIR)")
    return folder
