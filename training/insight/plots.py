"""The confusion matrix and the curves over the score as PNG files.

Curves of training and of precision over recall are in `watching/curves.py`, pictures with boxes in
`watching/visualize.py`.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from training.evaluation.confusion import BACKGROUND, Confusion
from training.evaluation.diagnosis import Diagnosis
from training.watching.curves import new_figure, save_figure

_NUMBERED = 25  # more classes leave no space for figures in the cells


def write_confusion(path: Path, matrix: Confusion, names: list[str]) -> None:
    """Draw the confusion matrix; the colour is a cell's share of its row (the boxes of a class)."""
    counts, labels = matrix.counts, [*names, BACKGROUND]
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    side = float(np.clip(0.5 * len(labels) + 2.5, 5, 20))
    figure = new_figure(1)
    figure.set_layout_engine("constrained")  # names of classes have any length
    figure.set_size_inches(side, side)
    axis = figure.subplots()
    # One hue from light to dark is read alike with any colour vision, and in print.
    axis.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    size = 9 if len(labels) <= _NUMBERED else 5
    axis.set_xticks(range(len(labels)), labels, rotation=90, fontsize=size)
    axis.set_yticks(range(len(labels)), labels, fontsize=size)
    axis.set_xlabel("class of the detection")
    axis.set_ylabel("class of the box")
    axis.set_title(f"boxes and detections from a score of {matrix.threshold:.2f}, overlap 0.5")
    if len(labels) <= _NUMBERED:
        for row, column in zip(*np.nonzero(counts), strict=True):
            color = "white" if shares[row, column] > 0.5 else "black"
            axis.text(
                column, row, str(counts[row, column]), ha="center", va="center", color=color,
                fontsize=8,
            )  # fmt: skip
    save_figure(figure, path)


def write_threshold_curves(path: Path, diagnosis: Diagnosis) -> None:
    """Draw precision, recall and F1 over the score, and the share of hits over the score."""
    thresholds, calibration = (diagnosis.sections[k] for k in ("thresholds", "calibration"))
    curve = {k: np.array(v) for k, v in thresholds["curve"].items()}
    figure = new_figure(2)
    left, right = figure.subplots(1, 2)
    for name, style in (("precision", "-"), ("recall", "--"), ("f1", "-.")):
        known = curve[name] >= 0
        left.plot(curve["score"][known], curve[name][known], style, label=name)
    best = thresholds["all"]
    if best["threshold"] >= 0:
        left.axvline(best["threshold"], color="black", linewidth=0.8)
        left.set_title(f"best threshold {best['threshold']:.3f}: F1 {best['f1']:.3f}")
    left.set_xlabel("lowest score")
    bins = [b for b in calibration["bins"] if b["count"]]
    right.plot([0, 1], [0, 1], color="gray", linewidth=0.8, label="scores that tell the truth")
    right.plot([b["score"] for b in bins], [b["hits"] for b in bins], "o-", label="detections")
    right.set_xlabel("score")
    right.set_ylabel("share of detections that are right")
    if calibration["expected_error"] >= 0:
        right.set_title(f"expected error of a score: {calibration['expected_error']:.3f}")
    for axis in (left, right):
        axis.set_xlim(0, 1)
        axis.set_ylim(0, 1.02)
        axis.grid(alpha=0.3)
        axis.legend(fontsize=8)
    save_figure(figure, path)
