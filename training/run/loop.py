"""What `train.py` does: chooses replay, summary, preview or training, and starts the rank.

The order of a run, and its loop over the steps, are in `trainer.py`.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

from data_tools.core.errors import DataError, SettingError
from data_tools.core.files import neighbours
from data_tools.shards.manifest import ConvertedSplit, open_split
from training.learning.card_memory import check_memory
from training.learning.settings import require_matching
from training.process.ascend_host import ask_cards, number_on_host
from training.process.rank_status import RankStatus
from training.process.runtime import (
    Environment,
    device_index,
    prepare_environment,
    set_seed,
    start_device,
)
from training.process.world import end_with_parent, is_scheduler, launched_ranks, start_world
from training.settings import TrainSettings
from training.watching.preview import draw_preview


def run(settings: TrainSettings) -> int:
    """Train as the settings say, or do what `replay`, `summary` or `preview` asks for instead.

    Args:
        settings: All settings of the run.

    Returns:
        The exit code: 0, or 128 + the signal that ended the run after it had been saved.
    """
    started = time.monotonic()
    environment = prepare_environment()
    if settings.replay:
        from training.watching.replay import replay

        return replay(Path(settings.replay), settings)
    if settings.init.model == "checkpoint" or settings.init.backbone:
        from training.run.first_weights import with_model_of_first_weights

        settings = with_model_of_first_weights(settings)
    if settings.summary:
        from training.nets.summary import print_summary

        return print_summary(settings.model)
    require_matching(settings.model, settings.loss)
    split = open_training_split(settings)
    if settings.preview:
        return draw_preview(settings, split)
    return train(settings, split, environment, started)


def open_training_split(settings: TrainSettings) -> ConvertedSplit:
    """Open the training split; the message of a missing one says how to make it.

    Raises:
        SettingError: If `data` was not given.
        DataError: If there is no such converted split.
    """
    how = (
        "Make one with, for instance,\n"
        f"  python convert.py dataset=coco2017 dataset.root=DIR out={settings.data or 'DATA'}\n"
        f"  python convert.py dataset=shapes out={settings.data or 'DATA'}"
    )
    if not settings.data:
        raise SettingError(f"data: required, the folder of a converted data set. {how}")
    if not Path(settings.data).is_dir():
        raise DataError(
            f"data={settings.data}: no such folder.{neighbours(Path(settings.data))} {how}"
        )
    return open_split(settings.data, settings.split)


def train(
    settings: TrainSettings, split: ConvertedSplit, environment: Environment, started: float
) -> int:
    """Run one rank of a training job from start to end.

    Args:
        settings: All settings of the run.
        split: The opened training split.
        environment: What `prepare_environment` did, for the log.
        started: `time.monotonic()` at the start of the process.

    Returns:
        The exit code.
    """
    RankStatus(int(os.environ.get("RANK_ID", "0"))).tell(0, "joining the job", patience=240)
    if launched_ranks() > 1 or is_scheduler():
        end_with_parent()  # no rank outlives its launcher
    start_device(settings.runtime)
    if settings.runtime.device == "Ascend":
        check_memory(settings, number_on_host(device_index()), ask_cards())
    world = start_world()
    set_seed(settings.seed)

    from training.run.trainer import Trainer

    return Trainer(settings, world, split, environment, started).run()
