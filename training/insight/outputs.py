"""Everything that an evaluation leaves in its folder, whoever made the detections.

The commands that call it are in `training/commands/`; nothing is measured here.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from data_tools.core.files import make_folder, write_atomic
from data_tools.core.where_to_look import where_to_look
from data_tools.pages.page import write_page
from data_tools.shards.manifest import ConvertedSplit
from training.evaluation.diagnosis import Diagnosis, diagnose
from training.evaluation.metrics_table import metrics_table
from training.evaluation.scoring import EvaluationResult
from training.insight.evaluation_page import REPORT, evaluation_page
from training.insight.plots import write_confusion, write_threshold_curves
from training.insight.suspect_sheet import write_suspects_sheet
from training.insight.suspects import find_suspects, write_suspects
from training.watching.curves import write_pr_curves
from training.watching.visualize import write_prediction_sheet, write_worst_images

METRICS = "metrics.json"
DETECTIONS = "detections.json"
EXTRAS = (
    "predictions.png",
    "worst.png",
    "precision_recall.png",
    "thresholds.png",
    "confusion.png",
    "report.html",
    "suspects.csv",
    "suspects.png",
)
"""What an evaluation may leave besides; all of it goes before the next one begins."""

_ON_SHEET = 6
_SUSPECTS_ON_SHEET = 15


@dataclass(frozen=True)
class Wanted:
    """What is drawn, and how.

    Args:
        worst: Images with the most errors on `worst.png`; 0 for none.
        curves: Draw curves.
        sizes: Sides in pixels that cut one's own size classes.
        report: Images in `report.html`; 0 for no page.
        suspects: Labels in doubt in `suspects.csv`; 0 for no list.
        title: What was evaluated on what.
    """

    worst: int
    curves: bool
    sizes: tuple[float, ...]
    report: int
    suspects: int
    title: str


def clear_outputs(output: Path) -> None:
    """Make the folder and remove an earlier evaluation's figures and pictures.

    Raises:
        SettingError: If the folder cannot be made.
    """
    make_folder(output, "output")
    # Pictures too: with curves=false those of an earlier run would stay next to the new figures.
    for path in (output / METRICS, *_extras(output)):
        path.unlink(missing_ok=True)


def _extras(output: Path) -> list[Path]:
    """What an evaluation left besides figures and detections, `worst-2.png` and so on among it."""
    further = sorted(output.glob("worst-[0-9]*.png"))
    return [path for name in EXTRAS if (path := output / name).exists()] + further


def write_outputs(
    output: Path,
    result: EvaluationResult,
    facts: dict[str, Any],
    split: ConvertedSplit | None,
    wanted: Wanted,
) -> Diagnosis:
    """Write detections, pictures and, last, `metrics.json`; print the table.

    Args:
        output: The folder, from `clear_outputs`.
        result: The evaluation.
        facts: What else `metrics.json` says: hashes, protocol, where data and detections are.
        split: Where the pictures are; None for a ground truth without pictures.
        wanted: What is drawn.
    """
    diagnosis = diagnose(result, wanted.sizes)
    metrics: dict[str, Any] = {
        **result.metrics,
        **diagnosis.sections,
        **facts,
        "seconds": {k: round(v, 3) for k, v in result.seconds.items()},
    }
    result.detections.write_json(output / DETECTIONS)
    if split is not None:
        write_prediction_sheet(output / "predictions.png", split, result, _ON_SHEET)
        if wanted.worst:
            write_worst_images(output / "worst.png", split, result, wanted.worst)
    if wanted.curves:
        write_pr_curves(output / "precision_recall.png", result)
        write_threshold_curves(output / "thresholds.png", diagnosis)
        write_confusion(output / "confusion.png", diagnosis.confusion, result.truth.unique_names)
    suspects = find_suspects(
        result.truth,
        result.detections,
        result.matches,
        diagnosis.causes,
        diagnosis.judged,
        wanted.suspects,
    )
    if wanted.suspects:
        name = facts.get("split", "")
        write_suspects(
            output / "suspects.csv", suspects, result.truth, result.detections, result.matches, name
        )
    if suspects and split is not None:
        write_suspects_sheet(output / "suspects.png", split, result, suspects[:_SUSPECTS_ON_SHEET])
    if wanted.report:
        page = evaluation_page(wanted.title, result, diagnosis, suspects, split, wanted.report)
        write_page(output / REPORT, page)
    write_atomic(output / METRICS, json.dumps(metrics, indent=1) + "\n")
    print(metrics_table(metrics))
    extras = _extras(output)
    print(f"written to {output}: {', '.join([METRICS, DETECTIONS, *(p.name for p in extras)])}")
    print(where_to_look(pages=[p for p in extras if p.name == REPORT], pictures=extras))
    return diagnosis
