"""The learning rate of every step: pure functions of the step, without state and without MindSpore.

What uses the rate is in `update.py`; this module only computes it.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass

from training.learning.settings import OptimSettings


@dataclass(frozen=True)
class Schedule:
    """A learning rate for each step from 0 on.

    Attributes:
        base_lr: Rate after warm-up, already scaled for the global batch.
        warmup_steps: Steps of linear warm-up.
        total_steps: Steps the whole recipe spans; later steps keep the last rate.
    """

    base_lr: float
    warmup_steps: int
    total_steps: int
    warmup_lr: float
    decay: Callable[[int], float]

    def __call__(self, step: int) -> float:
        """Return the rate of the step with this number, counted from 0."""
        if step < self.warmup_steps:
            return self.warmup_lr + (self.base_lr - self.warmup_lr) * step / self.warmup_steps
        return self.decay(min(step, self.total_steps))


def scaled_lr(lr: float, rule: str, global_batch: int, reference_batch: int) -> float:
    """Return the base rate for a global batch.

    Args:
        lr: Rate chosen for `reference_batch`.
        rule: `none`, `linear` or `sqrt`.
        global_batch: Images per step over all devices.
        reference_batch: Images per step that `lr` was chosen for.

    >>> scaled_lr(0.05, "linear", 256, 32), scaled_lr(0.05, "sqrt", 128, 32)
    (0.4, 0.1)
    """
    ratio = global_batch / reference_batch
    return {"none": lr, "linear": lr * ratio, "sqrt": lr * math.sqrt(ratio)}[rule]


def cosine(step: int, first: float, last: float, start: int, stop: int) -> float:
    """Half a cosine wave from `first` at step `start` to `last` at step `stop`.

    >>> cosine(10, 1.0, 0.0, 10, 20), round(cosine(15, 1.0, 0.0, 10, 20), 9)
    (1.0, 0.5)
    """
    progress = _progress(step, start, stop)
    return last + (first - last) * (1 + math.cos(math.pi * progress)) / 2


def one_cycle(step: int, start: float, peak: float, last: float, rise: float, stop: int) -> float:
    """Half a cosine wave up to `peak` in a share `rise` of the steps, and one down to `last`.

    One-cycle (Smith and Topin, arXiv:1708.07120) with the cosines that came to be usual in place of
    its lines; momentum stays what it is.

    >>> [round(one_cycle(s, 0.1, 1.0, 0.0, 0.4, 10), 9) for s in (0, 2, 4, 7, 10)]
    [0.1, 0.55, 1.0, 0.5, 0.0]
    """
    top = max(1, round(rise * stop))
    if step < top:
        return cosine(step, start, peak, 0, top)
    return cosine(step, peak, last, top, stop)


def polynomial(step: int, first: float, last: float, start: int, stop: int, power: float) -> float:
    """Fall from `first` to `last` as (1 - progress) to the power.

    >>> polynomial(5, 1.0, 0.0, 0, 10, 2.0)
    0.25
    """
    return last + (first - last) * (1 - _progress(step, start, stop)) ** power


def multistep(step: int, first: float, milestones: list[int], gamma: float) -> float:
    """Multiply by `gamma` at each milestone step.

    >>> [round(multistep(s, 1.0, [2, 4], 0.1), 6) for s in (1, 2, 4)]
    [1.0, 0.1, 0.01]
    """
    return first * gamma ** bisect_right(milestones, step)


def build_schedule(
    optim: OptimSettings, *, steps_per_epoch: int, epochs: float, global_batch: int
) -> Schedule:
    """Build the schedule that the settings describe.

    Args:
        optim: The optimizer settings.
        steps_per_epoch: Steps in one epoch over all devices.
        epochs: Length of the recipe.
        global_batch: Images per step over all devices.

    Returns:
        A callable from step number to learning rate.
    """
    total = max(1, round(epochs * steps_per_epoch))
    warmup = optim.warmup_steps
    if optim.schedule == "one_cycle":
        warmup = 0
    elif warmup is None:
        warmup = round(optim.warmup_epochs * steps_per_epoch)
    base = scaled_lr(optim.lr, optim.lr_scaling, global_batch, optim.reference_batch)
    last = base * optim.final_ratio

    def decay(step: int) -> float:
        if optim.schedule == "cosine":
            return cosine(step, base, last, warmup, total)
        if optim.schedule == "one_cycle":
            return one_cycle(step, optim.warmup_lr, base, last, optim.rise, total)
        if optim.schedule == "polynomial":
            return polynomial(step, base, last, warmup, total, optim.power)
        if optim.schedule == "multistep":
            steps = [round(epoch * steps_per_epoch) for epoch in optim.milestones]
            return multistep(step, base, steps, optim.gamma)
        return base

    return Schedule(base, warmup, total, optim.warmup_lr, decay)


def ema_decay(decay: float, step: int, warmup: bool) -> float:
    """Return the share of the old average that the update after `step` (from 0) keeps.

    >>> ema_decay(0.999, 0, True), ema_decay(0.999, 0, False)
    (0.1, 0.999)
    """
    return min(decay, (1 + step) / (10 + step)) if warmup else decay


def _progress(step: int, start: int, stop: int) -> float:
    return min(1.0, max(0.0, (step - start) / max(1, stop - start)))
