"""Whom to blame for a loss that is not finite: the images of a batch, and the boxes stored with them.

The batch is rebuilt from a black box by `replay.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from data_tools.manifest import ConvertedSplit
from data_tools.pipeline import TrainBatch
from data_tools.records import RowReader
from training.blackbox import Record
from training.settings import TrainSettings

HUGE_TARGET = 1e3
"""A regression target beyond this comes from a box next to no size: exp(200) anchors."""


@dataclass(frozen=True)
class Suspect:
    """An image of the batch whose loss is not finite, or the largest.

    Attributes:
        rank: Rank it was on.
        position: Its place in that rank's batch.
        image_id: Its id.
        loss: Its own loss sum.
        reasons: What is wrong with it, in words.
    """

    rank: int
    position: int
    image_id: int
    loss: float
    reasons: tuple[str, ...]


def find_suspects(
    settings: TrainSettings,
    split: ConvertedSplit,
    record: Record,
    batches: list[TrainBatch],
    weights_path: Path,
) -> list[Suspect]:
    """Find the images whose targets or own loss, under the weights of that moment, are not finite.

    Returns:
        At most 5 images; none if all are suspect by their loss alone, since then no image is.
    """
    found = []
    losses = image_losses(settings, record.num_classes, batches, weights_path)
    for rank, batch in enumerate(batches):
        rows = row_numbers(settings, split, record, rank)
        for position, image_id in enumerate(batch.image_ids.tolist()):
            loss = losses[rank][position]
            bad = bad_anchors(batch, position)
            if len(bad) or not np.isfinite(loss):
                reasons = box_reasons(split, rows[position], batch, position, bad)
                found.append(Suspect(rank, position, image_id, loss, tuple(reasons)))
    told = [suspect for suspect in found if suspect.reasons]
    if told or len(found) < sum(len(batch.image_ids) for batch in batches):
        return (told or found)[:5]
    return []


def image_losses(
    settings: TrainSettings, num_classes: int, batches: list[TrainBatch], weights_path: Path
) -> list[list[float]]:
    """Return each image's loss sum, by rank and place."""
    import mindspore as ms

    from training.assemble import build_state
    from training.checkpoint import read_arrays
    from training.state import copy_weights

    state, normalize, loss = build_state(settings, num_classes)
    copy_weights(read_arrays(weights_path), state.network)
    results = []
    for batch in batches:
        loc, logits = state.network(normalize(ms.Tensor(batch.images)))
        targets, labels = ms.Tensor(batch.loc_targets), ms.Tensor(batch.labels)
        rows = range(len(batch.image_ids))
        results.append(
            [
                float(
                    loss(loc[i : i + 1], logits[i : i + 1], targets[i : i + 1], labels[i : i + 1])[
                        0
                    ].asnumpy()
                )
                for i in rows
            ]
        )
    return results


def row_numbers(
    settings: TrainSettings, split: ConvertedSplit, record: Record, rank: int
) -> NDArray[np.int64]:
    """Return the rows of the split that a rank's batch was made of."""
    from data_tools.order import TrainOrder

    order = TrainOrder(
        split.num_images,
        settings.seed,
        settings.batch_size,
        rank,
        record.world_size,
        settings.pipeline.last_batch,
    )
    return order.rows(record.step)


def bad_anchors(batch: TrainBatch, position: int) -> NDArray[np.int64]:
    """Return the positive anchors of an image whose targets no network can reach."""
    reachable = (np.abs(batch.loc_targets[position]) < HUGE_TARGET).all(axis=1)
    return np.flatnonzero((batch.labels[position] > 0) & ~reachable)


def box_reasons(
    split: ConvertedSplit,
    row_number: int,
    batch: TrainBatch,
    position: int,
    bad: NDArray[np.int64],
) -> list[str]:
    """Name the stored boxes to blame: those with a bad target, or that are bad in themselves.

    Args:
        split: The training split.
        row_number: The image's row in it.
        batch: The rebuilt batch.
        position: The image's place in it.
        bad: Its anchors with targets that no network can reach.
    """
    row = RowReader(split)[int(row_number)]
    names = {info.label: info.name for info in split.classes}
    blamed = {int(batch.labels[position, anchor]): anchor for anchor in bad}
    reasons = []
    for index, (box, label) in enumerate(zip(row.boxes_yxyx_px, row.labels.tolist())):
        what = box_defect(box, row.height, row.width)
        if label in blamed:
            target = batch.loc_targets[position, blamed[label]].tolist()
            what = f"is of the class whose anchor {blamed[label]} has the target {target}"
        if what:
            corners = ", ".join(f"{float(value):g}" for value in box)
            reasons.append(f"box {index} ({names.get(label, '?')}), yxyx [{corners}], {what}")
    return reasons


def box_defect(box_yxyx_px: NDArray[np.float32], height: int, width: int) -> str:
    """Say what is wrong with a stored box; empty if nothing is."""
    y1, x1, y2, x2 = (float(value) for value in box_yxyx_px)
    if not np.isfinite(box_yxyx_px).all():
        return "is not finite"
    if y2 - y1 < 0.01 or x2 - x1 < 0.01:
        return f"has next to no area ({x2 - x1:g} x {y2 - y1:g} pixels)"
    if min(y1, x1) < -1 or y2 > height + 1 or x2 > width + 1:
        return f"leaves the image of {width} x {height} pixels"
    return ""
