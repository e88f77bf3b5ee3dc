"""What all tests share: the environment before MindSpore is imported, and small converted sets."""

from __future__ import annotations

import atexit
import gc
import os
import shutil
import signal
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests.helpers.browser import browser  # noqa: F401  (a fixture for all)

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

# How long a busy machine takes to think of an example says nothing of the code; a failure prints
# how to get it again.
settings.register_profile(
    "house", deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True
)
settings.load_profile("house")

REPOSITORY = Path(__file__).resolve().parent.parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Say which tests share a worker; xdist hands out the largest groups first.

    All that start several processes are one group: two jobs of several ranks at a time would run
    into the limits that are being tested. Others are grouped by module, for what they import and
    make is shared. A long test that shares nothing is a group of its own: those are what is left at
    the end, so that no worker waits long for the other. The dry runs of Ascend, the shortest of
    them, are the last.
    """
    items.sort(key=lambda item: item.get_closest_marker("ascend") is not None)
    for item in items:
        long = item.get_closest_marker("slow") and not shared_fixtures(item)
        if item.get_closest_marker("several_processes"):
            item.add_marker(pytest.mark.xdist_group("several processes"))
        elif not long and not item.get_closest_marker("ascend"):
            item.add_marker(pytest.mark.xdist_group(item.nodeid.partition("::")[0]))


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
