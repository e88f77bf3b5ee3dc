"""The kinds of cases, and how often each is drawn.

They are made in the modules named `cases_*.py`; how one is run and judged is `fuzz_run.py`.
"""

from __future__ import annotations

from tests.fuzz.cases_common import Maker
from tests.fuzz.cases_convert import merge_case, partial_case, raw_case, set_case, upgrade_case
from tests.fuzz.cases_detector import (
    checkpoint_case,
    exported_case,
    hub_case,
    picture_case,
    replay_case,
    set_case_all,
)
from tests.fuzz.cases_settings import benchmark_case, launch_case, settings_case

LIGHT: dict[str, tuple[Maker, int]] = {
    "raw": (raw_case, 8),
    "settings-convert": (settings_case("convert"), 5),
    "set": (set_case, 4),
    "merge": (merge_case, 3),
    "partial": (partial_case, 2),
    "upgrade": (upgrade_case, 1),
    "launch": (launch_case, 3),
}
"""Cases that never import MindSpore, and how often each kind is drawn."""

HEAVY: dict[str, tuple[Maker, int]] = {
    "settings-train": (settings_case("train"), 6),
    "settings-eval": (settings_case("eval"), 2),
    "settings-predict": (settings_case("predict"), 2),
    "settings-export": (settings_case("export"), 2),
    "set-all": (set_case_all, 4),
    "picture": (picture_case, 1),
    "checkpoint": (checkpoint_case, 5),
    "exported": (exported_case, 3),
    "replay": (replay_case, 3),
    "hub": (hub_case, 3),
    "benchmark": (benchmark_case, 1),
}
"""Cases that need MindSpore and a trained checkpoint."""
