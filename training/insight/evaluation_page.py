"""`report.html` of an evaluation: its figures, what they mean, and its images, those with most
errors first.

How a page looks and is written is `data_tools/pages/`'s matter; the measures are those of
`training/evaluation/`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from data_tools.core.progress import Progress
from data_tools.images.decode import decode_bgr
from data_tools.pages.page import (
    Box,
    Matrix,
    Page,
    Picture,
)
from data_tools.pages.thumbnails import LARGE, ThumbnailBudget
from data_tools.shards.manifest import ConvertedSplit
from data_tools.shards.reader import RowReader
from training.evaluation.diagnosis import Diagnosis
from training.evaluation.error_causes import CAUSES, CORRECT, LEFT_OUT
from training.evaluation.scoring import EvaluationResult
from training.insight.evaluation_tables import charts, summary, suspects_table, tables
from training.insight.suspects import Suspect
from training.watching.visualize import ImageErrors, find_rows, image_errors

REPORT = "report.html"

LAYERS = ("truth", "right detections", "wrong detections")
TAGS = (*CAUSES, "correct", "found", "left out")
_MISSED, _RIGHT, _DETECTED, _LEFT_OUT = (
    TAGS.index(name) for name in ("missed", "correct", "found", "left out")
)

_BOXES_AN_IMAGE = 15
_FAINTEST = 0.05


def evaluation_page(
    title: str,
    result: EvaluationResult,
    diagnosis: Diagnosis,
    suspects: Sequence[Suspect],
    split: ConvertedSplit | None,
    most_images: int,
) -> Page:
    """Build the page.

    Args:
        title: What was evaluated on what.
        result: The evaluation.
        diagnosis: Its measures.
        suspects: Labels in doubt, the most doubtful first.
        split: Where the images are; None shows boxes on a blank ground.
        most_images: Images shown at most, those with most errors first.
    """
    errors = image_errors(result, diagnosis.threshold)
    pictures = list(_pictures(result, diagnosis, errors, split, most_images))
    small = sum(p.jpeg is None for p in pictures) if split is not None else 0
    note = (
        f"{len(pictures)} of {result.truth.num_images} images, those with most errors from a score "
        f"of {diagnosis.threshold:.2f} up first. Up to {_BOXES_AN_IMAGE} detections an image from "
        f"a score of {_faintest(diagnosis):g} up."
        + (f" {small} have no thumbnail, to keep the file small." if small else "")
    )
    return Page(
        title=title,
        summary=summary(result, diagnosis),
        tables=[*tables(result, diagnosis), *suspects_table(result, suspects)],
        charts=charts(result, diagnosis),
        matrices=[
            Matrix(
                f"Confusion, from a score of {diagnosis.threshold:.2f} up",
                diagnosis.sections["confusion"]["classes"],
                diagnosis.sections["confusion"]["matrix"],
                "class of the box",
                "class of the detection",
                "Large figures off the diagonal: two classes that look alike, or are labelled "
                "alike.",
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
        lost = matches.best_score[g] < diagnosis.threshold
        tag = _LEFT_OUT if truth.iscrowd[g] else _MISSED if lost else _DETECTED
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
    for i, detections in kept.items():
        boxes.setdefault(i, []).extend(reversed(detections))
    return boxes
