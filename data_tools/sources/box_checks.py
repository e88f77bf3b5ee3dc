"""Checks of boxes: against the list of categories, against sense, and against the image they are
in.

Images themselves are checked in `convert/prepare_image.py`. What is done about a defect is the
policy's choice.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from data_tools.core import boxes
from data_tools.core.errors import DataError
from data_tools.core.sample import Sample
from data_tools.sources.box_doubts import doubtful_boxes, whole_picture
from data_tools.sources.defects import DefectLog
from data_tools.sources.table import SampleTable

_SLACK_PX = 0.01
"""COCO rounds its boxes to 0.01 pixels: a box that sticks out by less is cut without a word."""

_LARGEST_SHARE = 1.01
"""Shares are 0..1, and a little more where a box sticks out."""

LARGEST_PX = 1e9
"""No image is so large. Areas of still larger boxes are infinite, and shares of those no numbers.
"""


def check_table(
    table: SampleTable, categories: Mapping[int, str], file: str, log: DefectLog
) -> SampleTable:
    """Check all boxes of a split as far as that goes without the images.

    Args:
        table: The split.
        categories: The categories that exist: id -> name.
        file: The annotation file, for reports; empty takes each image's own file name.
        log: Where defects go.

    Returns:
        The table without the boxes that are left out.
    """
    box = table.boxes_yxyx_px
    bad = np.zeros(len(box), bool)
    image_of = table.image_of_box()
    numbers, areas = table.annotation_ids.copy(), table.areas_px.copy()
    # pycocotools takes annotation id 0 for "no match": such a box would count as missed for ever.
    # Zero everywhere, as some exporters write it, is no id at all; findings name the new ones, so
    # that each is about one box.
    zero = numbers == 0
    numbers[zero] = int(numbers.max(initial=0)) + 1 + np.arange(int(zero.sum()))

    def report(rows: Iterable[int], kind: str, words: Callable[[int], str]) -> list[int]:
        """Note a kind of defect for the boxes that are still in; return those to be fixed."""
        fixed = []
        for k in rows:
            if bad[k]:
                continue
            action = log.add(
                kind,
                file or table.file_names[image_of[k]],
                words(k),
                image_id=int(table.image_ids[image_of[k]]),
                annotation_id=int(numbers[k]),
            )
            if action == "fix":
                fixed.append(int(k))
            elif action != "keep":
                bad[k] = True
        return fixed

    def corners(k: int) -> str:
        return "[y1, x1, y2, x2] = [" + ", ".join(f"{v:g}" for v in box[k]) + "]"

    def category(k: int) -> str:
        return f"there is no category {log.called('category', int(table.category_ids[k]))}"

    def report_all(mask: npt.NDArray[np.bool_], kind: str, after: str = "") -> list[int]:
        return report(np.flatnonzero(mask), kind, lambda k: corners(k) + after)

    known = np.isin(table.category_ids, np.array(sorted(categories), np.int64))
    report(np.flatnonzero(~known), "unknown_category", category)
    with np.errstate(invalid="ignore"):
        finite = (np.abs(box) < LARGEST_PX).all(axis=1)
    report_all(~finite, "box_not_finite")
    with np.errstate(invalid="ignore"):
        flat = (box[:, 2] <= box[:, 0]) | (box[:, 3] <= box[:, 1])
    report_all(flat & finite, "box_degenerate")
    first = np.zeros(len(box), bool)
    first[np.unique(numbers, return_index=True)[1]] = True
    again = report(
        np.flatnonzero(~first), "duplicate_annotation_id", lambda _: "the id was used before"
    )
    for k in again:
        numbers[k] = int(numbers.max()) + 1
    copies = _copies(table, image_of)
    report_all(copies, "duplicate_box", " stands there already")
    to_fix = report(
        np.flatnonzero(areas <= 0), "area_not_positive", lambda k: f"of the box {corners(k)}"
    )
    doubts = doubtful_boxes(table, known & finite & ~flat & ~bad & ~copies, categories)
    for k, kind, words in doubts:
        to_fix += report([k], kind, lambda _, words=words: words)  # type: ignore[misc]
    areas[to_fix] = boxes.area(box[to_fix])
    return replace(table, annotation_ids=numbers, areas_px=areas).keep_boxes(~bad)


def refuse_shares(table: SampleTable, digests: Collection[str]) -> None:
    """Refuse a split whose boxes are shares of the images' sizes where pixels are expected.

    Args:
        table: The split.
        digests: The files that were read.

    Raises:
        DataError: If all corners lie within a pixel of the images' corner.
    """
    box = table.boxes_yxyx_px
    if table.relative or not len(box):
        return
    with np.errstate(invalid="ignore"):
        inside = (np.abs(box) <= _LARGEST_SHARE).all(axis=1)
        solid = (box[:, 2] > box[:, 0]) & (box[:, 3] > box[:, 1])
    if not (inside | ~solid).all() or not solid.any():
        return
    values = ", ".join(f"{v:g}" for v in box[solid][0])
    raise DataError(
        f"{next(iter(digests), table.root)}: all {len(box)} boxes lie within one pixel, for "
        f"instance [y1, x1, y2, x2] = [{values}]: they are shares of the images' sizes, and this "
        "layout has pixels. Multiply them by the images' widths and heights, or choose a layout "
        "with shares (dataset=yolo, dataset=open_images)."
    )


def _copies(table: SampleTable, image_of: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    """Return which boxes are exact copies of an earlier one: (B,)."""
    rows = np.column_stack(
        [image_of, table.category_ids, table.iscrowd, (table.boxes_yxyx_px + 0.0).view(np.int64)]
    ).astype(np.int64)  # (B, 7)
    copies = np.zeros(len(rows), bool)
    with np.errstate(over="ignore"):
        mixed = (rows * (2654435761 ** np.arange(1, 8, dtype=np.int64) | 1)).sum(axis=1)
    # Nearly all rows differ already in one mixed number; only the others are compared whole.
    _, which, counts = np.unique(mixed, return_inverse=True, return_counts=True)
    maybe = np.flatnonzero(counts[which] > 1)
    if len(maybe):
        copies[maybe] = True
        copies[maybe[np.unique(rows[maybe], axis=0, return_index=True)[1]]] = False
    return copies


def boxes_fit(table: SampleTable) -> npt.NDArray[np.bool_]:
    """Return for each image whether its size is declared, all its boxes lie within it, and none is
    the whole of it: (I,).

    Nearly all are so; `fit_boxes` need only look at the others, and at images of another size.
    """
    image_of = table.image_of_box()
    size = np.stack([table.heights, table.widths], axis=1).astype(np.float64)
    box = table.boxes_yxyx_px
    inside = (box[:, :2] >= 0).all(axis=1) & (box[:, 2:] <= size[image_of]).all(axis=1)
    inside &= (box[:, 2:] > box[:, :2]).all(axis=1) & (not table.relative)
    inside &= ~whole_picture(box, size[image_of]) | table.iscrowd
    fit = (size > 0).all(axis=1)
    fit[image_of[~inside]] = False
    return fit


def fit_boxes(sample: Sample, height: int, width: int, log: DefectLog) -> Sample:
    """Check a sample's boxes against its image's true size and cut those that stick out.

    Args:
        sample: The sample; its boxes are finite and have an area.
        height: The image's height in pixels, in the frame of the boxes.
        width: Its width.
        log: Where defects go.

    Returns:
        The sample with that size and the boxes that are kept.
    """
    box = sample.boxes_yxyx_px
    if not len(box):
        return replace(sample, height=height, width=width)
    clipped = boxes.clip(box, height, width)
    over = np.abs(clipped - box).max(axis=1)
    keep = np.ones(len(box), bool)
    areas = sample.areas_px
    if (over > 0).any():
        inside = (clipped[:, 2] > clipped[:, 0]) & (clipped[:, 3] > clipped[:, 1])
        share = boxes.area(clipped) / np.maximum(boxes.area(box), 1e-12)
        areas = np.where(over > _SLACK_PX, areas * share, areas)
        for k in np.flatnonzero((over > _SLACK_PX) | ~inside):
            wanted = log.action("box_outside")
            action = wanted if inside[k] or wanted == "error" else "skip"
            values = "[" + ", ".join(f"{v:g}" for v in box[k]) + "]"
            log.add(
                "box_outside",
                sample.file_name,
                f"[y1, x1, y2, x2] = {values} in an image of height {height}, width {width}",
                image_id=sample.image_id,
                annotation_id=int(sample.annotation_ids[k]),
                action=action,
            )
            keep[k] = action in ("clip", "keep")
        if log.action("box_outside") == "keep":
            clipped, areas = box, sample.areas_px
    _note_whole(sample, clipped, keep, height, width, log)
    return replace(
        sample,
        height=height,
        width=width,
        boxes_yxyx_px=clipped[keep],
        category_ids=sample.category_ids[keep],
        iscrowd=sample.iscrowd[keep],
        difficult=sample.difficult[keep],
        areas_px=areas[keep],
        annotation_ids=sample.annotation_ids[keep],
    )


def _note_whole(
    sample: Sample,
    clipped: npt.NDArray[np.floating],
    keep: npt.NDArray[np.bool_],
    height: int,
    width: int,
    log: DefectLog,
) -> None:
    """Note boxes of the whole picture; take those that the policy leaves out from `keep`."""
    whole = whole_picture(clipped, np.array([height, width], np.float64))
    for k in np.flatnonzero(whole & keep & ~sample.iscrowd):
        values = ", ".join(f"{v:g}" for v in clipped[k])
        action = log.add(
            "box_whole_image",
            sample.file_name,
            f"[y1, x1, y2, x2] = [{values}] in an image of height {height}, width {width}",
            image_id=sample.image_id,
            annotation_id=int(sample.annotation_ids[k]),
        )
        keep[k] = action == "keep"
