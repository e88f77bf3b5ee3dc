"""Settings of learning: how weights move, and the loss that is minimised.

What they do is in `momentum.py`, `adamw.py`, `schedule.py`, `step.py` and `losses.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional

from data_tools.core.settings_fields import require, require_choice, require_positive, setting
from training.nets.settings import ModelSettings

# Optional[...] instead of `X | None` below: OmegaConf reads these annotations.

OPTIMIZERS = ("momentum", "adamw")
SCHEDULES = ("cosine", "one_cycle", "multistep", "polynomial", "constant")
LOSS_KINDS = ("focal", "multibox", "varifocal", "quality")
BOX_LOSSES = ("smooth_l1", "giou", "diou", "ciou")


@dataclass
class OptimSettings:
    """How weights move: rule, rate, schedule, decay, averaging."""

    name: str = setting(
        "momentum",
        "optimizer: momentum (SGD) or adamw (arXiv:1711.05101; optim=adamw sets its rates)",
    )
    lr: float = setting(0.05, "base learning rate, reached after warm-up")
    lr_scaling: str = setting(
        "none", "rate for another global batch: none, linear (x batch/reference), sqrt"
    )
    reference_batch: int = setting(32, "global batch size for which `lr` was chosen")
    schedule: str = setting(
        "cosine",
        "after warm-up: cosine, multistep, polynomial or constant; one_cycle rises and falls along "
        "half cosines, without another warm-up (arXiv:1708.07120)",
    )
    rise: float = setting(
        0.3, "one_cycle: share of all steps in which the rate rises from warmup_lr to lr"
    )
    warmup_epochs: float = setting(2.0, "epochs of linear warm-up from warmup_lr to lr; 0 = none")
    warmup_steps: Optional[int] = setting(None, "warm-up in steps; replaces warmup_epochs if given")
    warmup_lr: float = setting(0.001, "rate of the very first step")
    final_ratio: float = setting(
        0.001, "cosine, polynomial, one_cycle: last rate as a fraction of the base rate"
    )
    milestones: list[float] = setting([], "multistep: epochs after which the rate is cut")
    gamma: float = setting(0.1, "multistep: factor of each cut")
    power: float = setting(0.9, "polynomial: exponent")
    momentum: float = setting(0.9, "name=momentum: momentum, 0..1")
    nesterov: bool = setting(False, "name=momentum: Nesterov's form of it")
    betas: list[float] = setting(
        [0.9, 0.999], "name=adamw: what its averages of gradients and of their squares keep"
    )
    eps: float = setting(1e-8, "name=adamw: added to the root of the averaged squares")
    weight_decay: float = setting(
        1.5e-4, "momentum: L2 decay added to the gradient; adamw: share of the rate, decoupled"
    )
    decay: str = setting("all", "what decays: all (as published) or weights (no bias, no norm)")
    clip_norm: Optional[float] = setting(None, "largest global gradient norm; empty = no clipping")
    accumulate: int = setting(
        1,
        "parts a device's batch is cut into, one after the other: less memory. The same step only "
        "with model.norm=frozen, else batch norm sees each part alone and its statistics move once "
        "a part",
    )
    ema: Optional[float] = setting(
        None, "decay of the weights' moving average (e.g. 0.9998), used for evaluation; empty = off"
    )
    ema_warmup: bool = setting(True, "let the average start faster: min(ema, (1+step)/(10+step))")
    norm_correction: bool = setting(
        False,
        "batch norm's running statistics are averages of the batches seen so far, without the rest "
        "of the 0 and 1 they start from: short runs evaluate right",
    )
    freeze: list[str] = setting(
        [], "parameter name patterns (fnmatch), or backbone, that do not train"
    )
    freeze_epochs: Optional[float] = setting(
        None, "epochs after which the frozen parameters thaw; empty = never"
    )
    lr_factors: dict[str, float] = setting(
        {}, "rate factors by parameter name pattern, first match wins, e.g. {backbone: 0.1}"
    )

    def __post_init__(self) -> None:
        require_choice("optim.name", self.name, OPTIMIZERS)
        require_positive("optim.lr", self.lr)
        require_choice("optim.lr_scaling", self.lr_scaling, ("none", "linear", "sqrt"))
        require(self.reference_batch > 0, "optim.reference_batch", self.reference_batch, "> 0")
        require_choice("optim.schedule", self.schedule, SCHEDULES)
        require(0 < self.rise < 1, "optim.rise", self.rise, "0 < rise < 1")
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
            self.schedule != "multistep" or bool(self.milestones),
            "optim.schedule",
            self.schedule,
            "another one without optim.milestones; optim=multistep sets both",
        )
        require(
            list(self.milestones) == sorted(self.milestones),
            "optim.milestones",
            self.milestones,
            "epochs in rising order",
        )
        require_positive("optim.gamma", self.gamma)
        require_positive("optim.power", self.power)
        require(0 <= self.momentum < 1, "optim.momentum", self.momentum, "0 <= momentum < 1")
        require(
            not self.nesterov or self.name == "momentum",
            "optim.nesterov",
            self.nesterov,
            "false with optim.name=adamw",
        )
        require(
            len(self.betas) == 2 and min(self.betas) >= 0 and max(self.betas) < 1,
            "optim.betas",
            list(self.betas),
            "two numbers, each 0 <= beta < 1",
        )
        require_positive("optim.eps", self.eps)
        require(self.weight_decay >= 0, "optim.weight_decay", self.weight_decay, "a number >= 0")
        require_choice("optim.decay", self.decay, ("all", "weights"))
        require_positive("optim.clip_norm", self.clip_norm)
        require(self.accumulate >= 1, "optim.accumulate", self.accumulate, "a count >= 1")
        require(self.ema is None or 0 < self.ema < 1, "optim.ema", self.ema, "0 < ema < 1 or empty")
        require_positive("optim.freeze_epochs", self.freeze_epochs)
        for pattern, factor in self.lr_factors.items():
            require(factor >= 0, f"optim.lr_factors[{pattern}]", factor, "a factor >= 0")


@dataclass
class LossSettings:
    """What is minimised; it is divided by the positives of the global batch in the step."""

    kind: str = setting(
        "focal",
        "focal (sigmoid), multibox (softmax, hard negatives), or with the found box's overlap in "
        "place of 1 as the score to reach: varifocal (arXiv:2008.13367), quality (quality "
        "focal loss, arXiv:2006.04388)",
    )
    gamma: float = setting(
        2.0, "focal, varifocal, quality: how strongly easy boxes are played down; 0 = not at all"
    )
    alpha: float = setting(
        0.75,
        "focal: weight of the right class, 1 - alpha of every other; varifocal: of every wrong one",
    )
    negatives: float = setting(3.0, "multibox: hard negatives per positive, in each image")
    box: str = setting(
        "smooth_l1",
        "regression: smooth_l1 (of offsets), or one minus an overlap of boxes: giou "
        "(arXiv:1902.09630), diou, ciou (arXiv:1911.08287)",
    )
    loc_weight: float = setting(1.0, "weight of the box regression; the classes have 1")
    bins_weight: float = setting(
        0.25, "model.box_bins: weight of distribution focal loss; the classes have 1"
    )
    class_weights: list[float] = setting(
        [],
        "factor of each class in the loss of scores, in the order of labels, e.g. [1,1,4]; empty = "
        "1",
    )

    def __post_init__(self) -> None:
        for weight in self.class_weights:
            require(
                0 < weight <= 1000, "loss.class_weights", self.class_weights, "0 < each <= 1000"
            )
        require_choice("loss.kind", self.kind, LOSS_KINDS)
        require_choice("loss.box", self.box, BOX_LOSSES)
        require(self.gamma >= 0, "loss.gamma", self.gamma, "a number >= 0")
        require(0 < self.alpha < 1, "loss.alpha", self.alpha, "0 < alpha < 1")
        require_positive("loss.negatives", self.negatives)
        require(self.loc_weight >= 0, "loss.loc_weight", self.loc_weight, "a number >= 0")
        require(self.bins_weight >= 0, "loss.bins_weight", self.bins_weight, "a number >= 0")


def require_matching(model: ModelSettings, loss: LossSettings) -> None:
    """Refuse a loss that trains other scores than the network gives, or not by its assignment.

    Raises:
        SettingError: If one is made for the sigmoid and the other for softmax, or if
            `model.assign=tal` or `model.box_bins` meets a regression of offsets.
    """
    require(
        model.assign != "tal" or loss.box != "smooth_l1",
        "loss.box",
        loss.box,
        "giou, diou or ciou with model.assign=tal (loss=varifocal sets giou)",
    )
    require(
        model.box_bins == 0 or loss.box != "smooth_l1",
        "loss.box",
        loss.box,
        "giou, diou or ciou with model.box_bins (loss=varifocal sets giou)",
    )
    require(
        (loss.kind == "multibox") == (model.scores == "softmax"),
        "model.scores",
        model.scores,
        "sigmoid with loss=focal, softmax with loss=multibox",
    )
