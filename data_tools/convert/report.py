"""What a conversion says on the terminal once it is done.

The same facts, and every single defect, stand in each split's `report.json` (`finish_split.py`).
"""

from __future__ import annotations

from itertools import chain
from pathlib import Path
from typing import Any

from data_tools.core.where_to_look import preview_of, where_to_look
from data_tools.core.words import printable

_IN_FULL = ("class_names_alike", "unused_class", "unread_files", "cut_away")
"""Kinds of few defects, each of which asks for a choice."""

_MOST_LINES = 20


def print_summary(out: Path, reports: list[dict[str, Any]]) -> None:
    """Print what was made, split by split, and every kind of defect with what was done about it."""
    for report in reports:
        written, left = report["written"], report["left_out"]
        print(
            f"{out / report['split']}: {written['images']} images, {written['boxes']} boxes"
            f" (of {report['found']['images']} and {report['found']['boxes']})"
        )
        if left["images_without_boxes"]:
            print(f"  {left['images_without_boxes']} images without boxes left out as asked")
        if left["boxes_of_other_classes"]:
            print(f"  {left['boxes_of_other_classes']} boxes of other classes left out as asked")
        for kind, actions in report["defects"].items():
            done = ", ".join(f"{count} {action}" for action, count in actions.items())
            print(f"  {kind}: {done} ({report['meanings'][kind]})")
            if kind in _IN_FULL:
                defects = chain.from_iterable(report["files"].values())
                details = [defect["detail"] for defect in defects if defect["kind"] == kind]
                for detail in details[:_MOST_LINES]:
                    print(f"    {printable(detail)}")
        for change, count in report["images_changed"].items():
            print(f"  {count} images {change}")
    if any(report["defects"] for report in reports):
        print(f"every defect with file and id: {out}/<split>/report.json")
    print(where_to_look(then=preview_of(out)))
