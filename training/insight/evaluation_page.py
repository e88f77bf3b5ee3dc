"""`report.html` of an evaluation: its figures, what they mean, and its images, those with most errors first.

How a page looks and is written is `data_tools/pages/`'s matter; the measures are those of `training/evaluation/`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from data_tools.core.progress import Progress
from data_tools.images.decode import decode_bgr
from data_tools.pages.page import (
    NUMBER,
    PERCENT,
    TEXT,
    Box,
    Chart,
    Matrix,
    Page,
    Picture,
    Table,
)
from data_tools.pages.thumbnails import LARGE, ThumbnailBudget
from data_tools.shards.manifest import ConvertedSplit
from data_tools.shards.reader import RowReader
from training.evaluation.coco_ap import RECALLS
from training.evaluation.diagnosis import Diagnosis
from training.evaluation.error_causes import CAUSES, CORRECT, LEFT_OUT
from training.evaluation.scoring import EvaluationResult
from training.watching.visualize import ImageErrors, find_rows, image_errors

REPORT = "report.html"

LAYERS = ("truth", "right detections", "wrong detections")
TAGS = (*CAUSES, "correct", "found", "left out")
_MISSED, _RIGHT, _FOUND, _LEFT_OUT = (
    TAGS.index(name) for name in ("missed", "correct", "found", "left out")
)

_BOXES_AN_IMAGE = 15
_FAINTEST = 0.05

_CAUSE_NOTES = {
    "class": "boxes of another class were found: look at the confusion matrix",
    "location": "overlap with the box of 0.1 to 0.5: larger input, better default boxes, tighter labels",
    "both": "overlap of 0.1 to 0.5 with a box of another class",
    "duplicate": "a box found twice: lower evaluate.nms_iou, boxes labelled twice",
    "background": "nothing is labelled there: labels that are missing, more images without objects",
    "missed": "boxes without any detection: more such images; small ones: larger input or tiles",
}


def evaluation_page(
    title: str,
    result: EvaluationResult,
    diagnosis: Diagnosis,
    split: ConvertedSplit | None,
    most_images: int,
) -> Page:
    """Build the page.

    Args:
        title: What was evaluated on what.
        result: The evaluation.
        diagnosis: Its measures.
        split: Where the images are; None shows boxes on a blank ground.
        most_images: Images shown at most, those with most errors first.
    """
    errors = image_errors(result, diagnosis.threshold)
    pictures = list(_pictures(result, diagnosis, errors, split, most_images))
    small = sum(p.jpeg is None for p in pictures) if split is not None else 0
    note = (
        f"{len(pictures)} of {result.truth.num_images} images, those with most errors from a score of "
        f"{diagnosis.threshold:.2f} up first. Up to {_BOXES_AN_IMAGE} detections an image from a score of "
        f"{_faintest(diagnosis):g} up."
        + (f" {small} have no thumbnail, to keep the file small." if small else "")
    )
    return Page(
        title=title,
        summary=_summary(result, diagnosis),
        tables=_tables(result, diagnosis),
        charts=_charts(result, diagnosis),
        matrices=[
            Matrix(
                f"Confusion, from a score of {diagnosis.threshold:.2f} up",
                diagnosis.sections["confusion"]["classes"],
                diagnosis.sections["confusion"]["matrix"],
                "class of the box",
                "class of the detection",
                "Large figures off the diagonal: two classes that look alike, or are labelled alike.",
            )
        ],
        pictures=pictures,
        pictures_note=note,
        layers=LAYERS,
        classes=result.truth.unique_names,
        tags=TAGS,
        tags_title="cause",
        threshold=round(diagnosis.threshold, 2),
    )


def _summary(result: EvaluationResult, diagnosis: Diagnosis) -> list[tuple[str, str]]:
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


def _tables(result: EvaluationResult, diagnosis: Diagnosis) -> list[Table]:
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
        "AP50 that would be gained if the errors of this cause alone were put right. Begin with the largest.",
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
    tables = [causes, Table("Classes", columns, rows, "Press a heading to sort.")]
    if "sizes" in sections:
        own = [
            [name, *(_known(row[k]) for k in ("AP", "AP50", "AR100")), row["num_boxes"]]
            for name, row in sections["sizes"].items()
        ]
        heads = [("side in pixels", TEXT), ("AP", PERCENT), ("AP50", PERCENT), ("AR100", PERCENT)]
        tables.append(Table("Sizes", [*heads, ("boxes", NUMBER)], own))
    return tables


def _cost(cause: dict[str, Any], size: str) -> float | None:
    value = cause["AP50_cost"][size]
    return None if value == -1.0 else value


def _charts(result: EvaluationResult, diagnosis: Diagnosis) -> list[Chart]:
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


def _pictures(
    result: EvaluationResult,
    diagnosis: Diagnosis,
    errors: ImageErrors,
    split: ConvertedSplit | None,
    most: int,
) -> Iterator[Picture]:
    truth = result.truth
    order = np.argsort(-(errors.missed + errors.wrong), kind="stable")[:most]
    boxes = _boxes_by_image(result, diagnosis)
    reader, rows, budget = None, {}, ThumbnailBudget()
    if split is not None:
        reader, rows = RowReader(split), find_rows(split, truth.image_ids[order])
    with Progress(
        "writing report.html", len(order), enabled=reader is not None and len(order) > 0
    ) as bar:
        for i in order:
            number = int(truth.image_ids[i])
            jpeg, (height, width) = None, truth.sizes[i]
            if reader is not None:
                row = reader[rows[number]]
                image, (height, width) = _reduced(row.image, int(height), int(width))
                if image is not None and budget.num_bytes:
                    jpeg = budget.make(image)
            mine = boxes.get(int(i), [])
            if not height or not width:  # a file that does not say how large its images are
                ends = [(b.xywh[0] + b.xywh[2], b.xywh[1] + b.xywh[3]) for b in mine]
                width = max([x for x, _ in ends], default=1)
                height = max([y for _, y in ends], default=1)
            note = f"{errors.missed[i]} missed, {errors.wrong[i]} wrong"
            name = (truth.file_names[i] if truth.file_names else "") or str(number)
            yield Picture(name, int(np.ceil(width)), int(np.ceil(height)), jpeg, note, mine)
            bar.update()


def _reduced(
    encoded: npt.NDArray[np.uint8], height: int, width: int
) -> tuple[npt.NDArray[np.uint8] | None, tuple[int, int]]:
    """Decode at a fraction of the size that is still enough for a thumbnail; (image, full size)."""
    longer = max(height, width)
    reduction = next((r for r in (8, 4, 2) if longer // r >= LARGE), 1) if longer else 1
    image = decode_bgr(encoded, reduction)
    if image is not None and not longer:
        height, width = image.shape[:2]
    return image, (height, width)


def _faintest(diagnosis: Diagnosis) -> float:
    return min(_FAINTEST, diagnosis.threshold)


def _boxes_by_image(result: EvaluationResult, diagnosis: Diagnosis) -> dict[int, list[Box]]:
    """Return the truth of each image (its position), then its best detections, best last."""
    truth, matches, causes = result.truth, result.matches, diagnosis.causes
    boxes: dict[int, list[Box]] = {}
    for g in range(len(truth.area)):
        lost = matches.found_score[g] < diagnosis.threshold
        tag = _LEFT_OUT if truth.iscrowd[g] else _MISSED if lost else _FOUND
        box = Box(0, int(truth.category[g]), tag, truth.boxes_xywh_px[g])
        boxes.setdefault(int(truth.image[g]), []).append(box)
    shown = matches.by_score[matches.score[matches.by_score] >= _faintest(diagnosis)]
    count = np.zeros(truth.num_images, np.int64)
    kept: dict[int, list[Box]] = {}
    for d in shown:
        i = int(matches.image[d])
        if count[i] == _BOXES_AN_IMAGE:
            continue
        count[i] += 1
        cause = int(causes.cause[d])
        tag = {CORRECT: _RIGHT, LEFT_OUT: _LEFT_OUT}.get(cause, cause)
        layer = 1 if cause in (CORRECT, LEFT_OUT) else 2
        score = min(max(float(matches.score[d]), 0.0), 1.0)
        kept.setdefault(i, []).append(
            Box(layer, int(matches.category[d]), tag, result.detections.boxes_xywh_px[d], score)
        )
    for i, found in kept.items():
        boxes.setdefault(i, []).extend(reversed(found))
    return boxes
