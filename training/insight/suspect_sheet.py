"""Contact sheet of the labels most in doubt: each with its box and the detection that raises the doubt.

Which labels those are is found in `suspects.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from data_tools.core.boxes import yxyx_from_xywh
from data_tools.images.decode import decode_bgr
from data_tools.images.draw import contact_sheet, draw_boxes, save_png
from data_tools.shards.manifest import ConvertedSplit
from data_tools.shards.reader import RowReader
from training.evaluation.scoring import EvaluationResult
from training.insight.suspects import Suspect
from training.watching.visualize import find_rows, legible


def write_suspects_sheet(
    path: Path, split: ConvertedSplit, result: EvaluationResult, suspects: Sequence[Suspect]
) -> None:
    """Draw suspects, ranked as given: what is labelled as a solid box, what was found as a dashed one."""
    truth, matches = result.truth, result.matches
    ids = truth.image_ids[[s.image for s in suspects]]
    reader, rows = RowReader(split), find_rows(split, np.unique(ids))
    tiles, captions = [], []
    for rank, (s, number) in enumerate(zip(suspects, ids, strict=True), 1):
        image = decode_bgr(reader[rows[int(number)]].image)
        if image is None:
            continue  # verify says so; a sheet of doubts is no place to stop
        scale, image = legible(image)
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
        corners = yxyx_from_xywh(np.array(boxes)) * scale
        tiles.append(draw_boxes(image, corners, labels, names, dashed=dashed))
        captions.append(f"{rank}. {s.kind.replace('_', ' ')}, {s.suspicion:.2f}, image {number}")
    title = f"{split.manifest.split}: labels in doubt; solid as labelled, dashed as found"
    save_png(
        path,
        contact_sheet(tiles, captions, columns=4, tile_height=420, tile_width=420, title=title),
    )
