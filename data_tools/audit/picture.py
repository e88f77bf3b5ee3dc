"""The doctor's one picture: classes, sizes, shapes and coverage of a raw data set, drawn with
matplotlib.

The numbers come from `audit.py`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from data_tools.audit.findings import SplitAudit

_MOST_CLASSES = 30
_BLUE, _ORANGE, _GREY, _RED = "#3b6fb5", "#e08a2e", "#b8b8b8", "#c0392b"


def draw_audit(path: Path, report: dict[str, Any], audits: list[SplitAudit]) -> None:
    """Draw the splits one below the other: histograms, defects and coverage of each.

    Args:
        path: PNG file to write.
        report: The content of `audit.json`.
        audits: The splits.
    """
    # The object-oriented interface touches no global state and needs no display.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(15, 8.5 * len(audits)), dpi=90, layout="constrained")
    canvas = FigureCanvasAgg(figure)
    blocks = figure.subfigures(len(audits), 1, squeeze=False)[:, 0]
    for block, audit in zip(blocks, audits, strict=True):
        axes = block.subplots(2, 3)
        split = report["splits"][audit.name]
        usable, counted = split["usable"], split["found"]
        block.suptitle(
            f"{audit.name}: {usable['images']} of {counted['images']} images, {usable['boxes']} of "
            f"{counted['boxes']} boxes usable"
        )
        _draw_classes(axes[0, 0], split["boxes_by_class"])
        _draw_sizes(axes[0, 1], audit)
        _draw_aspects(axes[0, 2], audit)
        _draw_counts(axes[1, 0], audit)
        _draw_defects(axes[1, 1], split["defects"])
        _draw_coverage(axes[1, 2], split.get("coverage"), report["model"])
    canvas.print_png(str(path))


def _draw_classes(axes: Any, counts: dict[str, int]) -> None:
    ranked = sorted(counts.items(), key=lambda item: -item[1])[:_MOST_CLASSES]
    names, values = [name for name, _ in ranked][::-1], [count for _, count in ranked][::-1]
    axes.barh(range(len(names)), values, color=_BLUE)
    axes.set_yticks(range(len(names)), names, fontsize=7 if len(names) > 12 else 9)
    axes.set_title(f"boxes by class ({len(ranked)} of {len(counts)})")
    if values and max(values) > 50 * max(1, min(values)):
        axes.set_xscale("symlog")


def _draw_sizes(axes: Any, audit: SplitAudit) -> None:
    sides = np.sqrt(np.maximum(audit.areas_px, 1e-6))
    if len(sides):
        low = max(1.0, sides.min())
        # Boxes may all be of one size; bins must rise.
        high = max(2.0, sides.max())
        if high < 2 * low:  # nearly one size: a bar that can be seen
            low, high = low / 2, high * 2
        bins = np.geomspace(low, high, 40)
        axes.hist(sides, bins=bins, color=_BLUE)
    # Plain pixels at powers of two: the usual marks of a narrow range overlap.
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_formatter("{x:g}")
    for limit, name in ((32, "small | medium"), (96, "medium | large")):
        axes.axvline(limit, color=_ORANGE, linestyle="--", label=f"{limit} px: {name}")
    axes.legend(fontsize=8)
    axes.set_title("box side, square root of area (pixels)")


def _draw_aspects(axes: Any, audit: SplitAudit) -> None:
    sides = audit.boxes_rel[:, 2:] - audit.boxes_rel[:, :2]
    aspects = sides[:, 1] / np.maximum(sides[:, 0], 1e-9)
    axes.hist(np.clip(aspects, 1 / 16, 16), bins=np.geomspace(1 / 16, 16, 41), color=_BLUE)
    axes.set_xscale("log", base=2)
    for ratio in (1 / 3, 1 / 2, 1, 2, 3):
        axes.axvline(ratio, color=_ORANGE, linestyle=":", linewidth=1)
    axes.set_title("box aspect, width / height, in the squared image\n(dotted: 1/3, 1/2, 1, 2, 3)")


def _draw_counts(axes: Any, audit: SplitAudit) -> None:
    highest = max(audit.counts, default=1)
    axes.hist(audit.counts, bins=np.arange(0, min(highest, 60) + 2) - 0.5, color=_BLUE)
    axes.set_title("boxes in an image")
    axes.set_ylabel("images")


def _draw_defects(axes: Any, defects: dict[str, dict[str, int]]) -> None:
    axes.set_title("defects")
    if not defects:
        axes.text(0.5, 0.5, "none found", ha="center", va="center", transform=axes.transAxes)
        axes.set_axis_off()
        return
    names = list(defects)[::-1]
    values = [sum(defects[name].values()) for name in names]
    bars = axes.barh(range(len(names)), values, color=_RED)
    axes.bar_label(bars, fontsize=8)
    axes.set_yticks(range(len(names)), names, fontsize=8)


def _draw_coverage(axes: Any, coverage: dict[str, dict[str, float]] | None, model: Any) -> None:
    axes.set_title(f"best default box of {model} (IoU)" if coverage else "no default boxes given")
    if not coverage:
        axes.set_axis_off()
        return
    sizes = list(coverage)
    colours = (_BLUE, _ORANGE, _GREY, _RED)
    bottom = np.zeros(len(sizes))
    for (label, values), colour in zip(bar_parts(coverage).items(), colours, strict=True):
        axes.bar(range(len(sizes)), values, bottom=bottom, color=colour, label=label)
        bottom += values
    names = [f"{size}\n{int(coverage[size]['objects'])}" for size in sizes]
    axes.set_xticks(range(len(sizes)), names)
    axes.set_ylim(0, 1)
    axes.legend(fontsize=8, loc="lower right")


def bar_parts(coverage: dict[str, dict[str, float]]) -> dict[str, npt.NDArray[np.float64]]:
    """Return the parts of each size's bar, label -> a share for each size; nothing for a size
    without objects.
    """
    rows = coverage.values()
    good = np.array([row["at_least_0.5"] for row in rows])
    near = np.array([row["at_least_0.4"] for row in rows]) - good
    lost = np.array([row["unmatched"] for row in rows])
    there = np.array([row["objects"] > 0 for row in rows])
    return {
        "at least 0.5": good,
        "0.4 to 0.5": near,
        "below 0.4, forced": np.maximum(1 - good - near - lost, 0) * there,
        "unmatched": lost,
    }
