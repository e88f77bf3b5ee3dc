"""Curves as PNG files: loss, rate and AP over a run; precision over recall of an evaluation.

Pictures with boxes are in `visualize.py`. Matplotlib is used without its global state.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from data_tools.core.files import replacing
from training.evaluation.coco_ap import RECALLS
from training.evaluation.scoring import EvaluationResult

_DPI = 110
_NAMED_CLASSES = 12  # more names in a legend cannot be told apart


def write_training_curves(path: Path, entries: Iterable[dict[str, Any]]) -> None:
    """Draw losses and learning rate, and AP where it was measured, over the steps of a run.

    Args:
        path: PNG to write.
        entries: Objects of `log.jsonl` (`watch.read_log`): with `step` and `loss`, `lr`;
            evaluations carry their numbers as `AP`, `AP50` at the top, in `coco`, or in `metrics`.
            Any may have the validation's `val_loss`.
    """
    entries = list(entries)
    steps = [e for e in entries if "loss" in e and "step" in e]
    scored = [(e["step"], numbers) for e in entries if (numbers := _numbers(e)) and "step" in e]
    figure = new_figure(3 if scored else 2)
    axes = figure.subplots(1, 3 if scored else 2)
    x = [e["step"] for e in steps]
    losses = np.array([e["loss"] for e in steps], float)
    axes[0].plot(x, losses, linewidth=0.7, alpha=0.45, color="tab:blue")
    axes[0].plot(x, _smooth(losses), color="tab:blue", label="loss")
    held_out = {
        e["step"]: e["val_loss"] for e in entries if e.get("val_loss") is not None and "step" in e
    }
    if held_out:
        at = sorted(held_out)
        axes[0].plot(at, [held_out[step] for step in at], "o-", color="tab:red", label="validation")
        axes[0].legend()
    finite = losses[np.isfinite(losses)]
    if len(finite) and finite.min() > 0:
        axes[0].set_yscale("log")
    axes[0].set_title("loss")
    axes[1].plot(x, [e.get("lr", np.nan) for e in steps], color="tab:green")
    axes[1].set_title("learning rate")
    if scored:
        for name in ("AP", "AP50", "AP75"):
            axes[2].plot(
                [s for s, _ in scored], [n.get(name, np.nan) for _, n in scored], "o-", label=name
            )
        axes[2].set_ylim(0, 1)
        axes[2].set_title("average precision")
        axes[2].legend()
    for axis in axes:
        axis.set_xlabel("step")
        axis.grid(alpha=0.3)
    save_figure(figure, path)


def _numbers(entry: dict[str, Any]) -> dict[str, float]:
    for metrics in (entry, entry.get("coco"), (entry.get("metrics") or {}).get("coco")):
        if isinstance(metrics, dict) and "AP" in metrics:
            return metrics
    return {}


def _smooth(values: np.ndarray) -> np.ndarray:
    """Exponential average over about a twentieth of the run, without the start's bias."""
    keep = 1 - 1 / max(2.0, len(values) / 20)
    total, weight, result = 0.0, 0.0, []
    for value in values:
        if np.isfinite(value):
            total, weight = total * keep + value, weight * keep + 1
        result.append(total / weight if weight else np.nan)
    return np.array(result)


def write_pr_curves(path: Path, result: EvaluationResult) -> None:
    """Draw precision over recall: the mean over classes at four overlaps, and each class at 0.5."""
    precision = result.scores.precision[..., 0]
    known = np.flatnonzero(result.scores.num_boxes > 0)
    figure = new_figure(2)
    left, right = figure.subplots(1, 2)
    for t, overlap in ((0, 0.5), (5, 0.75), (8, 0.9)):
        if len(known):
            mean = precision[t][:, known].mean(axis=1)
            left.plot(RECALLS, mean, label=f"overlap {overlap:.2f}: AP {mean.mean():.3f}")
    left.set_title("mean over classes")
    best_first = known[np.argsort(-precision[0][:, known].mean(axis=0), kind="stable")]
    named = best_first if len(best_first) <= _NAMED_CLASSES else best_first[:_NAMED_CLASSES]
    for c in best_first:
        name = f"{result.truth.names[c]} {precision[0, :, c].mean():.2f}" if c in named else None
        right.plot(RECALLS, precision[0, :, c], linewidth=1, label=name)
    right.set_title(
        "each class at overlap 0.5" + (" (best named)" if len(named) < len(known) else "")
    )
    for axis in (left, right):
        axis.set_xlabel("recall")
        axis.set_ylabel("precision")
        axis.set_xlim(0, 1)
        axis.set_ylim(0, 1.02)
        axis.grid(alpha=0.3)
        if axis.get_legend_handles_labels()[0]:
            axis.legend(fontsize=8, loc="lower left")
    save_figure(figure, path)


def new_figure(columns: int) -> Any:
    """Return a matplotlib figure for a number of axes next to each other.

    Margins fit what is written around curves of numbers. To have them measured (as
    `set_layout_engine("constrained")` would) takes as long again as the drawing.
    """
    from matplotlib.figure import Figure

    left, right, below, above = 0.95, 0.15, 0.5, 0.35  # inches
    width, height = 5.2 * columns, 4.2
    figure = Figure(figsize=(width, height))
    figure.subplots_adjust(
        left=left / width, right=1 - right / width, bottom=below / height, top=1 - above / height,
        wspace=left / (5.2 - left - right / columns),
    )  # fmt: skip
    return figure


def save_figure(figure: Any, path: Path) -> None:
    """Write a figure as PNG."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=_DPI, format="png")
