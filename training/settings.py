"""Every setting of a training run, with its default, its meaning and its checks.

Models, losses, augmentation, pipeline, checkpoints, log and evaluation declare their own settings
next to their code and are only composed here. What the settings do lives in the modules that read
them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Optional

from data_tools.augment.settings import AugmentSettings
from data_tools.core.settings_fields import (
    old_name,
    require,
    require_choice,
    require_positive,
    setting,
)
from data_tools.pipeline.settings import PipelineSettings
from training.checkpoints.settings import CheckpointSettings, InitSettings
from training.evaluation.settings import EvaluateSettings
from training.learning.settings import LossSettings, OptimSettings
from training.nets.settings import ModelSettings
from training.process.settings import RuntimeSettings
from training.run.settings import EarlyStopSettings
from training.watching.settings import LogSettings

# Optional[...] instead of `X | None` below: OmegaConf reads these annotations.

SCHEDULE_TO = ("recipe", "max_minutes")


@dataclass
class TrainSettings:
    """A whole training run."""

    data: str = setting("", "converted data set: the folder that convert.py wrote (has train/)")
    output: str = setting("outputs/train", "folder of this run")
    seed: int = setting(1, "first weights, order of the data and augmentation follow from it")
    epochs: float = setting(500.0, "length of the recipe in epochs; the schedule spans it")
    batch_size: int = setting(32, "images per device and step")
    max_steps: Optional[int] = setting(None, "stop after this step; the schedule stays as it is")
    max_minutes: Optional[float] = setting(None, "stop and save before this time is up")
    schedule_to: str = setting(
        "recipe",
        "what the learning rate falls over: recipe (`epochs`), or max_minutes (as many epochs as "
        "that leaves time for, measured in the first steps)",
    )
    resume: bool = setting(False, "go on from the newest whole checkpoint in output")
    overwrite: bool = setting(False, "throw away an earlier run in output")
    workers: int = old_name("pipeline.workers", 0)
    preview: int = setting(
        0, "number of images to draw as the network sees them, then stop; 0 = train"
    )
    summary: bool = setting(False, "print the network's layers, parameters and boxes, then stop")
    replay: Optional[str] = setting(None, "rebuild the batch of a black box file, then stop")
    split: str = setting("train", "split to train on")
    evaluate_split: str = setting("val", "split to evaluate on")
    evaluate_every_epochs: float = setting(10.0, "epochs between evaluations; 0 = only at the end")
    evaluate_at_end: bool = setting(True, "evaluate the last weights")
    evaluate_loss: bool = setting(True, "evaluations also tell the loss on the evaluation split")
    model: ModelSettings = setting(ModelSettings(), "the network")
    loss: LossSettings = setting(LossSettings(), "the loss")
    augment: AugmentSettings = setting(AugmentSettings(), "augmentation")
    pipeline: PipelineSettings = setting(PipelineSettings(), "reading")
    optim: OptimSettings = setting(OptimSettings(), "the optimizer")
    runtime: RuntimeSettings = setting(RuntimeSettings(), "device and communication")
    evaluate: EvaluateSettings = setting(EvaluateSettings(), "evaluation")
    checkpoint: CheckpointSettings = setting(CheckpointSettings(), "checkpoints")
    early_stop: EarlyStopSettings = setting(EarlyStopSettings(), "ending early")
    init: InitSettings = setting(InitSettings(), "first weights")
    log: LogSettings = setting(LogSettings(), "logging")

    def __post_init__(self) -> None:
        require(0 <= self.seed < 2**32, "seed", self.seed, "0 <= seed < 2**32")
        require_positive("epochs", self.epochs)
        require(self.batch_size >= 1, "batch_size", self.batch_size, "a count >= 1")
        require_positive("max_steps", self.max_steps)
        require_positive("max_minutes", self.max_minutes)
        require_choice("schedule_to", self.schedule_to, SCHEDULE_TO)
        require(
            self.schedule_to == "recipe" or self.max_minutes is not None,
            "schedule_to",
            self.schedule_to,
            "recipe, or a number of max_minutes as well",
        )
        if self.schedule_to != "recipe":
            # Batches are made ahead, before it is known which epochs are the last. `announce.py`
            # says so.
            self.augment = replace(self.augment, closing_epochs=0.0)
        require(
            not self.augment.sizes or (self.model.assign == "tal" and not self.runtime.sink_steps),
            "augment.sizes",
            [list(size) for size in self.augment.sizes],
            "empty, or model.assign=tal (other targets depend on the size) and "
            "runtime.sink_steps=0 (what is sunk has one size)",
        )
        require(self.workers >= 0, "workers", self.workers, "a count >= 0")
        if self.workers:
            self.pipeline = replace(self.pipeline, workers=self.workers)
            self.workers = 0
        require(0 <= self.preview <= 10_000, "preview", self.preview, "a count 0..10000")
        require(
            self.evaluate_every_epochs >= 0,
            "evaluate_every_epochs",
            self.evaluate_every_epochs,
            "epochs >= 0",
        )
        require(
            self.early_stop.patience is None
            or 0 < self.evaluate_every_epochs < self.epochs
            or (self.evaluate_every_epochs > 0 and self.schedule_to != "recipe"),
            "early_stop.patience",
            self.early_stop.patience,
            f"empty with evaluate_every_epochs={self.evaluate_every_epochs:g} and epochs="
            f"{self.epochs:g}: without evaluations on the way nothing tells that a run gets no "
            "better",
        )
        require(
            not (self.resume and self.overwrite),
            "overwrite",
            self.overwrite,
            "false with resume=true: either go on or start anew",
        )
        require(
            self.batch_size % self.optim.accumulate == 0,
            "optim.accumulate",
            self.optim.accumulate,
            f"a divisor of batch_size={self.batch_size}",
        )
        require(
            self.optim.accumulate == 1 or self.runtime.sink_steps == 0,
            "optim.accumulate",
            self.optim.accumulate,
            f"1 with runtime.sink_steps={self.runtime.sink_steps}: a sunk batch is not cut",
        )
