"""`schedule_to=max_minutes`: a recipe short enough that its learning rate falls to the end in the
time there is.

The time of a step is measured in the first steps of the run; from then on the run is one of that
many epochs, which its settings and checkpoints say, so that a resumed run is the same. When a run
stops is `process/signals.py`.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from training.learning.assemble import RunComponents
from training.learning.schedule import build_schedule
from training.process.signals import StopRequest
from training.process.world import World
from training.settings import TrainSettings

MEASURED_STEPS = 10
"""Steps that are measured, after the first, which compiles."""

_MARGIN = 0.95
"""Share of the time left that is planned for: what was measured in ten steps is not exact."""


def shortened(settings: TrainSettings, epochs: float) -> TrainSettings:
    """Return the recipe cut to fewer epochs: warm-up and milestones keep their share of it.

    Args:
        settings: The recipe.
        epochs: Its new length, at most the old one.
    """
    share = epochs / settings.epochs
    optim = settings.optim
    warmup = None if optim.warmup_steps is None else max(1, round(optim.warmup_steps * share))
    optim = dataclasses.replace(
        optim,
        warmup_epochs=optim.warmup_epochs * share,
        warmup_steps=warmup if optim.warmup_steps else optim.warmup_steps,
        milestones=[epoch * share for epoch in optim.milestones],
    )
    return dataclasses.replace(settings, epochs=epochs, optim=optim, schedule_to="recipe")


def taken_over(settings: TrainSettings, card: dict[str, Any]) -> TrainSettings:
    """Return the settings of a run that goes on from a checkpoint, whose length may have been
    fitted.

    Args:
        settings: As given; `schedule_to` may still ask for a fit.
        card: The settings in the checkpoint's card.
    """
    if settings.schedule_to != "max_minutes" or card.get("schedule_to") != "recipe":
        return settings
    made = card["optim"]
    optim = dataclasses.replace(
        settings.optim,
        warmup_epochs=made["warmup_epochs"],
        warmup_steps=made["warmup_steps"],
        milestones=made["milestones"],
    )
    return dataclasses.replace(settings, epochs=card["epochs"], optim=optim, schedule_to="recipe")


def steps_that_fit(
    seconds_a_step: float, seconds_left: float, evaluation_s: float, evaluation_every: int
) -> int:
    """Return how many steps there is time for, evaluations on the way and at the end included.

    >>> steps_that_fit(1.0, 105.0, 5.0, 0), steps_that_fit(1.0, 105.0, 5.0, 10)
    (94, 63)
    """
    left = _MARGIN * seconds_left - evaluation_s
    every = evaluation_s / evaluation_every if evaluation_every else 0.0
    return max(0, int(left / (seconds_a_step + every)))


def fit(
    components: RunComponents, world: World, stop: StopRequest, step: int, seconds_a_step: float
) -> str:
    """Cut a run's recipe to the time that is left; call it on every rank.

    Args:
        components: The run; settings, schedule and number of steps change in place.
        world: This rank; the clock of rank 0 decides.
        stop: Knows the limit.
        step: Steps done.
        seconds_a_step: As measured on this rank.

    Returns:
        What was done, in words.
    """
    settings = components.settings
    every = round(settings.evaluate_every_epochs * components.steps_per_epoch)
    left, evaluation = stop.plan()
    wanted = world.gather(step + steps_that_fit(seconds_a_step, left, evaluation, every))[0]
    whole = components.schedule.total_steps
    if wanted >= whole:
        components.settings = dataclasses.replace(settings, schedule_to="recipe")
        return f"schedule_to=max_minutes: all {whole} steps of the recipe fit; nothing is cut"
    steps = max(int(wanted), step + 1)
    components.settings = shortened(settings, steps / components.steps_per_epoch)
    components.schedule = build_schedule(
        components.settings.optim,
        steps_per_epoch=components.steps_per_epoch,
        epochs=components.settings.epochs,
        global_batch=components.global_batch,
    )
    components.total_steps = min(components.schedule.total_steps, settings.max_steps or whole)
    return (
        f"schedule_to=max_minutes: {seconds_a_step:.3f} s a step, so the run has "
        f"{components.total_steps} steps ({components.settings.epochs:.2f} epochs) in place of "
        f"{whole}, and its learning rate falls over those"
    )
