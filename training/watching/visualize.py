"""Pictures of detections: truth and prediction side by side on a sheet, and the images with the
most errors.

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
from data_tools.images.draw import LEFT_OUT, MISSED, RIGHT, WRONG, Colour, draw_boxes, save_png
from data_tools.images.sheet import contact_sheet, layout, scaled_to_cell, usual_aspect
from data_tools.shards.manifest import ConvertedSplit
from data_tools.shards.reader import RowReader
from training.boxes.postprocess import one_name
from training.evaluation.ground_truth import GroundTruth
from training.evaluation.scoring import EvaluationResult
from training.evaluation.settings import THRESHOLD

Image = npt.NDArray[np.uint8]

_VERIFY = "Check the set: python convert.py verify"
LEGEND: tuple[tuple[str, Colour], ...] = (
    ("found, right", RIGHT),
    ("missed", MISSED),
    ("wrong", WRONG),
    ("a crowd: not counted", LEFT_OUT),
)
_PAIRS_ON_SHEET = 4  # more would be too small to see on a screen


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
    lost = counts & (matches.best_score < threshold)
    wrong = matches.counts & (matches.owner < 0) & (matches.score >= threshold)
    return ImageErrors(
        np.bincount(truth.image[lost], minlength=truth.num_images),
        np.bincount(matches.image[wrong], minlength=truth.num_images),
    )


def write_prediction_sheet(
    path: Path,
    split: ConvertedSplit,
    result: EvaluationResult,
    count: int,
) -> None:
    """Write a contact sheet of images spread evenly over the split: truth left, prediction right.

    Args:
        path: PNG to write.
        split: The split that was scored.
        result: Its evaluation.
        count: Number of images.
    """
    chosen = np.unique(np.linspace(0, result.truth.num_images - 1, count).round().astype(np.int64))
    title = (
        f"{split.manifest.split}: left ground truth, right detections from {THRESHOLD:.2f}, "
        "one name each"
    )
    save_png(path, sheet(split, result, chosen, THRESHOLD, title, one_name_each=True))


def write_worst_images(
    path: Path, split: ConvertedSplit, result: EvaluationResult, count: int
) -> list[Path]:
    """Write contact sheets of the images with the most errors, each as large as a screen; none
    without errors.

    Returns:
        The sheets: `path`, then `NAME-2.png` and so on.
    """
    errors = image_errors(result)
    chosen = errors.worst(count)
    sheets = []
    for page, first in enumerate(range(0, len(chosen), _PAIRS_ON_SHEET), 1):
        part = chosen[first : first + _PAIRS_ON_SHEET]
        notes = [f"{errors.missed[i]} missed, {errors.wrong[i]} wrong" for i in part]
        title = (
            f"{split.manifest.split}: most errors first, {first + 1} to {first + len(part)} of "
            f"{len(chosen)}; left ground truth, right detections"
        )
        target = path if page == 1 else path.with_name(f"{path.stem}-{page}{path.suffix}")
        save_png(target, sheet(split, result, part, THRESHOLD, title, notes))
        sheets.append(target)
    return sheets


def sheet(
    split: ConvertedSplit,
    result: EvaluationResult,
    chosen: npt.NDArray[np.int64],
    threshold: float,
    title: str,
    notes: Sequence[str] | None = None,
    one_name_each: bool = False,
) -> Image:
    """Draw images with truth and detections side by side, right, wrong and missed boxes in their
    colours.

    Args:
        split: Where the images are.
        result: What was found on them.
        chosen: (K,) positions of the images in the truth, in the order of the sheet.
        threshold: Lowest score drawn.
        title: Line above all.
        notes: A text for each image, added to its caption.
        one_name_each: Draw one box for each object, as `predict.py` does; else all that metrics
            count.

    Returns:
        (H, W, 3) uint8 BGR.
    """
    images = read_images(split, result.truth, chosen)
    cells = layout(2 * len(images), usual_aspect(images), group=2)
    tiles: list[Image] = []
    captions: list[str] = []
    for k, (position, image) in enumerate(zip(chosen.tolist(), images, strict=True)):
        shown = Pair(result, position, threshold, cells.tile_width, one_name_each)
        tiles.append(scaled_to_cell(image, cells, shown.draw_truth))
        tiles.append(scaled_to_cell(image, cells, shown.draw_detections))
        captions.append(caption_of(result.truth, position))
        count = f"{len(shown.detections)} detections"
        captions.append(f"{count}: {notes[k]}" if notes is not None else count)
    return contact_sheet(tiles, captions, cells=cells, title=title, legend=LEGEND)


class Pair:
    """Draws the truth and the detections of one image, coloured by what they are worth at an
    overlap of 0.5.

    Args:
        result: The evaluation.
        position: The image's position in the truth.
        threshold: Lowest score of a detection that is drawn, or that finds a box.
        width: Pixels of the cell that the picture gets.
        one_name_each: Leave out a detection that a better one of another class lies on.
    """

    def __init__(
        self,
        result: EvaluationResult,
        position: int,
        threshold: float,
        width: int,
        one_name_each: bool = False,
    ) -> None:
        self.result, self.width = result, width
        self.boxes = np.flatnonzero(result.truth.image == position)
        on_image = (result.matches.image == position) & (result.matches.score >= threshold)
        chosen = np.flatnonzero(on_image)
        chosen = chosen[np.argsort(-result.matches.score[chosen], kind="stable")]
        if one_name_each:
            chosen = chosen[one_name(yxyx_from_xywh(result.detections.boxes_xywh_px[chosen]))]
        self.detections = chosen[::-1]  # best last, so that it lies on top
        self.boxes_yxyx_px = yxyx_from_xywh(result.truth.boxes_xywh_px[self.boxes])
        self.detected_yxyx_px = yxyx_from_xywh(result.detections.boxes_xywh_px[self.detections])

    def draw_truth(self, image: Image, scale: float) -> Image:
        """Draw the boxes that are labelled: found by a drawn detection, missed (broken lines), or
        of a crowd.
        """
        truth, boxes = self.result.truth, self.boxes
        missed = ~np.isin(boxes, self.result.matches.owner[self.detections])
        crowd = truth.iscrowd[boxes]
        colours = np.select([crowd, missed], [0, 1], 2)
        return draw_boxes(
            image,
            self.boxes_yxyx_px * scale,
            truth.category[boxes] + 1,
            [truth.names[c] for c in truth.category[boxes]],
            dashed=crowd | missed,
            colours=[(LEFT_OUT, MISSED, RIGHT)[k] for k in colours],
            list_width=self.width,
        )

    def draw_detections(self, image: Image, scale: float) -> Image:
        """Draw what was found: right, wrong, or on a crowd."""
        truth, matches, rows = self.result.truth, self.result.matches, self.detections
        owner = matches.owner[rows]
        on_crowd = (owner >= 0) & (truth.iscrowd[owner] if len(truth.area) else False)
        left_out = on_crowd | ~matches.counts[rows]
        colours = np.select([left_out, owner >= 0], [0, 1], 2)
        return draw_boxes(
            image,
            self.detected_yxyx_px * scale,
            matches.category[rows] + 1,
            [truth.names[c] for c in matches.category[rows]],
            matches.score[rows],
            colours=[(LEFT_OUT, RIGHT, WRONG)[k] for k in colours],
            keep_clear_yxyx_px=self.boxes_yxyx_px * scale,
            list_width=self.width,
        )


def caption_of(truth: GroundTruth, position: int) -> str:
    """Return the name of an image's file, or its id where the truth does not name it."""
    name = truth.file_names[position] if truth.file_names else ""
    return name or f"image {truth.image_ids[position]}"


def read_images(
    split: ConvertedSplit, truth: GroundTruth, chosen: npt.NDArray[np.int64]
) -> list[Image]:
    """Decode some images of a split.

    Raises:
        DataError: If one is not in the split, or does not decode.
    """
    ids = truth.image_ids[chosen]
    reader, rows = RowReader(split), find_rows(split, ids)
    images = []
    for image_id in ids.tolist():
        image = decode_bgr(reader[rows[image_id]].image)
        if image is None:
            raise DataError(
                f"{split.folder}: image {image_id} does not decode. {_VERIFY}={split.folder}"
            )
        images.append(image)
    return images


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
