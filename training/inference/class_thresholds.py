"""The best threshold of each class, as evaluation found it and a card or an exported file keeps it.

How it is found is `evaluation/thresholds.py`'s matter; `detector.py` uses it for `threshold=auto`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from data_tools.core.errors import SettingError
from data_tools.core.sample import ClassInfo

AUTO = "auto"


def thresholds_by_label(section: Any, classes: Sequence[ClassInfo]) -> tuple[float, ...]:
    """Return the lowest score of each label, 1..C in order.

    Args:
        section: `thresholds` of `metrics.json`, or what a file keeps of it; anything else is none.
        classes: The detector's classes.

    Returns:
        (C,) scores; a class without one of its own has that of all classes. Empty if there are
        none.
    """
    if not isinstance(section, dict):
        return ()
    common = _threshold(section.get("all"))
    per_class = section.get("per_class")
    if common is None or not isinstance(per_class, dict):
        return ()
    thresholds = []
    for c in classes:
        own = _threshold(per_class.get(c.name, per_class.get(f"{c.name} ({c.category_id})")))
        thresholds.append(common if own is None else own)
    return tuple(thresholds)


def _threshold(entry: Any) -> float | None:
    value = entry.get("threshold") if isinstance(entry, dict) else None
    return float(value) if isinstance(value, (int, float)) and 0 <= value <= 1 else None


def require_thresholds(thresholds: tuple[float, ...], path: str | Path) -> tuple[float, ...]:
    """Return the thresholds, or say how to get some.

    Raises:
        SettingError: If there are none.
    """
    if not thresholds:
        raise SettingError(
            f"threshold=auto: {path} knows no thresholds: it was never evaluated, or nothing it "
            "found was right. Run eval.py checkpoint=... data=... once (that stores them in the "
            "checkpoint's card; an exported file takes them from there), or give a number in 0..1."
        )
    return thresholds
