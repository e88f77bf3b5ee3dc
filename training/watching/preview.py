"""A picture of what the network sees: augmented images, their boxes and the anchors matched to them.

The batches are the pipeline's own; nothing is trained.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from data_tools.images.draw import colour_of, contact_sheet, draw_boxes, save_png
from data_tools.pipeline.pipeline import TrainBatch
from data_tools.shards.manifest import ConvertedSplit
from training.settings import TrainSettings

PREVIEW = "preview.png"
_TILE = 480


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
    from training.nets.anchors import default_boxes
    from training.process.world import World

    count = settings.preview
    settings = dataclasses.replace(settings, batch_size=min(settings.batch_size, count))
    pipeline = build_pipeline(settings, split, World())
    anchors = default_boxes(settings.model)
    names = {info.label: info.name for info in split.classes}
    tiles: list[NDArray[np.uint8]] = []
    captions: list[str] = []
    step = 0
    while len(captions) < 2 * count:
        batch = pipeline.batch_at(step)
        step += 1
        for place in range(min(len(batch.image_ids), count - len(captions) // 2)):
            left, right, note = draw_image(batch, place, anchors, settings, names)
            tiles += [left, right]
            captions += [f"image {batch.image_ids[place]}", note]
    output = Path(settings.output)
    output.mkdir(parents=True, exist_ok=True)
    title = f"{split.manifest.split}: as the network sees it; right: anchors matched"
    picture = contact_sheet(
        tiles, captions, columns=4, tile_height=_TILE, tile_width=_TILE, title=title
    )
    save_png(output / PREVIEW, picture)
    print(output / PREVIEW)
    return 0


def draw_image(
    batch: TrainBatch,
    place: int,
    anchors_cyxhw_rel: NDArray[np.float32],
    settings: TrainSettings,
    names: dict[int, str],
) -> tuple[NDArray[np.uint8], NDArray[np.uint8], str]:
    """Draw one image of a batch twice: with its boxes, and with its matched anchors.

    Returns:
        Two (H, W, 3) uint8 BGR pictures and a note of counts.
    """
    import cv2

    from data_tools.core.boxes import yxyx_from_cyxhw
    from training.boxes.codec import decode_boxes

    labels = batch.labels[place]
    positive = np.flatnonzero(labels > 0)
    image_bgr = np.ascontiguousarray(batch.images[place].transpose(1, 2, 0)[:, :, ::-1])
    image_bgr = cv2.resize(image_bgr, None, fx=2, fy=2, interpolation=cv2.INTER_CUBIC)
    height, width = image_bgr.shape[:2]
    scale = np.array([height, width, height, width], np.float32)
    scaling = tuple(settings.model.prior_scaling)
    boxes = decode_boxes(batch.loc_targets[place], anchors_cyxhw_rel, scaling)[positive] * scale
    # Anchors of one object decode to its box up to rounding: draw it once.
    _, first = np.unique(np.round(boxes), axis=0, return_index=True)
    shown = labels[positive[first]]
    left = draw_boxes(image_bgr, boxes[first], shown, [names.get(int(k), "?") for k in shown])
    right = image_bgr.copy()
    for anchor in positive:
        y1, x1, y2, x2 = (yxyx_from_cyxhw(anchors_cyxhw_rel[anchor][None])[0] * scale).round()
        corners = (int(x1), int(y1)), (int(x2), int(y2))
        cv2.rectangle(right, *corners, colour_of(int(labels[anchor])), 1)
    ignored = int((labels < 0).sum())
    return left, right, f"{len(first)} boxes, {len(positive)} anchors, {ignored} not counted"
