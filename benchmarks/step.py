"""Where the time of a training step goes: by part, by oneDNN operator, and beside torch if it is there.

Parts are differences between compiled graphs that each do one thing more. Several devices are measured
in `scaling.py`.
"""

from __future__ import annotations

import argparse
import os
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.common import Result, at_least, median, parser, print_table, seconds_of
from benchmarks.onednn_trace import MARKED_VARIABLE, measure_operators
from benchmarks.torch_twin import LAYOUTS, Twin, is_here
from training.error_words import clear_errors

PUBLISHED_SECONDS = 9.2
"""The published definition's step at batch 32 with the oneDNN setting, measured outside on two cores."""


@clear_errors()
def main() -> None:
    """Run the benchmark."""
    arguments = parser(__doc__ or "")
    arguments.add_argument("--model", default="ssd300", help="a file of conf/model (ssd300)")
    arguments.add_argument("--batch", type=at_least(1), default=32, help="images per step (32)")
    arguments.add_argument("--steps", type=at_least(1), default=5, help="timed steps (5)")
    arguments.add_argument("--isa", help="ONEDNN_MAX_CPU_ISA to try instead of ours")
    options = arguments.parse_args()
    if options.quick:
        options.batch, options.steps = min(options.batch, 8), 3
    if options.isa:
        os.environ["ONEDNN_MAX_CPU_ISA"] = options.isa
    from training.runtime import prepare_environment

    prepare_environment()
    if os.environ.get(MARKED_VARIABLE):
        step_once(options)
        return
    parts, torch = measure(options)
    total = parts["whole step"]
    rows = [(name, 1e3 * seconds, 100 * seconds / total) for name, seconds in parts.items()]
    print_table(f"One step of {options.model}, batch {options.batch}", ["part", "ms", "%"], rows)
    operators, covered = measure_operators(
        ["--model", options.model, "--batch", str(options.batch)]
    )
    print_table(
        "The ten dearest oneDNN operators of a step",
        ["operator", "implementation", "calls", "ms"],
        operators,
    )
    print(f"All oneDNN operators together: {covered:.0f} ms of {1e3 * total:.0f} ms.")
    if torch:
        print_table(
            "The same network, loss and optimizer in torch",
            ["layout", "ms", "ours / theirs"],
            [(name, 1e3 * seconds, seconds / total) for name, seconds in torch.items()],
        )
    else:
        print("torch is not installed: no side by side.")
    reference, reference_is = reference_seconds(options, torch, total)
    Result(
        "step",
        options.batch / total,
        options.batch / reference,
        {
            "unit": "images/s",
            "model": options.model,
            "batch": options.batch,
            "milliseconds": {name: 1e3 * seconds for name, seconds in parts.items()},
            "onednn_milliseconds": covered,
            "torch_seconds": torch,
            "reference_is": reference_is,
        },
    ).print()


def reference_seconds(
    options: argparse.Namespace, torch: dict[str, float], ours: float
) -> tuple[float, str]:
    """Return the seconds to compare with, and what they are."""
    if torch:
        return torch["NCHW"], "torch NCHW, here"
    if options.model == "ssd300":
        return PUBLISHED_SECONDS * options.batch / 32, (
            "the published definition with the oneDNN setting: 9.2 s at batch 32, measured on another "
            "two-core machine"
        )
    return ours, "none for this model: our own figure"


def build(options: argparse.Namespace) -> tuple[Any, Any, tuple[Any, Any, Any]]:
    """Build the trainer's own parts and a batch.

    Returns:
        Gradients cell, step function, and (images, loc_targets, labels) arrays.
    """
    import mindspore as ms

    from training.assemble import build_state
    from training.nets.settings import model_settings
    from training.optimizer import trainable
    from training.reduce import Reduce
    from training.runtime import start_device
    from training.settings import RuntimeSettings, TrainSettings
    from training.step import Apply, Gradients, build_step

    start_device(RuntimeSettings())
    ms.set_seed(1)
    settings = TrainSettings(model=model_settings(options.model), batch_size=options.batch)
    state, normalize, loss = build_state(settings, 81)
    chosen = trainable(list(state.optimizer.weights), [])
    gradients = Gradients(state.network, normalize, loss, chosen)
    apply = Apply(
        state.optimizer.update_of(chosen),
        Reduce([p.shape for p in chosen], 1, 128),
        state.scaler,
        None,
        None,
    )
    rng = np.random.default_rng(0)
    height, width = settings.model.image_size
    anchors = state.network.num_anchors
    images = rng.integers(0, 256, (options.batch, 3, height, width)).astype(np.uint8)
    targets = rng.standard_normal((options.batch, anchors, 4)).astype(np.float32)
    labels = np.where(rng.random((options.batch, anchors)) < 0.01, 3, 0).astype(np.int32)
    return gradients, build_step(gradients, apply, 1), (images, targets, labels)


def measure(options: argparse.Namespace) -> tuple[dict[str, float], dict[str, float]]:
    """Time every graph, and torch, once a round: a slow moment of the machine then meets all of them.

    Returns:
        Seconds by part, which add up to the whole step but for what is rounded up to 0; and torch's
        seconds of a step by memory layout, empty without torch.
    """
    graphs = build_graphs(options)
    for graph in graphs.values():
        graph()
    twin = Twin(options.batch) if options.model == "ssd300" and is_here() else None
    times: dict[str, list[float]] = defaultdict(list)
    for _ in range(options.steps):
        for name, graph in graphs.items():
            times[name] += seconds_of(graph, repeats=1, warmups=0)
        if twin:
            for layout in LAYOUTS:
                times[layout].append(twin.step(layout))
    if twin:
        twin.close()
    seconds = {name: median(values) for name, values in times.items()}
    theirs = {layout: seconds[layout] for layout in LAYOUTS if twin}
    return parts_of(seconds, data_wait(options, seconds["step"])), theirs


def parts_of(seconds: dict[str, float], waited: float) -> dict[str, float]:
    """Take the graphs' seconds apart: each does what the one before does, and one thing more.

    Args:
        seconds: Of `copy to device`, `forward`, `loss`, `backward` and `step`.
        waited: Seconds that a step waits for its data.

    >>> parts_of({"copy to device": 0.1, "forward": 1, "loss": 1.5, "backward": 4, "step": 4.3}, 0.2)[
    ...     "backward"
    ... ]
    2.5
    """
    before = {"forward": 0.0, "loss": seconds["forward"], "backward": seconds["loss"]}
    parts = {"data wait": waited, "copy to device": seconds["copy to device"]}
    for name, less in before.items():
        parts[name] = max(0.0, seconds[name] - less)
    parts["update"] = max(0.0, seconds["step"] - seconds["backward"] - parts["copy to device"])
    parts["all-reduce"] = 0.0
    parts["whole step"] = seconds["step"] + waited
    return parts


def build_graphs(options: argparse.Namespace) -> dict[str, Callable[[], object]]:
    """Compile the step and its beginnings; each call ends when its result is on the host."""
    import mindspore as ms
    from mindspore import Tensor, ops

    gradients, step, batch = build(options)
    scale = Tensor(1.0, ms.float32)
    each = ops.HyperMap()

    @ms.jit
    def forward(images: Tensor) -> Any:
        loc, logits = gradients.network(gradients.normalize(images))
        return loc.sum() + logits.sum()

    @ms.jit
    def forward_loss(images: Tensor, targets: Tensor, labels: Tensor) -> Any:
        return gradients.forward(images, targets, labels, scale)[0]

    # The gradients' sums, for all of them at once would be held beside the step's own.
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
    from data_tools.pipeline import TrainPipeline
    from data_tools.pipeline_settings import AugmentSettings, PipelineSettings
    from training.corners import build_encoder
    from training.nets.settings import model_settings

    model = model_settings(options.model)
    with tempfile.TemporaryDirectory() as folder:
        split = write(Path(folder), samples(max(64, 2 * options.batch)))
        pipeline = TrainPipeline(
            split,
            PipelineSettings(),
            AugmentSettings(),
            (int(model.image_size[0]), int(model.image_size[1])),
            build_encoder(model),
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


def step_once(options: argparse.Namespace) -> None:
    """Run three steps for their oneDNN trace; the last one is between two marks."""
    _, step, batch = build(options)
    for _ in range(2):
        step(*batch, 0.001)
    print("MARK begin", flush=True)
    step(*batch, 0.001)
    print("MARK end", flush=True)


if __name__ == "__main__":
    main()
