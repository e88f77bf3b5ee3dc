"""Pictures of detections: truth beside prediction on a sheet, and the images with the most errors.

Boxes are drawn by `data_tools/images/draw.py`; curves are in `curves.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from data_tools.core.boxes import yxyx_from_xywh
from data_tools.core.errors import DataError
from data_tools.images.decode import decode_bgr
from data_tools.images.draw import contact_sheet, draw_boxes, save_png
from data_tools.shards.manifest import ConvertedSplit
from data_tools.shards.reader import RowReader
from training.boxes.postprocess import one_name
from training.evaluation.detection_table import DetectionTable
from training.evaluation.ground_truth import GroundTruth
from training.evaluation.scoring import EvaluationResult

Image = npt.NDArray[np.uint8]

THRESHOLD = 0.5
"""Detections below this score are not drawn: a hundred faint boxes would hide the picture."""

_VERIFY = "Check the set: python convert.py verify"
_SMALLEST_SIDE = 480  # drawings of small images are made larger, so that captions can be read


@dataclass(frozen=True)
class ImageErrors:
    """What went wrong on each image at an overlap of 0.5, counting detections from `THRESHOLD` up.

    Args:
        missed: (I,) boxes that count and were not found.
        wrong: (I,) detections that match no box, crowds aside.
    """

    missed: npt.NDArray[np.int64]
    wrong: npt.NDArray[np.int64]

    def worst(self, count: int) -> npt.NDArray[np.int64]:
        """Return up to `count` positions of images with errors, most errors first, then by id."""
        errors = self.missed + self.wrong
        order = np.argsort(-errors, kind="stable")
        return order[errors[order] > 0][:count]


def image_errors(result: EvaluationResult, threshold: float = THRESHOLD) -> ImageErrors:
    """Count missed boxes and wrong detections of each image."""
    truth, matches = result.truth, result.matches
    counts = ~truth.iscrowd
    lost = counts & (matches.found_score < threshold)
    wrong = matches.counts & (matches.owner < 0) & (matches.score >= threshold)
    return ImageErrors(
        np.bincount(truth.image[lost], minlength=truth.num_images),
        np.bincount(matches.image[wrong], minlength=truth.num_images),
    )


def write_prediction_sheet(
    path: Path,
    split: ConvertedSplit,
    result: EvaluationResult,
    count: int = 12,
    threshold: float = THRESHOLD,
) -> None:
    """Write a contact sheet of images spread evenly over the split: truth left, prediction right.

    Args:
        path: PNG to write.
        split: The split that was scored.
        result: Its evaluation.
        count: Number of images.
        threshold: Lowest score drawn.
    """
    chosen = np.unique(np.linspace(0, result.truth.num_images - 1, count).round().astype(np.int64))
    ids = result.truth.image_ids[chosen]
    title = f"{split.manifest.split}: left ground truth, right detections from {threshold:.2f}, one name each"
    table = sheet(split, result.truth, result.detections, ids, threshold, title, one_name_each=True)
    save_png(path, table)


def write_worst_images(
    path: Path, split: ConvertedSplit, result: EvaluationResult, count: int = 16
) -> int:
    """Write a contact sheet of the images with the most errors; nothing if there are no errors.

    Returns:
        The number of images on it.
    """
    errors = image_errors(result)
    chosen = errors.worst(count)
    if not len(chosen):
        return 0
    notes = [f"{errors.missed[i]} missed, {errors.wrong[i]} wrong" for i in chosen]
    title = f"{split.manifest.split}: most errors first; left ground truth, right detections"
    ids = result.truth.image_ids[chosen]
    save_png(path, sheet(split, result.truth, result.detections, ids, THRESHOLD, title, notes))
    return len(chosen)


def sheet(
    split: ConvertedSplit,
    truth: GroundTruth,
    detections: DetectionTable,
    image_ids: npt.NDArray[np.int64],
    threshold: float,
    title: str,
    notes: Sequence[str] | None = None,
    one_name_each: bool = False,
) -> Image:
    """Draw images with truth and detections side by side.

    Args:
        split: Where the images are.
        truth: Their boxes.
        detections: What was found.
        image_ids: (K,) which images, in the order of the sheet.
        threshold: Lowest score drawn.
        title: Line above all.
        notes: A text for each image, added to its caption.
        one_name_each: Draw one box for each object, as `predict.py` does; else all that metrics count.

    Returns:
        (H, W, 3) uint8 BGR.
    """
    label_of = {int(c): k + 1 for k, c in enumerate(truth.category_ids)}
    reader, rows = RowReader(split), find_rows(split, image_ids)
    tiles: list[Image] = []
    captions: list[str] = []
    for k, image_id in enumerate(image_ids):
        row = reader[rows[int(image_id)]]
        image = decode_bgr(row.image)
        if image is None:
            raise DataError(
                f"{split.folder}: image {image_id} does not decode. {_VERIFY}={split.folder}"
            )
        scale, image = legible(image)
        boxes = np.flatnonzero(truth.image_ids[truth.image] == image_id)
        tiles.append(
            draw_boxes(
                image,
                yxyx_from_xywh(truth.boxes_xywh_px[boxes]) * scale,
                truth.category[boxes] + 1,
                [truth.names[c] for c in truth.category[boxes]],
                dashed=truth.iscrowd[boxes],
            )
        )
        found = np.flatnonzero((detections.image_id == image_id) & (detections.score >= threshold))
        if one_name_each:
            found = found[one_name(yxyx_from_xywh(detections.boxes_xywh_px[found]))]
        labels = [label_of[int(c)] for c in detections.category_id[found[::-1]]]
        tiles.append(
            draw_boxes(
                image,
                yxyx_from_xywh(detections.boxes_xywh_px[found[::-1]]) * scale,
                labels,  # best last, so that it lies on top
                [truth.names[label - 1] for label in labels],
                detections.score[found[::-1]],
            )
        )
        note = f": {notes[k]}" if notes is not None else ""
        captions += [f"{image_id}{note}", f"{len(found)} detections"]
    return contact_sheet(tiles, captions, columns=4, tile_height=420, tile_width=420, title=title)


def legible(image: Image) -> tuple[float, Image]:
    """Enlarge a small image, so that captions can be read; returns the scale and the image."""
    import cv2

    scale = max(1.0, _SMALLEST_SIDE / min(image.shape[:2]))
    if scale == 1.0:
        return scale, image
    size = round(image.shape[1] * scale), round(image.shape[0] * scale)
    return scale, cv2.resize(image, size, interpolation=cv2.INTER_CUBIC)


def find_rows(split: ConvertedSplit, image_ids: npt.NDArray[np.int64]) -> dict[int, int]:
    """Find the rows of some images without reading the images.

    Returns:
        Image id to row.

    Raises:
        DataError: If an image is not in the split.
    """
    wanted = set(image_ids.tolist())
    rows = {k: row for row, k in enumerate(RowReader(split).image_ids().tolist()) if k in wanted}
    if len(rows) != len(wanted):
        missing = sorted(wanted - set(rows))[:5]
        raise DataError(
            f"{split.folder}: images {missing} are listed but have no row. {_VERIFY}={split.folder}"
        )
    return rows
