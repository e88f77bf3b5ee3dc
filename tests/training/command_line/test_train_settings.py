"""Every check of the training settings names its key."""

from __future__ import annotations

import re
from typing import Any

import pytest

from data_tools.augment.settings import AugmentSettings
from data_tools.core.errors import SettingError
from training.checkpoints.settings import CheckpointSettings, InitSettings
from training.learning.settings import OptimSettings
from training.process.settings import RuntimeSettings
from training.run.settings import EarlyStopSettings
from training.settings import TrainSettings
from training.watching.settings import LogSettings

MIXED = AugmentSettings(mosaic_probability=0.5, closing_epochs=3)
PATIENT = EarlyStopSettings(patience=2)


@pytest.mark.parametrize(
    ("kind", "values", "key"),
    [
        (OptimSettings, {"lr": 0}, "optim.lr"),
        (OptimSettings, {"name": "adam"}, "optim.name"),
        (OptimSettings, {"name": "adamw", "nesterov": True}, "optim.nesterov"),
        (OptimSettings, {"betas": [0.9, 1.0]}, "optim.betas"),
        (OptimSettings, {"betas": [0.9]}, "optim.betas"),
        (OptimSettings, {"eps": 0}, "optim.eps"),
        (OptimSettings, {"lr_scaling": "cubic"}, "optim.lr_scaling"),
        (OptimSettings, {"schedule": "stairs"}, "optim.schedule"),
        (OptimSettings, {"schedule": "multistep"}, "optim.schedule"),
        (OptimSettings, {"rise": 1.0}, "optim.rise"),
        (OptimSettings, {"milestones": [3, 1]}, "optim.milestones"),
        (OptimSettings, {"momentum": 1.0}, "optim.momentum"),
        (OptimSettings, {"decay": "bias"}, "optim.decay"),
        (OptimSettings, {"clip_norm": 0}, "optim.clip_norm"),
        (OptimSettings, {"accumulate": 0}, "optim.accumulate"),
        (OptimSettings, {"ema": 1.0}, "optim.ema"),
        (OptimSettings, {"lr_factors": {"a*": -1}}, "optim.lr_factors[a*]"),
        (CheckpointSettings, {"every_steps": 0}, "checkpoint.every_steps"),
        (CheckpointSettings, {"keep": 0}, "checkpoint.keep"),
        (InitSettings, {"head": "old"}, "init.head"),
        (InitSettings, {"checkpoint": "a", "backbone": "b"}, "init.backbone"),
        (RuntimeSettings, {"device": "GPU"}, "runtime.device"),
        (RuntimeSettings, {"precision": "bf16"}, "runtime.precision"),
        (RuntimeSettings, {"compile_cache": "x"}, "runtime.compile_cache"),
        (RuntimeSettings, {"nonfinite": "pray"}, "runtime.nonfinite"),
        (LogSettings, {"every_steps": 0}, "log.every_steps"),
        (TrainSettings, {"epochs": 0}, "epochs"),
        (TrainSettings, {"seed": -1}, "seed"),
        (TrainSettings, {"max_minutes": 0}, "max_minutes"),
        (
            TrainSettings,
            {"early_stop": PATIENT, "epochs": 20, "evaluate_every_epochs": 20},
            "early_stop.patience",
        ),
        (TrainSettings, {"early_stop": PATIENT, "evaluate_every_epochs": 0}, "early_stop.patience"),
        (TrainSettings, {"resume": True, "overwrite": True}, "overwrite"),
        (
            TrainSettings,
            {"batch_size": 3, "optim": OptimSettings(accumulate=2)},
            "optim.accumulate",
        ),
    ],
)
def test_a_wrong_value_names_its_key(kind: type, values: dict[str, Any], key: str) -> None:
    with pytest.raises(SettingError, match=re.escape(key) + "="):
        kind(**values)


def test_what_is_never_mixed_needs_no_epochs_and_a_run_cut_to_the_time_is_not_judged() -> None:
    assert TrainSettings(epochs=4, augment=MIXED).augment.closing_epochs == 3
    assert TrainSettings(epochs=1, augment=AugmentSettings(closing_epochs=3)).epochs == 1
    limits: dict[str, Any] = {"max_minutes": 5.0, "schedule_to": "max_minutes"}
    cut = TrainSettings(epochs=3, augment=MIXED, early_stop=PATIENT, **limits)
    assert cut.augment.closing_epochs == 0 and cut.early_stop.patience == 2


def test_bf16_is_for_ascend() -> None:
    assert RuntimeSettings(device="Ascend", precision="bf16").precision == "bf16"
