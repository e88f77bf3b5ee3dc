"""Replay: rebuild the batch of a black box bit for bit, and name the image and the box to blame.

What a black box holds is written in `blackbox.py`.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_type_hints

import numpy as np
from numpy.typing import NDArray

from data_tools.errors import CheckpointError, DataError
from data_tools.manifest import ConvertedSplit, open_split
from data_tools.pipeline import TrainBatch
from data_tools.records import RowReader
from training.blackbox import FORMAT, digest
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


def replay(path: Path, settings: TrainSettings) -> int:
    """Rebuild a black box's batch and report on it.

    Args:
        path: The black box.
        settings: Of the command; `data` replaces the recorded folder if it is given.

    Returns:
        The exit code: 0 if the batch is bit for bit the recorded one.

    Raises:
        CheckpointError: If the file is no black box.
        DataError: If the data are not those of the run, or the batch differs.
    """
    record = read_record(path)
    recorded: TrainSettings = from_dict(TrainSettings, record["settings"])
    if settings.data:
        recorded = dataclasses.replace(recorded, data=settings.data)
    split = open_split(recorded.data, recorded.split)
    if split.fingerprint != record["data_fingerprint"]:
        raise DataError(
            f"{split.folder}: fingerprint {split.fingerprint[:16]}..., the black box was written with "
            f"{record['data_fingerprint'][:16]}... Give the run's data with data=DIR."
        )
    from training.runtime import start_device

    start_device(recorded.runtime)
    batches = rebuild(recorded, split, record)
    step = record["step"] + 1
    print(f"step {step}: {len(batches)} rank(s) rebuilt bit for bit (sha256 of every batch agrees)")
    suspects = find_suspects(recorded, split, record, batches, path.parent / record["weights"])
    for suspect in suspects:
        where = (
            f"rank {suspect.rank}, place {suspect.position}"
            if len(batches) > 1
            else (f"place {suspect.position}")
        )
        print(f"image {suspect.image_id} ({where}): loss {suspect.loss}")
        for reason in suspect.reasons:
            print(f"  {reason}")
    if not any(s.reasons or not np.isfinite(s.loss) for s in suspects):
        print(
            "no image is to blame: every image's loss is finite. The weights or the rate are: lower "
            "optim.lr, lengthen the warm-up, or set optim.clip_norm."
        )
    return 0


def read_record(path: Path) -> dict[str, Any]:
    """Read a black box.

    Raises:
        CheckpointError: If it is missing or no black box.
    """
    try:
        record: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if record["format"] != FORMAT:
            raise KeyError(record["format"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(
            f"replay={path}: not a black box of this version ({error!r})."
        ) from error
    return record


def rebuild(
    settings: TrainSettings, split: ConvertedSplit, record: dict[str, Any]
) -> list[TrainBatch]:
    """Make the batch of every rank again.

    Raises:
        DataError: If one is not bit for bit the recorded one.
    """
    from training.assemble import build_pipeline
    from training.distributed import World

    batches = []
    for rank, expected in enumerate(record["ranks"]):
        pipeline = build_pipeline(settings, split, World(rank, record["world_size"]))
        batch = pipeline.batch_at(record["step"])
        if digest(batch) != expected["sha256"]:
            raise DataError(
                f"rank {rank}: the batch of step {record['step'] + 1} came out differently: images "
                f"{batch.image_ids.tolist()}, recorded {expected['image_ids']}. Use the versions and "
                "settings of the run."
            )
        batches.append(batch)
    return batches


def find_suspects(
    settings: TrainSettings,
    split: ConvertedSplit,
    record: dict[str, Any],
    batches: list[TrainBatch],
    weights_path: Path,
) -> list[Suspect]:
    """Rank the images by their own loss under the weights of that moment; worst first, at most 5."""
    found = []
    losses = image_losses(settings, record["num_classes"], batches, weights_path)
    for rank, batch in enumerate(batches):
        rows = row_numbers(settings, split, record, rank)
        for position, image_id in enumerate(batch.image_ids.tolist()):
            reasons = target_reasons(batch, position)
            loss = losses[rank][position]
            if reasons or not np.isfinite(loss):
                reasons += box_reasons(split, rows[position])
            found.append(Suspect(rank, position, image_id, loss, tuple(reasons)))
    # NaN sorts nowhere by itself: not finite comes first, then the largest.
    found.sort(key=lambda s: (not s.reasons, np.isfinite(s.loss), -np.nan_to_num(s.loss)))
    guilty = [s for s in found if s.reasons or not np.isfinite(s.loss)]
    return (guilty or found)[:5]


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
    settings: TrainSettings, split: ConvertedSplit, record: dict[str, Any], rank: int
) -> NDArray[np.int64]:
    """Return the rows of the split that a rank's batch was made of."""
    from data_tools.order import TrainOrder

    order = TrainOrder(
        split.num_images,
        settings.seed,
        settings.batch_size,
        rank,
        record["world_size"],
        settings.pipeline.last_batch,
    )
    return order.rows(record["step"])


def target_reasons(batch: TrainBatch, position: int) -> list[str]:
    """Say which anchors of an image have targets that no network can reach."""
    targets = batch.loc_targets[position]
    positive = batch.labels[position] > 0
    bad = np.flatnonzero(positive & ~(np.abs(targets) < HUGE_TARGET).all(axis=1))
    return [
        f"anchor {anchor}, label {batch.labels[position, anchor]}: regression target "
        f"{targets[anchor].tolist()}"
        for anchor in bad[:3].tolist()
    ]


def box_reasons(split: ConvertedSplit, row_number: int) -> list[str]:
    """Say which boxes of a stored image are not finite, have next to no area, or leave the image."""
    row = RowReader(split)[int(row_number)]
    names = {info.label: info.name for info in split.classes}
    reasons = []
    for index, box in enumerate(row.boxes_yxyx_px):
        y1, x1, y2, x2 = (float(v) for v in box)
        height, width = y2 - y1, x2 - x1
        if not np.isfinite(box).all():
            what = "is not finite"
        elif height < 0.01 or width < 0.01:
            what = f"has next to no area ({width:g} x {height:g} pixels)"
        elif min(y1, x1) < -1 or y2 > row.height + 1 or x2 > row.width + 1:
            what = f"leaves the image of {row.width} x {row.height} pixels"
        else:
            continue
        name = names.get(int(row.labels[index]), "?")
        reasons.append(f"box {index} ({name}), yxyx [{y1:g}, {x1:g}, {y2:g}, {x2:g}], {what}")
    return reasons


def from_dict(kind: type, values: dict[str, Any]) -> Any:
    """Build a settings dataclass from what `dataclasses.asdict` made of it."""
    hints = get_type_hints(kind)
    arguments = {}
    for field in dataclasses.fields(kind):
        if field.name in values:
            value, hint = values[field.name], hints[field.name]
            inner = dataclasses.is_dataclass(hint) and isinstance(value, dict)
            arguments[field.name] = from_dict(hint, value) if inner else value
    return kind(**arguments)
