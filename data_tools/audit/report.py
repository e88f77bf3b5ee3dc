"""The doctor's findings as a table for the terminal and as CSV.

The numbers come from `audit.py`; the picture is in `picture.py`.
"""

from __future__ import annotations

import csv
import shlex
from collections import Counter
from pathlib import Path
from typing import Any

from data_tools.audit.findings import SplitAudit
from data_tools.convert.settings import ConvertSettings
from data_tools.core.files import replacing
from data_tools.core.words import csv_cell
from data_tools.sources.defect_kinds import KINDS
from data_tools.sources.defects import Defect, DefectLog


def write_csv(path: Path, audits: list[SplitAudit]) -> None:
    """Write a line for each file, and one for each defect of a file that is no usable image."""
    with (
        replacing(path) as temporary,
        open(temporary, "w", newline="", encoding="utf-8") as file,
    ):
        writer = csv.writer(file)
        writer.writerow(
            [
                "split",
                "file",
                "image_id",
                "height",
                "width",
                "boxes",
                "defects",
                "actions",
                "details",
            ]
        )
        for audit in audits:
            by_file: dict[str, list[Defect]] = {}
            for defect in audit.defects:
                by_file.setdefault(defect.file, []).append(defect)
            for name, number, height, width, boxes in audit.files:
                defects = by_file.pop(name, [])
                writer.writerow(
                    [audit.name, csv_cell(name), number, height, width, boxes, *_cells(defects)]
                )
            for name, defects in sorted(by_file.items()):
                for defect in defects:
                    number_text = "" if defect.image_id is None else str(defect.image_id)
                    cells = [audit.name, csv_cell(name), number_text, "", "", "", *_cells([defect])]
                    writer.writerow(cells)


def _cells(defects: list[Defect]) -> list[str]:
    return [
        "; ".join(d.kind for d in defects),
        "; ".join(d.action for d in defects),
        csv_cell("; ".join(d.detail for d in defects)),
    ]


def render(report: dict[str, Any], settings: ConvertSettings) -> str:
    """Return the report as a table for the terminal."""
    lines: list[str] = []
    log = DefectLog(
        settings.content()["policy"]
    )  # knows the defaults of kinds that are not named there
    for name, split in report["splits"].items():
        counted, usable = split["found"], split["usable"]
        lines += [
            "",
            f"{name}: {usable['images']} of {counted['images']} images usable, {usable['boxes']} "
            f"of {counted['boxes']} boxes; {split['images_without_boxes']} images without boxes, "
            f"{split['crowd_boxes']} crowd boxes",
        ]
        if split["defects"]:
            lines.append(f"  {'defect':<26}{'count':>7}  {'policy':<8}meaning")
        for kind, actions in split["defects"].items():
            lines.append(
                f"  {kind:<26}{sum(actions.values()):>7}  "
                f"{log.action(kind):<8}{KINDS[kind].meaning}"
            )
        lines.append(_class_lines(split["boxes_by_class"]))
        sizes = ", ".join(f"{count} {size}" for size, count in split["boxes_by_size"].items())
        lines.append(f"  sizes: {sizes} (limits 32 x 32 and 96 x 96 pixels)")
        lines += _histogram_lines("side, pixels", split["boxes_by_side_px"])
        lines += _histogram_lines("width / height", split["boxes_by_aspect"])
        if split.get("coverage"):
            lines += _coverage_lines(split["coverage"], str(report["model"]))
    lines += _advice_lines(report.get("advice") or {}, str(report.get("model")))
    return "\n".join(lines).lstrip("\n")


def _advice_lines(advice: dict[str, Any], model: str) -> list[str]:
    if not advice.get("list"):
        return []
    lines = ["", f"what would help to learn {advice['split']} with model={model}:"]
    for one in advice["list"]:
        reached = [
            f"{name} {one['after'][name]:.1%} instead of {share:.1%}"
            for name, share in one["before"].items()
        ]
        lines.append(f"  {one['title']}: {one['words']}")
        if reached:
            lines.append(f"    default boxes reach 0.5 with {', '.join(reached)}")
        if one["overrides"]:
            lines.append(f"    train.py model={model} " + shlex.join(one["overrides"]))
    return lines


def _class_lines(counts: dict[str, int]) -> str:
    ranked = Counter(counts).most_common()
    shown = ", ".join(f"{name} {count}" for name, count in ranked[:12])
    empty = [name for name, count in ranked if not count]
    text = f"  classes ({len(ranked)}): {shown}" + (", ..." if len(ranked) > 12 else "")
    return text + (f"; without any box: {len(empty)}" if empty else "")


def _histogram_lines(title: str, counts: dict[str, int]) -> list[str]:
    """Two lines, edges above counts, without the empty ends."""
    filled = [k for k, count in enumerate(counts.values()) if count]
    if not filled:
        return []
    shown = list(counts.items())[filled[0] : filled[-1] + 1]
    widths = [max(len(name), len(str(count))) + 2 for name, count in shown]
    names = "".join(f"{name:>{w}}" for (name, _), w in zip(shown, widths, strict=True))
    values = "".join(f"{count:>{w}}" for (_, count), w in zip(shown, widths, strict=True))
    return [f"  {title:<16}{names}", f"  {'  boxes':<16}{values}"]


def _coverage_lines(coverage: dict[str, dict[str, float]], model: str) -> list[str]:
    lines = [
        f"  default boxes of {model} over the objects:",
        "    "
        f"{'size':<9}{'objects':>8}{'>= 0.5':>9}{'>= 0.4':>9}{'forced only':>13}{'unmatched':>11}",
    ]
    for size, row in coverage.items():
        half, most = row["at_least_0.5"], row["at_least_0.4"]
        lines.append(
            f"    {size:<9}{row['objects']:>8}{half:>9.1%}{most:>9.1%}"
            f"{row['forced_only']:>13.1%}{row['unmatched']:>11.1%}"
        )
    return lines
