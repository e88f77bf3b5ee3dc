"""Contact sheet of the labels most in doubt: each with its box and the detection that raises the
doubt.

Which labels those are is found in `suspects.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from data_tools.core.boxes import yxyx_from_xywh
from data_tools.images.decode import decode_bgr
from data_tools.images.draw import Image, draw_boxes, save_png
from data_tools.images.sheet import contact_sheet, layout, scaled_to_cell, usual_aspect
from data_tools.shards.manifest import ConvertedSplit
from data_tools.shards.reader import RowReader
from training.evaluation.scoring import EvaluationResult
from training.insight.suspects import Suspect
from training.watching.visualize import caption_of, find_rows


def write_suspects_sheet(
    path: Path, split: ConvertedSplit, result: EvaluationResult, suspects: Sequence[Suspect]
) -> None:
    """Draw suspects, ranked as given: what is labelled as a solid box, what was found as a dashed
    one.
    """
    truth = result.truth
    ids = truth.image_ids[[s.image for s in suspects]]
    reader, rows = RowReader(split), find_rows(split, np.unique(ids))
    images = [decode_bgr(reader[rows[int(number)]].image) for number in ids]
    cells = layout(len(images), usual_aspect([i for i in images if i is not None]))
    tiles, captions = [], []
    for rank, (s, image) in enumerate(zip(suspects, images, strict=True), 1):
        if image is None:
            continue  # verify says so; a sheet of doubts is no place to stop
        tiles.append(scaled_to_cell(image, cells, _drawing(s, result, cells.tile_width)))
        kind = s.kind.replace("_", " ")
        captions.append(f"{rank}. {kind}, {s.suspicion:.2f}, {caption_of(truth, s.image)}")
    title = f"{split.manifest.split}: labels in doubt; solid as labelled, dashed as found"
    save_png(path, contact_sheet(tiles, captions, cells=cells, title=title))


def _drawing(s: Suspect, result: EvaluationResult, width: int) -> Callable[[Image, float], Image]:
    truth, matches = result.truth, result.matches
    boxes, labels, names, dashed = [], [], [], []
    if s.box >= 0:
        boxes.append(truth.boxes_xywh_px[s.box])
        labels.append(int(truth.category[s.box]) + 1)
        names.append(f"label {truth.names[truth.category[s.box]]}")
        dashed.append(False)
    if s.detection >= 0:
        boxes.append(result.detections.boxes_xywh_px[s.detection])
        labels.append(int(matches.category[s.detection]) + 1)
        name = truth.names[matches.category[s.detection]]
        names.append(f"found {name} {matches.score[s.detection]:.2f}")
        dashed.append(True)
    corners = yxyx_from_xywh(np.array(boxes))
    others = yxyx_from_xywh(truth.boxes_xywh_px[truth.image == s.image])

    def draw(image: Image, scale: float) -> Image:
        return draw_boxes(
            image, corners * scale, labels, names, dashed=dashed,
            keep_clear_yxyx_px=others * scale, list_width=width,
        )  # fmt: skip

    return draw
