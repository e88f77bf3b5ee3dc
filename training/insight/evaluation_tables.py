"""The figures of an evaluation as tables and curves of its page.

The page with its images is put together in `evaluation_page.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from data_tools.pages.page import NUMBER, PERCENT, TEXT, Chart, Table
from training.evaluation.coco_ap import RECALLS
from training.evaluation.diagnosis import Diagnosis
from training.evaluation.error_causes import CAUSES
from training.evaluation.scoring import EvaluationResult
from training.insight.suspects import Suspect

_SUSPECTS_SHOWN = 200

_CAUSE_NOTES = {
    "class": "boxes of another class were found: look at the confusion matrix",
    "location": "overlap with the box of 0.1 to 0.5: larger input, better default boxes, "
    "tighter labels",
    "both": "overlap of 0.1 to 0.5 with a box of another class",
    "duplicate": "a box found twice: lower evaluate.nms_iou, boxes labelled twice",
    "background": "nothing is labelled there: labels that are missing, more images without objects",
    "missed": "boxes without any detection: more such images; small ones: larger input or tiles",
}


def summary(result: EvaluationResult, diagnosis: Diagnosis) -> list[tuple[str, str]]:
    """Return name and value of the figures at the top."""
    coco, best = result.metrics["coco"], result.metrics["thresholds"]["all"]
    ece = diagnosis.sections["calibration"]["expected_error"]
    rows = [(name, _figure(coco[name])) for name in ("AP", "AP50", "AP75", "APs", "APm", "APl")]
    rows += [
        ("images", str(coco["num_images"])),
        ("boxes", str(int(result.scores.num_boxes.sum()))),
        ("best threshold", _figure(best["threshold"])),
        ("F1 there", _figure(best["f1"])),
        ("expected error of a score", _figure(ece)),
    ]
    return rows


def _figure(value: float) -> str:
    return "–" if value < 0 else f"{value:.3f}"


def _known(value: float) -> float | None:
    return None if value < 0 else float(value)


def tables(result: EvaluationResult, diagnosis: Diagnosis) -> list[Table]:
    """Return the tables of causes, classes and one's own sizes."""
    sections = diagnosis.sections
    causes = Table(
        "Errors by cause",
        [
            ("cause", TEXT), ("AP50 it costs", PERCENT), ("small", PERCENT), ("medium", PERCENT),
            ("large", PERCENT), ("errors", NUMBER), ("from the threshold up", NUMBER),
            ("if it costs most", TEXT),
        ],
        [
            [
                name, *(_cost(cause, size) for size in ("all", "small", "medium", "large")),
                cause["count"], cause["count_at_threshold"], _CAUSE_NOTES[name],
            ]
            for name, cause in sections["errors"]["causes"].items()
        ],
        "AP50 that would be gained if the errors of this cause alone were put right. Begin with "
        "the largest.",
    )  # fmt: skip
    columns = [
        ("class", TEXT), ("AP", PERCENT), ("AP50", PERCENT), ("AP75", PERCENT), ("small", PERCENT),
        ("medium", PERCENT), ("large", PERCENT), ("boxes", NUMBER), ("detections", NUMBER),
        ("best threshold", NUMBER), ("F1", PERCENT), ("precision", PERCENT), ("recall", PERCENT),
        *((f"lost: {cause}", PERCENT) for cause in CAUSES),
    ]  # fmt: skip
    rows = []
    for name, figures in result.metrics["per_class"].items():
        best = sections["thresholds"]["per_class"][name]
        costs = sections["errors"]["per_class"].get(name)
        rows.append(
            [
                name,
                *(_known(figures[k]) for k in ("AP", "AP50", "AP75", "APs", "APm", "APl")),
                figures["num_boxes"],
                figures["num_detections"],
                *(_known(best[k]) for k in ("threshold", "f1", "precision", "recall")),
                *(costs[cause]["AP50_cost"] if costs else None for cause in CAUSES),
            ]
        )
    shown = [causes, Table("Classes", columns, rows, "Press a heading to sort.")]
    if "sizes" in sections:
        own = [
            [name, *(_known(row[k]) for k in ("AP", "AP50", "AR100")), row["num_boxes"]]
            for name, row in sections["sizes"].items()
        ]
        heads = [("side in pixels", TEXT), ("AP", PERCENT), ("AP50", PERCENT), ("AR100", PERCENT)]
        shown.append(Table("Sizes", [*heads, ("boxes", NUMBER)], own))
    return shown


def suspects_table(result: EvaluationResult, suspects: Sequence[Suspect]) -> list[Table]:
    """Return the table of the labels most in doubt; none if there are none."""
    if not suspects:
        return []
    truth, matches = result.truth, result.matches
    names = truth.unique_names
    rows = [
        [
            s.kind.replace("_", " "),
            s.suspicion,
            truth.file_names[s.image] or str(truth.image_ids[s.image]),
            names[truth.category[s.box]] if s.box >= 0 else None,
            names[matches.category[s.detection]] if s.detection >= 0 else None,
            float(matches.score[s.detection]) if s.detection >= 0 else None,
            s.overlap,
        ]
        for s in suspects[:_SUSPECTS_SHOWN]
    ]
    columns = [
        ("doubt", TEXT), ("suspicion", NUMBER), ("image", TEXT), ("labelled", TEXT),
        ("found", TEXT),
        ("score", NUMBER), ("overlap", NUMBER),
    ]  # fmt: skip
    note = (
        "Labels that may be wrong. Look at suspects.png, delete the lines of suspects.csv that are "
        "right, and convert again with exclude=suspects.csv."
    )
    return [Table("Suspected labels", columns, rows, note)]


def _cost(cause: dict[str, Any], size: str) -> float | None:
    value = cause["AP50_cost"][size]
    return None if value == -1.0 else value


def charts(result: EvaluationResult, diagnosis: Diagnosis) -> list[Chart]:
    """Return the curves over score and recall, and the calibration."""
    curve, bins = (
        diagnosis.sections["thresholds"]["curve"],
        diagnosis.sections["calibration"]["bins"],
    )
    lines = [
        (k, curve["score"], [_known(v) for v in curve[k]]) for k in ("precision", "recall", "f1")
    ]
    known = result.scores.num_boxes > 0
    recall = [float(r) for r in RECALLS]
    precision = [
        (
            f"overlap {overlap:.2f}",
            recall,
            [float(v) for v in result.scores.precision[t][:, known, 0].mean(axis=1)],
        )
        for t, overlap in ((0, 0.5), (5, 0.75), (8, 0.9))
        if known.any()
    ]
    used = [b for b in bins if b["count"]]
    calibration = [
        ("scores that tell the truth", [0.0, 1.0], [0.0, 1.0]),
        ("detections", [b["score"] for b in used], [b["hits"] for b in used]),
    ]
    return [
        Chart("Precision, recall and F1", "lowest score", lines, "Choose a threshold here."),
        Chart("Precision over recall", "recall", precision, "Mean over classes."),
        Chart(
            "Calibration: share of detections that are right", "score", calibration,
            "Below the diagonal scores promise too much, above it too little.",
        ),
    ]  # fmt: skip
