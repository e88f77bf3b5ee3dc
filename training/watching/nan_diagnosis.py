"""Whom to blame for a loss that is not finite: the images of a batch, and the boxes stored with
them.

The batch is rebuilt from a black box by `replay.py`.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path

import mindspore as ms
import numpy as np
from numpy.typing import NDArray

from data_tools.augment.apply import boxes_in_views, choose_view
from data_tools.augment.boxes_in_view import ImageBoxes
from data_tools.augment.settings import AugmentSettings
from data_tools.images.decode import size_of
from data_tools.pipeline.batches import TrainBatch
from data_tools.pipeline.order import TrainOrder, generator
from data_tools.pipeline.pipeline import train_order
from data_tools.shards.manifest import ConvertedSplit
from data_tools.shards.reader import Row, RowReader
from training.boxes.build import build_targets
from training.boxes.codec import BoxEncoder
from training.boxes.object_list import ObjectList
from training.checkpoints.checkpoint import read_arrays
from training.learning.assemble import build_state
from training.learning.state import copy_weights
from training.settings import TrainSettings
from training.watching.blackbox import Record

HUGE_TARGET = 1e3
"""A regression target beyond this comes from a box next to no size: exp(200) anchors."""


_MIXED = (
    "it may have been mixed with other images (augment.*_probability), whose boxes may be to blame"
)


@dataclass(frozen=True)
class BadImage:
    """An image of the batch whose loss is not finite, or the largest.

    Attributes:
        rank: Rank it was on.
        position: Its index in that rank's batch.
        image_id: Its id.
        loss: Its own loss sum.
        reasons: What is wrong with it, in words.
    """

    rank: int
    position: int
    image_id: int
    loss: float
    reasons: tuple[str, ...]


def find_bad_images(
    settings: TrainSettings,
    split: ConvertedSplit,
    record: Record,
    batches: list[TrainBatch],
    weights_path: Path,
) -> list[BadImage]:
    """Find the images whose targets or own loss, under the weights of that moment, are not finite.

    Returns:
        At most 5 images; none if all are suspect by their loss alone, since then no image is.
    """
    images = []
    losses = image_losses(settings, record.num_classes, batches, weights_path)
    # Not the pipeline's own encoder, which may be what is wrong.
    encoder = build_targets(settings.model, settings.pipeline.crowd_ignore)
    reader = RowReader(split)
    names = {info.label: info.name for info in split.classes}
    for rank, batch in enumerate(batches):
        order = order_of(settings, split, record, rank)
        rows = order.rows(record.step).tolist()
        for position, image_id in enumerate(batch.image_ids.tolist()):
            loss = losses[rank][position]
            bad = bad_anchors(batch, position)
            if len(bad) or not np.isfinite(loss):
                number = rows[position]
                came = int(order.occurrences(record.step)[position])
                rng = generator(order.seed, order.epoch_of(record.step), number, came)
                row = reader[number]
                if settings.augment.mixes:
                    owners = np.full(batch.labels.shape[1], -1)
                else:
                    owners = matched_boxes(row, settings.augment, rng, encoder)
                reasons = box_reasons(row, names, batch, position, bad, owners)
                if settings.augment.mixes:
                    reasons.append(_MIXED)
                images.append(BadImage(rank, position, image_id, loss, tuple(reasons)))
    explained = [image for image in images if image.reasons]
    if explained or len(images) < sum(len(batch.image_ids) for batch in batches):
        return (explained or images)[:5]
    return []


def image_losses(
    settings: TrainSettings, num_classes: int, batches: list[TrainBatch], weights_path: Path
) -> list[list[float]]:
    """Return each image's loss sum, by rank and position."""
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


def order_of(
    settings: TrainSettings, split: ConvertedSplit, record: Record, rank: int
) -> TrainOrder:
    """Return the order in which a rank of the run took the rows of the split."""
    return train_order(
        split, settings.pipeline, settings.seed, settings.batch_size, rank, record.world_size
    )


def bad_anchors(batch: TrainBatch, position: int) -> NDArray[np.int64]:
    """Return the positive anchors (K,) of an image whose targets no network can reach.

    Args:
        batch: With labels (B, A) and targets (B, A, 4).
        position: The image's index in the batch, 0..B-1.
    """
    reachable = (np.abs(batch.loc_targets[position]) < HUGE_TARGET).all(axis=1)
    return np.flatnonzero((batch.labels[position] > 0) & ~reachable)


def matched_boxes(
    row: Row, augment: AugmentSettings, rng: np.random.Generator, encoder: BoxEncoder | ObjectList
) -> NDArray[np.int64]:
    """Find the stored box that each anchor of a training image was matched to.

    Args:
        row: The image and its boxes as stored.
        augment: How images are varied.
        rng: The image's own random numbers of that epoch.
        encoder: The matching.

    Returns:
        (A,) the box's index among the stored ones; -1 where the anchor has none.
    """
    truth = ImageBoxes(row.boxes_yxyx_px, row.labels, row.iscrowd)
    view = choose_view(*size_of_row(row), truth, augment, rng)
    # Boxes that the view cuts away take their labels with them: as labels, indices survive.
    box_numbers = np.arange(1, len(row.labels) + 1, dtype=np.int32)
    seen, _ = boxes_in_views([dataclasses.replace(truth, labels=box_numbers)], [view])
    _, owners = encoder(seen.boxes_yxyx, seen.labels, seen.iscrowd)
    return np.maximum(owners, 0).astype(np.int64) - 1


def size_of_row(row: Row) -> tuple[int, int]:
    """Return height and width of an image; the published tools' shards do not say them."""
    stored = (row.height, row.width)
    return stored if all(stored) else size_of(row.image) or stored


def box_reasons(
    row: Row,
    names: dict[int, str],
    batch: TrainBatch,
    position: int,
    bad: NDArray[np.int64],
    owners: NDArray[np.int64],
) -> list[str]:
    """Name the stored boxes to blame: those with a bad target, or that are bad in themselves.

    Args:
        row: The image and its boxes as stored.
        names: Class names by label.
        batch: The rebuilt batch.
        position: The image's index in it.
        bad: Its anchors with targets that no network can reach.
        owners: (A,) the stored box of each anchor, see `matched_boxes`.
    """
    reasons = []
    labels = row.labels.tolist()
    for index, (box, label) in enumerate(zip(row.boxes_yxyx_px, labels, strict=True)):
        what = box_defect(box, *size_of_row(row))
        its = bad[owners[bad] == index]
        if len(its):
            target = batch.loc_targets[position, its[0]].tolist()
            what += (
                f"{' and ' if what else ''}is matched to anchor {its[0]} with the target {target}"
            )
            what += f" and to {len(its) - 1} more such" if len(its) > 1 else ""
        if what:
            corners = ", ".join(f"{float(value):g}" for value in box)
            reasons.append(f"box {index} ({names.get(label, '?')}), yxyx [{corners}], {what}")
    for anchor in bad[owners[bad] < 0][:1].tolist():
        target = batch.loc_targets[position, anchor].tolist()
        reasons.append(
            f"anchor {anchor} has the target {target}, but no stored box is matched to it"
        )
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
