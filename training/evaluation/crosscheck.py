"""COCO's numbers once more, by pycocotools: an independent witness to `coco_ap.py`.

Slower by an order of magnitude and heavy on memory, so only on request (`crosscheck=true`).
"""

from __future__ import annotations

import contextlib
import io
from pathlib import Path

import numpy as np

from data_tools.core.errors import DataError
from training.evaluation.coco_ap import NAMES
from training.evaluation.detection_table import DetectionTable
from training.evaluation.scoring import EvaluationResult


def pycocotools_numbers(annotations_path: Path, table: DetectionTable) -> dict[str, float]:
    """Return COCO's twelve numbers as pycocotools computes them.

    Args:
        annotations_path: COCO annotation file.
        table: Detections.
    """
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(str(annotations_path))
        for annotation in truth.dataset["annotations"]:
            # pycocotools stops at an annotation that lacks these.
            annotation.setdefault("iscrowd", 0)
            annotation.setdefault("area", annotation["bbox"][2] * annotation["bbox"][3])
        if not len(table):
            counted = any(not a["iscrowd"] for a in truth.dataset["annotations"])
            return dict.fromkeys(NAMES, 0.0 if counted else -1.0)
        rows = np.column_stack(
            [table.image_id, table.boxes_xywh_px, table.score, table.category_id]
        )
        evaluation = COCOeval(truth, truth.loadRes(rows), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return dict(zip(NAMES, (float(v) for v in evaluation.stats), strict=True))


def compare_with_pycocotools(annotations_path: Path, result: EvaluationResult) -> str:
    """Score an evaluation's detections again and compare.

    Returns:
        A line for the user.

    Raises:
        DataError: If a number differs by more than 1e-9.
    """
    theirs = pycocotools_numbers(annotations_path, result.detections)
    ours = result.metrics["coco"]
    differ = {n: (ours[n], theirs[n]) for n in NAMES if abs(ours[n] - theirs[n]) > 1e-9}
    if differ and len(result.detections):
        raise DataError(
            f"pycocotools computes other numbers (ours, theirs): {differ}. That is a mistake of "
            "this project: please report it with detections.json and annotations.json."
        )
    largest = max(abs(ours[n] - theirs[n]) for n in NAMES)
    return f"pycocotools agrees: twelve numbers, largest difference {largest:.1e}"
