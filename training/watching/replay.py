"""Replay: rebuild the batch of a black box bit for bit, and tell the image and the box to blame.

What a black box holds is written in `blackbox.py`; who is to blame is found in `nan_diagnosis.py`.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

from data_tools.core.errors import CheckpointError, DataError
from data_tools.core.files import is_plain_name
from data_tools.core.json_dataclass import build, read_json
from data_tools.pipeline.batches import TrainBatch
from data_tools.shards.manifest import ConvertedSplit, open_split
from training.learning.assemble import build_pipeline
from training.process.runtime import start_device
from training.process.world import World
from training.settings import TrainSettings
from training.watching.blackbox import FORMAT, Record, digest
from training.watching.nan_diagnosis import find_bad_images


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
    recorded = record.settings
    if settings.data:
        recorded = dataclasses.replace(recorded, data=settings.data)
    split = open_split(recorded.data, recorded.split)
    if split.fingerprint != record.data_fingerprint:
        raise DataError(
            f"{split.folder}: fingerprint {split.fingerprint[:16]}..., the black box was written "
            f"with {record.data_fingerprint[:16]}... Give the run's data with data=DIR."
        )

    start_device(recorded.runtime)
    batches = rebuild(recorded, split, record)
    print(
        f"step {record.step + 1}: {len(batches)} rank(s) rebuilt bit for bit (sha256 of every "
        "batch agrees)"
    )
    recorded = at_size_of(recorded, batches[0])
    bad_images = find_bad_images(recorded, split, record, batches, path.parent / record.weights)
    if not bad_images:
        print(
            "no image is to blame: either none has a loss that is not finite, or all have. Then "
            "the weights are: lower optim.lr, lengthen the warm-up, or set optim.clip_norm."
        )
    for bad in bad_images:
        rank = f"rank {bad.rank}, " if len(batches) > 1 else ""
        print(f"image {bad.image_id} ({rank}position {bad.position}): loss {bad.loss}")
        for reason in bad.reasons:
            print(f"  {reason}")
    return 0


def read_record(path: Path) -> Record:
    """Read a black box.

    Raises:
        CheckpointError: If it is missing or no black box.
    """
    try:
        content = read_json(path)
        if not isinstance(content, dict) or content.get("format") != FORMAT:
            raise ValueError(f"it is not of format {FORMAT!r}")
        record = build(Record, content)
        if record.step < 0 or not record.ranks or len(record.ranks) != record.world_size:
            raise ValueError(
                f"step {record.step}, {len(record.ranks)} of {record.world_size} ranks"
            )
        if not is_plain_name(record.weights):
            raise ValueError(f"weights {record.weights!r} leave the folder")
    except (OSError, ValueError) as error:
        raise CheckpointError(
            f"replay={path}: not a black box, or damaged ({error}). Give a "
            "RUN/blackbox/step-N.json as the run wrote it, with the step-N.ckpt next to it."
        ) from error
    return record


def at_size_of(settings: TrainSettings, batch: TrainBatch) -> TrainSettings:
    """Return the settings with the network at the size of a batch, which `augment.sizes` draws."""
    size = list(batch.images.shape[2:])
    return dataclasses.replace(settings, model=dataclasses.replace(settings.model, image_size=size))


def rebuild(settings: TrainSettings, split: ConvertedSplit, record: Record) -> list[TrainBatch]:
    """Make the batch of every rank again.

    Raises:
        DataError: If one is not bit for bit the recorded one.
    """
    batches = []
    for rank, expected in enumerate(record.ranks):
        pipeline = build_pipeline(settings, split, World(rank, record.world_size))
        batch = pipeline.batch_at(record.step)
        if digest(batch) != expected.sha256:
            raise DataError(
                f"rank {rank}: the batch of step {record.step + 1} came out differently: images "
                f"{batch.image_ids.tolist()}, recorded {list(expected.image_ids)}. Use the "
                "versions and settings of the run."
            )
        batches.append(batch)
    return batches
