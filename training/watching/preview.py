"""A picture of what the network sees: augmented images, their boxes and the anchors matched to
them.

The batches are the pipeline's own; nothing is trained.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from data_tools.converted.file_names import file_names
from data_tools.core.boxes import yxyx_from_cyxhw
from data_tools.core.where_to_look import where_to_look
from data_tools.images.draw import colour_of, draw_boxes, save_png
from data_tools.images.sheet import Layout, contact_sheet, layout, scaled_to_cell
from data_tools.pipeline.batches import TrainBatch
from data_tools.shards.manifest import ConvertedSplit
from training.boxes.codec import decode_boxes
from training.nets.anchors import default_boxes
from training.process.world import World
from training.settings import TrainSettings

PREVIEW = "preview.png"


def draw_preview(settings: TrainSettings, split: ConvertedSplit) -> int:
    """Draw the first `preview` images of the run's first batches to OUTPUT/preview.png.

    Left: the image with the boxes that its targets decode to. Right: the anchors that are positive.

    Args:
        settings: All settings.
        split: The training split.

    Returns:
        The exit code, 0.
    """
    from training.learning.assemble import build_pipeline

    count = settings.preview
    # One size, for a sheet of tiles: with `augment.sizes` that of the closing epochs.
    augment = dataclasses.replace(settings.augment, sizes=[])
    settings = dataclasses.replace(
        settings, batch_size=min(settings.batch_size, count), augment=augment
    )
    pipeline = build_pipeline(settings, split, World())
    anchors = default_boxes(settings.model)
    names = {info.label: info.name for info in split.classes}
    height, width = settings.model.image_size
    cells = layout(2 * count, width / height, group=2)
    tiles: list[NDArray[np.uint8]] = []
    notes: list[str] = []
    ids: list[int] = []
    step = 0
    while len(ids) < count:
        batch = pipeline.batch_at(step)
        step += 1
        for index in range(min(len(batch.image_ids), count - len(ids))):
            left, right, note = draw_image(batch, index, anchors, settings, names, cells)
            tiles += [left, right]
            notes.append(note)
            ids.append(int(batch.image_ids[index]))
    files = file_names(split, ids)
    captions = [
        text for k, note in zip(ids, notes, strict=True) for text in (files.get(k, str(k)), note)
    ]
    output = Path(settings.output)
    output.mkdir(parents=True, exist_ok=True)
    title = f"{split.manifest.split}: as the network sees it; right: anchors matched"
    save_png(output / PREVIEW, contact_sheet(tiles, captions, cells=cells, title=title))
    print(where_to_look(pictures=[output / PREVIEW]))
    return 0


def draw_image(
    batch: TrainBatch,
    index: int,
    anchors_cyxhw_rel: NDArray[np.float32],
    settings: TrainSettings,
    names: dict[int, str],
    cells: Layout,
) -> tuple[NDArray[np.uint8], NDArray[np.uint8], str]:
    """Draw one image of a batch twice: with its boxes, and with its matched anchors.

    Returns:
        Two (H, W, 3) uint8 BGR pictures and a note of counts.
    """
    labels = batch.labels[index]
    positive = np.flatnonzero(labels > 0)
    image_bgr = np.ascontiguousarray(batch.images[index].transpose(1, 2, 0)[:, :, ::-1])
    height, width = image_bgr.shape[:2]
    size = np.array([height, width, height, width], np.float32)
    scaling = tuple(settings.model.prior_scaling)
    targets = batch.loc_targets[index]
    # With model.assign=tal the targets are the objects, and anchors are chosen in the step.
    listed = settings.model.assign == "tal"
    boxes = targets if listed else decode_boxes(targets, anchors_cyxhw_rel, scaling)
    boxes = boxes[positive] * size
    # Anchors of one object decode to its box up to rounding: draw it once.
    _, first = np.unique(np.round(boxes), axis=0, return_index=True)
    shown = labels[positive[first]]

    def with_boxes(image: NDArray[np.uint8], scale: float) -> NDArray[np.uint8]:
        captions = [names.get(int(k), "?") for k in shown]
        return draw_boxes(image, boxes[first] * scale, shown, captions, list_width=cells.tile_width)

    def with_anchors(image: NDArray[np.uint8], scale: float) -> NDArray[np.uint8]:
        image = image.copy()
        for anchor in () if listed else positive:
            corners = yxyx_from_cyxhw(anchors_cyxhw_rel[anchor][None])[0] * size * scale
            y1, x1, y2, x2 = (int(v) for v in corners.round())
            cv2.rectangle(image, (x1, y1), (x2, y2), colour_of(int(labels[anchor])), 1)
        return image

    ignored = int((labels < 0).sum())
    anchors = "anchors are chosen in the step" if listed else f"{len(positive)} anchors"
    note = f"{len(first)} boxes, {anchors}, {ignored} not counted"
    left = scaled_to_cell(image_bgr, cells, with_boxes)
    return left, scaled_to_cell(image_bgr, cells, with_anchors), note
