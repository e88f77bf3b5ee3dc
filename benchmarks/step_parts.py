"""A training step cut into parts: differences between compiled graphs that each do one thing more.

What is made of the figures, and the comparison with torch, is in `step.py`.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.common import median, seconds_of


def build(
    name: str, batch_size: int, world_size: int = 1, rank: int = 0, num_classes: int = 81
) -> tuple[Any, Any, Any, tuple[Any, Any, Any]]:
    """Build the trainer's own parts and a batch; the device is started.

    Args:
        name: A file of conf/model.
        batch_size: Images of this rank.
        world_size: Ranks that step together.
        rank: This one; its batch is its own.
        num_classes: Classes with background.

    Returns:
        Gradients cell, apply cell, step function, and (images, loc_targets, labels) arrays.
    """
    import mindspore as ms

    from training.learning.assemble import build_state
    from training.learning.gradient_norm import NormByTensor
    from training.learning.reduce import Reduce
    from training.learning.step import Apply, Gradients, build_step
    from training.learning.weight_groups import trainable
    from training.nets.settings import model_settings
    from training.settings import TrainSettings

    ms.set_seed(1)
    settings = TrainSettings(model=model_settings(name), batch_size=batch_size)
    state, normalize, loss = build_state(settings, num_classes)
    chosen = trainable(list(state.optimizer.weights), [])
    gradients = Gradients(state.network, normalize, loss, chosen)
    reduce = Reduce([p.shape for p in chosen], world_size, 128)
    apply = Apply(
        state.optimizer.update_of(chosen),
        reduce,
        state.scaler,
        None,
        None,
        NormByTensor(reduce.layout),
    )
    rng = np.random.default_rng(rank)
    height, width = settings.model.image_size
    anchors = state.network.num_anchors
    images = rng.integers(0, 256, (batch_size, 3, height, width)).astype(np.uint8)
    targets = rng.standard_normal((batch_size, anchors, 4)).astype(np.float32)
    label = min(3, num_classes - 1)
    labels = np.where(rng.random((batch_size, anchors)) < 0.01, label, 0).astype(np.int32)
    return gradients, apply, build_step(gradients, apply, 1), (images, targets, labels)


def measure_parts(gradients: Any, step: Any, batch: Any, rounds: int) -> dict[str, float]:
    """Time every graph once a round and return median seconds by part, the data's wait left at 0.

    They add up to the whole step but for what noise made negative, which counts as 0.
    """
    graphs = build_graphs(gradients, step, batch)
    for graph in graphs.values():
        graph()
    times: dict[str, list[float]] = defaultdict(list)
    for _ in range(rounds):
        for name, graph in graphs.items():
            times[name] += seconds_of(graph, repeats=1, warmups=0)
    return parts_of({name: median(values) for name, values in times.items()})


def parts_of(seconds: dict[str, float]) -> dict[str, float]:
    """Take the graphs' seconds apart: each does what the one before does, and one thing more.

    Args:
        seconds: Of `copy to device`, `forward`, `loss`, `backward` and `step`.

    >>> parts_of({"copy to device": 0.1, "forward": 1, "loss": 1.5, "backward": 4, "step": 4.3})[
    ...     "backward"
    ... ]
    2.5
    """
    before = {"forward": 0.0, "loss": seconds["forward"], "backward": seconds["loss"]}
    parts = {"data wait": 0.0, "copy to device": seconds["copy to device"]}
    for name, less in before.items():
        parts[name] = max(0.0, seconds[name] - less)
    parts["update"] = max(0.0, seconds["step"] - seconds["backward"] - parts["copy to device"])
    parts["all-reduce"] = 0.0
    parts["whole step"] = seconds["step"]
    return parts


def build_graphs(gradients: Any, step: Any, batch: Any) -> dict[str, Callable[[], object]]:
    """Return the step and its beginnings; each call ends when its result is on the host."""
    import mindspore as ms
    from mindspore import Tensor, ops

    scale = Tensor(1.0, ms.float32)
    each = ops.HyperMap()

    @ms.jit
    def forward(images: Tensor) -> Any:
        loc, logits = gradients.network(gradients.normalize(images))
        return loc.sum() + logits.sum()

    @ms.jit
    def forward_loss(images: Tensor, targets: Tensor, labels: Tensor) -> Any:
        return gradients.forward(images, targets, labels, scale)[0]

    # Sums of the gradients, as all of them at once would be held in addition to the step's own.
    @ms.jit
    def differentiate(images: Tensor, targets: Tensor, labels: Tensor) -> Any:
        return ops.addn(each(ops.ReduceSum(), gradients(images, targets, labels, scale)[1]))

    def copy() -> list[Any]:
        return [Tensor(array) for array in batch]

    tensors = copy()
    return {
        "copy to device": copy,
        "forward": lambda: forward(tensors[0]).asnumpy(),
        "loss": lambda: forward_loss(*tensors).asnumpy(),
        "backward": lambda: differentiate(*tensors).asnumpy(),
        "step": lambda: step(*batch, 0.001),
    }


def data_wait(options: argparse.Namespace, step_seconds: float) -> float:
    """Return how long a step waits for its batch when the pipeline runs ahead during the step.

    The drawn scenes are small; `benchmarks/pipeline.py` measures real sizes.
    """
    import tempfile
    import time

    from benchmarks.photographs import samples, write
    from data_tools.augment.settings import AugmentSettings
    from data_tools.pipeline.pipeline import TrainPipeline
    from data_tools.pipeline.settings import PipelineSettings
    from training.boxes.build import build_targets
    from training.nets.settings import model_settings

    model = model_settings(options.model)
    with tempfile.TemporaryDirectory() as folder:
        split = write(Path(folder), samples(max(64, 2 * options.batch)))
        pipeline = TrainPipeline(
            split,
            PipelineSettings(),
            AugmentSettings(),
            model.height_width,
            build_targets(model),
            seed=1,
            batch_size=options.batch,
        )
        waits = []
        batches = pipeline.batches(0, 4)
        for _ in range(4):
            begun = time.perf_counter()
            next(batches)
            waits.append(time.perf_counter() - begun)
            time.sleep(min(step_seconds, 5.0))
        pipeline.close()
    return median(waits[1:])
