"""Build the parts of a run from its settings: network, loss, optimizer, compiled steps, schedule.

What happens with them, step by step, is in `training/run/trainer.py`.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mindspore import nn

from data_tools.core.settings_fields import require
from data_tools.pipeline.pipeline import TrainPipeline
from data_tools.shards.manifest import ConvertedSplit
from training.boxes.build import build_targets
from training.checkpoints.checkpoint import Card
from training.learning.gradient_norm import NormByTensor, NormOfVector
from training.learning.loss_scale import LossScale, share_of
from training.learning.losses import build_loss
from training.learning.optimizer import Optimizer
from training.learning.reduce import Reduce
from training.learning.schedule import Schedule, build_schedule
from training.learning.state import TrainState
from training.learning.statistics import NormShares, Statistics, statistics_of
from training.learning.step import Apply, Gradients
from training.learning.training_network import (
    build_same,
    build_trainable,
    cores_of_rank,
    models_at_sizes,
)
from training.learning.weight_average import WeightAverage
from training.learning.weight_groups import expand_backbone, matches, trainable
from training.nets.normalize import Normalize
from training.process.runtime import versions
from training.process.world import World
from training.settings import TrainSettings


@dataclass(frozen=True)
class Phase:
    """A stretch of the run with one set of training parameters, hence one compiled step.

    Attributes:
        first_step: First step (from 0) of the phase.
        freeze: Patterns of names that do not train in it.
    """

    first_step: int
    freeze: tuple[str, ...]


@dataclass
class RunComponents:
    """Everything a run is made of.

    Attributes:
        settings: All settings.
        world: This rank.
        split: The training split.
        schedule: Learning rate by step.
        steps_per_epoch: Steps in an epoch.
        total_steps: Steps the run takes, `max_steps` considered.
        phases: In the order of their first steps.
        state: The cells that make up the state.
        normalize: uint8 to network input.
        loss: The loss cell.
        pipeline: The batches of this rank.
    """

    settings: TrainSettings
    world: World
    split: ConvertedSplit
    schedule: Schedule
    steps_per_epoch: int
    total_steps: int
    phases: list[Phase]
    state: TrainState
    normalize: nn.Cell
    loss: nn.Cell
    pipeline: TrainPipeline

    @property
    def output(self) -> Path:
        """The run's folder."""
        return Path(self.settings.output)

    @property
    def global_batch(self) -> int:
        """Images per step over all devices."""
        return self.settings.batch_size * self.world.size

    def card(self, step: int) -> Card:
        """Return the card of a checkpoint after `step` steps, without files and metrics."""
        return Card(
            step=step,
            epoch=step // self.steps_per_epoch,
            seed=self.settings.seed,
            model=dataclasses.asdict(self.settings.model),
            num_classes=self.split.num_classes,
            classes=[dataclasses.asdict(info) for info in self.split.classes],
            data_fingerprint=self.split.fingerprint,
            settings=dataclasses.asdict(self.settings),
            versions=versions(),
            global_batch=self.global_batch,
        )


def build_components(settings: TrainSettings, world: World, split: ConvertedSplit) -> RunComponents:
    """Build everything that a run is made of.

    Args:
        settings: All settings.
        world: This rank.
        split: The training split.

    Returns:
        The parts, with the pipeline of this rank.

    Raises:
        SettingError: If the settings do not fit each other or the network.
    """
    pipeline = build_pipeline(settings, split, world)
    global_batch = settings.batch_size * world.size
    schedule = build_schedule(
        settings.optim,
        steps_per_epoch=pipeline.steps_per_epoch,
        epochs=settings.epochs,
        global_batch=global_batch,
    )
    total = schedule.total_steps
    if settings.max_steps is not None:
        total = min(total, settings.max_steps)
    state, normalize, loss = build_state(settings, split.num_classes, world.size)
    phases = build_phases(settings, pipeline.steps_per_epoch)
    for phase in phases:  # a pattern that fits nothing is said now, not at the phase's first step
        trainable(state.optimizer.weights, expand_backbone(state.network, phase.freeze))
    return RunComponents(
        settings=settings,
        world=world,
        split=split,
        schedule=schedule,
        steps_per_epoch=pipeline.steps_per_epoch,
        total_steps=total,
        phases=phases,
        state=state,
        normalize=normalize,
        loss=loss,
        pipeline=pipeline,
    )


def build_pipeline(settings: TrainSettings, split: ConvertedSplit, world: World) -> TrainPipeline:
    """Return the training pipeline of a rank."""
    workers = settings.pipeline.workers or cores_of_rank()
    return TrainPipeline(
        split,
        dataclasses.replace(settings.pipeline, workers=workers),
        settings.augment,
        settings.model.height_width,
        build_targets(settings.model, settings.pipeline.crowd_ignore),
        seed=settings.seed,
        batch_size=settings.batch_size,
        rank=world.rank,
        world_size=world.size,
        epochs=settings.epochs,
    )


def build_phases(settings: TrainSettings, steps_per_epoch: int) -> list[Phase]:
    """Return the phases that freezing and thawing cut the run into."""
    optim = settings.optim
    phases = [Phase(0, tuple(optim.freeze))]
    if optim.freeze and optim.freeze_epochs is not None:
        phases.append(Phase(max(1, round(optim.freeze_epochs * steps_per_epoch)), ()))
    return phases


def build_state(
    settings: TrainSettings, num_classes: int, world_size: int = 1
) -> tuple[TrainState, nn.Cell, nn.Cell]:
    """Build network, optimizer, loss scale and average.

    Args:
        settings: All settings.
        num_classes: Classes with background.
        world_size: Number of ranks.

    Returns:
        The state, the normalisation cell and the loss cell.
    """
    weights_given = settings.loss.class_weights
    require(
        len(weights_given) in (0, num_classes - 1),
        "loss.class_weights",
        weights_given,
        f"{num_classes - 1} numbers, one for each class of the data set in its order, or none",
    )
    network = build_trainable(settings, num_classes)
    runtime, optim = settings.runtime, settings.optim
    weights = list(network.trainable_params())
    factors = {
        name: factor
        for pattern, factor in optim.lr_factors.items()
        for name in expand_backbone(network, [pattern])
    }
    average = None
    if optim.ema is not None:
        average = WeightAverage(list(network.get_parameters()))
    scaler = LossScale(
        runtime.loss_scale,
        runtime.loss_scale_window,
        active=runtime.precision == "fp16",
        share=share_of(settings.batch_size * world_size),
    )
    optimizer = Optimizer(weights, dataclasses.replace(optim, lr_factors=factors))
    norms = NormShares(network) if optim.norm_correction else None
    state = TrainState(network, optimizer, scaler, average, norms)
    return (
        state,
        Normalize(settings.model.mean, settings.model.std),
        build_loss(settings.loss, settings.model, settings.pipeline.crowd_ignore),
    )


def build_phase_cells(components: RunComponents, phase: Phase) -> tuple[Gradients, Apply]:
    """Build the cells of a phase's step, which sets the norms that use their stored statistics."""
    settings, state = components.settings, components.state
    freeze = expand_backbone(state.network, phase.freeze)
    chosen = trainable(list(state.optimizer.weights), freeze)
    freeze_norms(state.network, freeze)
    gradients = Gradients(state.network, components.normalize, components.loss, chosen)
    reduce = Reduce([p.shape for p in chosen], components.world.size, settings.runtime.bucket_mb)
    norm = NormByTensor(reduce.layout) if settings.runtime.device == "CPU" else NormOfVector()
    apply = Apply(
        state.optimizer.update_of(chosen),
        reduce,
        state.scaler,
        state.average,
        settings.optim.clip_norm,
        norm,
        settling_of(components),
    )
    return gradients, apply


def gradients_at_sizes(
    components: RunComponents, phase: Phase, gradients: Gradients
) -> dict[tuple[int, int], Gradients]:
    """Return a phase's gradients at every size of its steps, (H, W), the network's own among them.

    Args:
        components: The run.
        phase: The phase.
        gradients: Those at the network's own size, from `build_phase_cells`.
    """
    settings, state = components.settings, components.state
    by_size = {settings.model.height_width: gradients}
    freeze = expand_backbone(state.network, phase.freeze)
    chosen = trainable(list(state.optimizer.weights), freeze)
    for size, model in models_at_sizes(settings).items():
        network = build_same(settings, model, components.split.num_classes, state.network)
        freeze_norms(network, freeze)
        loss = build_loss(settings.loss, model, settings.pipeline.crowd_ignore)
        by_size[size] = Gradients(network, components.normalize, loss, chosen)
    return by_size


def settling_of(components: RunComponents) -> Statistics | None:
    """Return what corrects batch-norm statistics in the step's graph, or puts them back there."""
    settings, norms = components.settings, components.state.norms
    if norms is not None:
        return norms.cell(settings.optim.accumulate)
    # A sunk step that is not finite is found after others have followed it.
    return guard_of(components) if settings.runtime.sink_steps else None


def guard_of(components: RunComponents) -> Statistics | None:
    """Return what puts batch-norm statistics back after a step that is left out; None if none ever
    is, or the step's graph does it.
    """
    runtime, live = components.settings.runtime, statistics_of(components.state.network)
    if components.state.norms is not None:
        return None
    skips = runtime.nonfinite == "skip" or runtime.precision == "fp16" or runtime.sink_steps > 0
    return Statistics(live) if skips and live else None


def freeze_norms(network: nn.Cell, freeze: tuple[str, ...]) -> None:
    """Let norms whose scale and shift are frozen use, and keep, their stored statistics.

    A frozen backbone whose statistics went on moving would not be frozen.
    """
    network.set_train(True)
    for _, cell in network.cells_and_names():
        gamma: Any = getattr(cell, "gamma", None)
        if gamma is not None and matches(gamma.name, freeze):
            cell.set_train(False)
