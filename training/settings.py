"""Every setting of a training run, with its default, its meaning and its checks.

What the settings do lives in the modules that read them; models, losses, augmentation, pipeline and
evaluation declare their own settings next to their code and are only composed here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional

from data_tools.augment.settings import AugmentSettings
from data_tools.core.settings_fields import require, require_choice, require_positive, setting
from data_tools.pipeline.settings import PipelineSettings
from training.eval_settings import EvaluateSettings
from training.nets.settings import LossSettings, ModelSettings
from training.process.settings import RuntimeSettings

# Optional[...] instead of `X | None` below: OmegaConf reads these annotations.

SCHEDULE_TO = ("recipe", "max_minutes")


@dataclass
class OptimSettings:
    """How weights move: rate, schedule, momentum, decay, averaging."""

    lr: float = setting(0.05, "base learning rate, reached after warm-up")
    lr_scaling: str = setting(
        "none", "rate for another global batch: none, linear (x batch/reference), sqrt"
    )
    reference_batch: int = setting(32, "global batch size for which `lr` was chosen")
    schedule: str = setting("cosine", "after warm-up: cosine, multistep, polynomial or constant")
    warmup_epochs: float = setting(2.0, "epochs of linear warm-up from warmup_lr to lr; 0 = none")
    warmup_steps: Optional[int] = setting(None, "warm-up in steps; replaces warmup_epochs if given")
    warmup_lr: float = setting(0.001, "rate of the very first step")
    final_ratio: float = setting(
        0.001, "cosine, polynomial: last rate as a fraction of the base rate"
    )
    milestones: list[float] = setting([], "multistep: epochs after which the rate is cut")
    gamma: float = setting(0.1, "multistep: factor of each cut")
    power: float = setting(0.9, "polynomial: exponent")
    momentum: float = setting(0.9, "momentum, 0..1")
    nesterov: bool = setting(False, "Nesterov's form of momentum")
    weight_decay: float = setting(1.5e-4, "L2 weight decay added to the gradient")
    decay: str = setting("all", "what decays: all (as published) or weights (no bias, no norm)")
    clip_norm: Optional[float] = setting(None, "largest global gradient norm; empty = no clipping")
    accumulate: int = setting(
        1,
        "parts a device's batch is cut into, one after the other: less memory. The same step only with "
        "model.norm=frozen, else batch norm sees each part alone and its statistics move once a part",
    )
    ema: Optional[float] = setting(
        None, "decay of the weights' moving average (e.g. 0.9998), used for evaluation; empty = off"
    )
    ema_warmup: bool = setting(True, "let the average start faster: min(ema, (1+step)/(10+step))")
    freeze: list[str] = setting(
        [], "parameter name patterns (fnmatch), or backbone, that do not train"
    )
    freeze_epochs: Optional[float] = setting(
        None, "thaw the frozen parameters after so many epochs; empty = never"
    )
    lr_factors: dict[str, float] = setting(
        {}, "rate factors by parameter name pattern, first match wins, e.g. {backbone: 0.1}"
    )

    def __post_init__(self) -> None:
        require_positive("optim.lr", self.lr)
        require_choice("optim.lr_scaling", self.lr_scaling, ("none", "linear", "sqrt"))
        require(self.reference_batch > 0, "optim.reference_batch", self.reference_batch, "> 0")
        require_choice(
            "optim.schedule", self.schedule, ("cosine", "multistep", "polynomial", "constant")
        )
        require(self.warmup_epochs >= 0, "optim.warmup_epochs", self.warmup_epochs, "epochs >= 0")
        require(
            self.warmup_steps is None or self.warmup_steps >= 0,
            "optim.warmup_steps",
            self.warmup_steps,
            "steps >= 0 or empty",
        )
        require(self.warmup_lr >= 0, "optim.warmup_lr", self.warmup_lr, "a rate >= 0")
        require(0 <= self.final_ratio <= 1, "optim.final_ratio", self.final_ratio, "0..1")
        require(
            list(self.milestones) == sorted(self.milestones),
            "optim.milestones",
            self.milestones,
            "epochs in rising order",
        )
        require_positive("optim.gamma", self.gamma)
        require_positive("optim.power", self.power)
        require(0 <= self.momentum < 1, "optim.momentum", self.momentum, "0 <= momentum < 1")
        require(self.weight_decay >= 0, "optim.weight_decay", self.weight_decay, "a number >= 0")
        require_choice("optim.decay", self.decay, ("all", "weights"))
        require_positive("optim.clip_norm", self.clip_norm)
        require(self.accumulate >= 1, "optim.accumulate", self.accumulate, "a count >= 1")
        require(self.ema is None or 0 < self.ema < 1, "optim.ema", self.ema, "0 < ema < 1 or empty")
        require_positive("optim.freeze_epochs", self.freeze_epochs)
        for pattern, factor in self.lr_factors.items():
            require(factor >= 0, f"optim.lr_factors[{pattern}]", factor, "a factor >= 0")


@dataclass
class CheckpointSettings:
    """When the run is saved and how much is kept."""

    every_steps: Optional[int] = setting(
        None, "save every so many steps; replaces every_epochs if given"
    )
    every_epochs: float = setting(1.0, "save every so many epochs")
    keep: int = setting(3, "newest checkpoints kept; the best by AP is kept beside them")
    format: str = setting(
        "ckpt",
        "files of new checkpoints: ckpt (MindSpore's) or safetensors; both are read everywhere",
    )
    accept_changes: bool = setting(
        False, "go on from a checkpoint although data, model or recipe differ from its own"
    )

    def __post_init__(self) -> None:
        require_positive("checkpoint.every_steps", self.every_steps)
        require_positive("checkpoint.every_epochs", self.every_epochs)
        require_choice("checkpoint.format", self.format, ("ckpt", "safetensors"))
        require(self.keep >= 1, "checkpoint.keep", self.keep, "a count >= 1")


@dataclass
class EarlyStopSettings:
    """When a run ends before its recipe does, because it gets no better (Prechelt, Early Stopping - But When?)."""

    patience: Optional[float] = setting(
        None, "stop after so many epochs without a better AP at an evaluation; empty = never"
    )

    def __post_init__(self) -> None:
        require_positive("early_stop.patience", self.patience)


@dataclass
class InitSettings:
    """Where the first weights come from; empty = random from the seed."""

    checkpoint: Optional[str] = setting(
        None, "detector checkpoint: a file, ours or published, or hub:NAME"
    )
    backbone: Optional[str] = setting(
        None, "classification checkpoint for the backbone: a file, or hub:NAME"
    )
    head: str = setting("strict", "strict: every weight fits; new: class heads may start afresh")
    model: str = setting(
        "settings", "the network: as in settings (model=...), or as in checkpoint if there is one"
    )
    sha256: Optional[str] = setting(None, "expected sha256 of the file; empty = not checked")
    if_unavailable: str = setting(
        "error",
        "if backbone=hub:NAME cannot be had: error, or scratch (start from random weights; "
        "init.checkpoint then goes before it)",
    )

    def __post_init__(self) -> None:
        require_choice("init.head", self.head, ("strict", "new"))
        require_choice("init.if_unavailable", self.if_unavailable, ("error", "scratch"))
        require_choice("init.model", self.model, ("settings", "checkpoint"))
        require(
            self.model == "settings" or bool(self.checkpoint or self.backbone),
            "init.checkpoint",
            self.checkpoint,
            "a detector's checkpoint, given as checkpoint=FILE (or hub:NAME), since init.model=checkpoint; or "
            "init.backbone=hub:NAME for the backbone of model=NAME alone",
        )
        require(
            not (self.checkpoint and self.backbone) or self.if_unavailable == "scratch",
            "init.backbone",
            self.backbone,
            "empty when init.checkpoint is given",
        )


@dataclass
class LogSettings:
    """What a run tells while it trains."""

    every_steps: int = setting(10, "steps between log lines; the first and last are always logged")
    tensorboard: bool = setting(True, "write TensorBoard events to OUTPUT/tensorboard")
    # Those of ssd300 take 0.85 s (resnet50 2.3 s) and 0.8 MB: 0.2 % of the time at 0.1 s a step, and
    # nothing to notice at the 5 s of a CPU. An epoch of COCO on one device has 3664 steps.
    histograms_every: int = setting(
        5000, "steps between weight histograms in TensorBoard, also of the last step; 0 = never"
    )
    pictures: int = setting(8, "images on the prediction pictures of an evaluation; 0 = none")

    def __post_init__(self) -> None:
        require(self.every_steps >= 1, "log.every_steps", self.every_steps, "a count >= 1")
        require(self.histograms_every >= 0, "log.histograms_every", self.histograms_every, ">= 0")
        require(self.pictures >= 0, "log.pictures", self.pictures, "a count >= 0")


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
        "what the learning rate falls over: recipe (`epochs`), or max_minutes (as many epochs as that leaves "
        "time for, measured in the first steps)",
    )
    resume: bool = setting(False, "go on from the newest whole checkpoint in output")
    overwrite: bool = setting(False, "throw away an earlier run in output")
    workers: int = setting(0, "batches read and augmented at a time; 0 = pipeline.workers")
    preview: int = setting(0, "draw so many images as the network sees them, then stop; 0 = train")
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
        require(
            self.schedule_to == "recipe" or not self.augment.closing_epochs,
            "augment.closing_epochs",
            self.augment.closing_epochs,
            "0 with schedule_to=max_minutes: batches are made ahead, before it is known which epochs are the last",
        )
        require(self.workers >= 0, "workers", self.workers, "a count >= 0")
        require(0 <= self.preview <= 10_000, "preview", self.preview, "a count 0..10000")
        require(
            self.evaluate_every_epochs >= 0,
            "evaluate_every_epochs",
            self.evaluate_every_epochs,
            "epochs >= 0",
        )
        require(
            self.early_stop.patience is None or self.evaluate_every_epochs > 0,
            "early_stop.patience",
            self.early_stop.patience,
            "empty with evaluate_every_epochs=0: without evaluations nothing tells that a run gets no better",
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
