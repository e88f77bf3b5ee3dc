"""Does an exported file compute what the checkpoint computes? Largest differences, detections, AP.

The files are written in `export.py` and run in `inference/exported.py`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from data_tools.images.decode import decode_bgr
from data_tools.shards.manifest import ConvertedSplit
from data_tools.shards.reader import RowReader
from training.boxes.postprocess import Protocol, detect
from training.evaluation.coco_ap import coco_scores
from training.evaluation.coco_matching import match
from training.evaluation.detection_compare import compare_detections
from training.evaluation.detection_table import DetectionTable, TableBuilder
from training.evaluation.ground_truth import read_ground_truth
from training.evaluation.settings import EvaluateSettings
from training.exporting.settings import ExportCommand
from training.inference.agreement import drawn_images, largest_difference
from training.inference.detector import Detector
from training.inference.exported import load_exported, read_metadata
from training.inference.predictor import build_predictor

_BATCH = 4

Image = npt.NDArray[np.uint8]


def compare(
    network: Any, path: Path, command: ExportCommand, split: ConvertedSplit | None
) -> dict[str, Any]:
    """Run checkpoint and exported file on the same images and compare.

    Args:
        network: The checkpoint's network.
        path: The exported file.
        command: The export's settings.
        split: Where the images come from, spread evenly; None draws scenes.

    Returns:
        The report, as in `FILE.parity.json`: `passed`, the largest differences of boxes (relative)
        and scores, the numbers of detections, how many lack a partner and how many of those
        rounding does not explain, and with a split the AP of both over the compared images.
    """
    step = command.batch_size or _BATCH
    predict = build_predictor(network, step)
    file = read_metadata(path)
    exported = load_exported(file, step)
    protocol = _protocol(command)
    # A file with NMS inside gives detections: a second NMS could only tip overlaps at the limit.
    file_protocol = dataclasses.replace(protocol, nms_iou=1.0) if command.nms else protocol
    category_ids = [c.category_id for c in file.classes]
    ours, theirs = TableBuilder(category_ids), TableBuilder(category_ids)
    box_difference = score_difference = 0.0
    unmatched = faults = 0
    ids: list[int] = []
    for batch in _batches(_images(command, split), step):
        prepare = Detector(predict, file.image_size, file.classes).prepare
        pixels = np.stack([prepare(image) for _, image in batch])
        boxes, scores = predict(pixels)
        other_boxes, other_scores = exported(pixels)
        if not command.nms:
            box_difference = max(box_difference, largest_difference(boxes, other_boxes))
            score_difference = max(score_difference, largest_difference(scores, other_scores))
        for k, (image_id, image) in enumerate(batch):
            height, width = image.shape[:2]
            mine = detect(boxes[k], scores[k], height, width, protocol)
            yours = detect(other_boxes[k], other_scores[k], height, width, file_protocol)
            compared = compare_detections(
                mine, yours, boxes[k], scores[k], (height, width), protocol, command.tolerance
            )
            unmatched += compared.unmatched
            faults += compared.faults
            ours.add(image_id, mine)
            theirs.add(image_id, yours)
            ids.append(image_id)
    tables = ours.table(), theirs.table()
    report: dict[str, Any] = {
        "format": command.format,
        "batch_size": command.batch_size,
        "images": len(ids),
        "image_source": str(split.folder) if split else "drawn scenes",
        "tolerance": command.tolerance,
        "detections": {
            "score_floor": protocol.score_floor,
            "checkpoint": len(tables[0]),
            "file": len(tables[1]),
            "unmatched": unmatched,
            "faults": faults,
        },
        "ap": _ap_delta(split, ids, tables) if split else None,
        "passed": bool(
            box_difference <= command.tolerance
            and score_difference <= command.tolerance
            and faults == 0
        ),
    }
    if not command.nms:
        report["max_box_difference"] = box_difference
        report["max_score_difference"] = score_difference
    return report


def _protocol(command: ExportCommand) -> Protocol:
    if command.nms:
        return Protocol(
            "export",
            float(np.float32(command.score_floor)),
            float(np.float32(command.nms_iou)),
            max_per_image=command.max_detections,
        )
    defaults = EvaluateSettings()
    return Protocol("export", defaults.score_floor, defaults.nms_iou)


def _images(command: ExportCommand, split: ConvertedSplit | None) -> Iterator[tuple[int, Image]]:
    if split is None:
        yield from drawn_images(command.parity_images)
        return
    reader = RowReader(split)
    count = min(command.parity_images, split.num_images)
    for index in np.unique(np.linspace(0, split.num_images - 1, count).round().astype(int)):
        row = reader[int(index)]
        image = decode_bgr(row.image)
        assert image is not None, "converted images decode"
        yield row.image_id, image


def _batches(images: Iterator[tuple[int, Image]], size: int) -> Iterator[list[tuple[int, Image]]]:
    batch: list[tuple[int, Image]] = []
    for entry in images:
        batch.append(entry)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch


def _ap_delta(
    split: ConvertedSplit, ids: list[int], tables: tuple[DetectionTable, DetectionTable]
) -> dict[str, float]:
    truth = read_ground_truth(split.annotations_path)
    truth = truth.only_images(np.isin(truth.image_ids, ids))
    # torchvision's detectors have classes that the set has not; what was found of them is compared
    # above.
    of_set = [t.where(np.isin(t.category_id, truth.category_ids)) for t in tables]
    mine, yours = (coco_scores(match(truth, table)).numbers()["AP"] for table in of_set)
    return {"checkpoint": mine, "file": yours, "delta": yours - mine, "images": truth.num_images}
