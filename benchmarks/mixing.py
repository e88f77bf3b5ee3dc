"""What mixing images costs: milliseconds of one core for a training image, by stage, for each kind
of mixing.

Part of `benchmarks/pipeline.py`; the mixing itself is `data_tools/augment/compose.py`.
"""

from __future__ import annotations

from collections.abc import Callable

from benchmarks.common import median, print_table
from data_tools.augment.settings import MIXING, AugmentSettings
from data_tools.pipeline.batches import STAGES
from data_tools.pipeline.pipeline import TrainPipeline
from data_tools.pipeline.stage_costs import StageCosts


def mixing_costs(
    build: Callable[[AugmentSettings], TrainPipeline], rounds: int, steps: int
) -> dict[str, float]:
    """Measure every kind at probability 1 against none, in turn, and print the table.

    Args:
        build: Makes a pipeline of one worker.
        rounds: Rounds; figures are medians over them.
        steps: Batches of a round.

    Returns:
        Kind to milliseconds of an image over all stages; `none` is the published augmentation
        alone.
    """
    kinds = {"none": AugmentSettings()}
    kinds |= {name.removesuffix("_probability"): AugmentSettings(**{name: 1.0}) for name in MIXING}  # type: ignore[arg-type]
    pipelines = {kind: build(settings) for kind, settings in kinds.items()}
    costs: dict[str, list[StageCosts]] = {kind: [] for kind in kinds}
    for number in range(rounds + 1):
        for kind, pipeline in pipelines.items():
            batches = (pipeline.batch_at(number * steps + k) for k in range(steps))
            costs[kind].append(StageCosts.of(batches))
    rows: list[list[object]] = []
    totals = {}
    for kind, measured in costs.items():
        later = measured[1:]  # the first touches memory that is used again
        totals[kind] = 1e3 * median([cost.per_image for cost in later])
        stages = [1e3 * median([cost.seconds[stage] for cost in later]) for stage in STAGES]
        rows.append([kind, *stages, totals[kind], totals[kind] / totals["none"]])
    print_table(
        "Mixing: what one image costs on one core, ms (each kind at probability 1)",
        ["mixed", *STAGES, "all", "times"],
        rows,
    )
    return totals
