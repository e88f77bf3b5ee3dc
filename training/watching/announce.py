"""The block of text at the start of a run: device, world, data, model, recipe, versions.

Only words; everything in it was decided elsewhere.
"""

from __future__ import annotations

import platform
from pathlib import Path

from data_tools.shards.reader import RowReader
from training.checkpoints.checkpoint import ENDINGS, stem
from training.learning.assemble import RunComponents
from training.learning.schedule import Schedule
from training.learning.settings import OptimSettings
from training.process.runtime import Environment, versions
from training.settings import TrainSettings


def announce(components: RunComponents, environment: Environment, step: int) -> None:
    """Print the block.

    Args:
        components: The run.
        environment: What was done to the process.
        step: Steps done before.
    """
    for name, text in describe(components, environment, step):
        print(f"{name:>9}  {text}")
    print(flush=True)


def describe(
    components: RunComponents, environment: Environment, step: int
) -> list[tuple[str, str]]:
    """Return the block as (name, text) rows."""
    settings, split = components.settings, components.split
    optim, runtime, model = settings.optim, settings.runtime, settings.model
    totals = split.manifest.totals
    size = sum(p.size for p in components.state.network.get_parameters())
    height, width = model.image_size
    rows = [
        ("device", f"{runtime.device}, {runtime.precision}, {platform.machine()}"),
        *(("", note) for note in environment.notes),
        ("world", f"{components.world.size} device(s) x {settings.batch_size} images = "
                  f"{components.global_batch} a step, in {optim.accumulate} part(s)"),
        ("data", f"{split.folder}: {split.num_images} images, {totals.get('boxes', '?')} boxes, "
                 f"{len(split.classes)} classes, fingerprint {split.fingerprint[:12]}"),
        *(("", line) for line in (*how_often(components), *objects_cut(components))),
        ("model", f"{model.name}, {height}x{width}, {size:,} parameters, norm {model.norm}, "
                  f"loss {settings.loss.kind}"),
        ("recipe", f"{settings.epochs:g} epochs x {components.steps_per_epoch} steps, "
                   f"{optim.schedule} from {components.schedule.base_lr:g} "
                   f"(lr {optim.lr:g}, scaling {optim.lr_scaling} from batch "
                   f"{optim.reference_batch} to {components.global_batch}), "
                   f"{components.schedule.warmup_steps} steps of warm-up"),
        ("", f"{rule_of(optim)}, weight decay {optim.weight_decay:g} on {optim.decay}, "
             f"clip {optim.clip_norm}, ema {optim.ema}, seed {settings.seed}"),
        *(("", line) for line in (*rising(components.schedule, optim), *closing(settings))),
        ("run", steps_to_do(components, step)),
        ("versions", ", ".join(f"{name} {version}" for name, version in versions().items())),
    ]  # fmt: skip
    return rows


def rising(schedule: Schedule, optim: OptimSettings) -> list[str]:
    """Say that a run is over before its warm-up is."""
    steps, total = schedule.warmup_steps, schedule.total_steps
    if steps < max(1, total):
        return []
    return [
        f"{steps} steps of warm-up (optim.warmup_epochs, optim.warmup_steps) in a run of {total}: "
        f"the rate rises all the time, to {schedule(total - 1):.2g} of optim.lr={optim.lr:g}"
    ]


def closing(settings: TrainSettings) -> list[str]:
    """Say that a recipe cut to the time has no closing epochs, or that a run has nothing else."""
    augment = settings.augment
    if not (augment.mixes or augment.sizes):
        return []
    if augment.closing_epochs >= settings.epochs:
        return [
            f"augment.closing_epochs={augment.closing_epochs:g} of epochs={settings.epochs:g}: no "
            "image is mixed and no size drawn"
        ]
    if settings.schedule_to == "recipe":
        return []
    return [
        "no closing epochs with schedule_to=max_minutes: batches are made ahead, before it is "
        "known which epochs are the last"
    ]


def rule_of(optim: OptimSettings) -> str:
    """Name the optimizer with its own numbers."""
    if optim.name == "adamw":
        return f"AdamW {' '.join(f'{beta:g}' for beta in optim.betas)} eps {optim.eps:g}"
    return f"momentum {optim.momentum:g}{' Nesterov' if optim.nesterov else ''}"


def how_often(components: RunComponents) -> list[str]:
    """Say how often a sampler takes images; nothing where each comes once an epoch."""
    weights, pipeline = components.pipeline.order.weights, components.settings.pipeline
    if pipeline.sampler == "uniform":
        return []
    if weights is None:
        return [f"sampler {pipeline.sampler}: no class is rare, so every image comes once an epoch"]
    return [
        f"sampler {pipeline.sampler}: an image comes {weights.min():.2f} to {weights.max():.2f} "
        "times an epoch"
    ]


def objects_cut(components: RunComponents) -> list[str]:
    """Say how many objects `model.max_boxes` leaves out; nothing where it leaves none out."""
    model, augment = components.settings.model, components.settings.augment
    if model.assign != "tal":
        return []
    counts = RowReader(components.split).box_counts()
    over = counts[counts > model.max_boxes]
    mixed = (
        augment.mosaic_probability or augment.mixup_probability or augment.copy_paste_probability
    )
    if not len(over):
        images = 4 if augment.mosaic_probability else 2
        if not mixed or images * counts.max(initial=0) <= model.max_boxes:
            return []
        return [
            f"model.max_boxes={model.max_boxes}: no image has more (up to {counts.max()}), one "
            "mixed of several may; its smallest objects are not learned then"
        ]
    left = int((over - model.max_boxes).sum())
    return [
        f"model.max_boxes={model.max_boxes}: {len(over)} image(s) have more, up to {over.max()}; "
        f"their smallest objects are not learned, {left} of {counts.sum()} in whole images"
        + (", more where images are mixed" if mixed else "")
    ]


def steps_to_do(components: RunComponents, step: int) -> str:
    """Say which steps are to come, or that none are and what a longer run would need."""
    if step < components.total_steps:
        return f"steps {step + 1} to {components.total_steps} into {components.output}"
    limit = components.settings.max_steps
    if limit is not None and limit <= step:
        return (
            f"step {step} of max_steps={limit} is done; a larger max_steps goes on. "
            f"{components.output}"
        )
    return (
        f"finished: all {components.total_steps} steps are done, in {components.output}. To train "
        f"on, start a new run from its weights{_weights_in(Path(components.output), step)}."
    )


def _weights_in(run: Path, step: int) -> str:
    """Name a run's best checkpoint, or its last where it was never evaluated; empty without one."""
    names = [f"{name}{ending}" for name in ("best", stem(step)) for ending in ENDINGS.values()]
    paths = [run / "checkpoints" / name for name in names]
    return next((f" (checkpoint={path})" for path in paths if path.is_file()), "")
