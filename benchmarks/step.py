"""Where the time of a training step goes: by part, by oneDNN operator, and beside torch if it is there.

Parts are differences between compiled graphs that each do one thing more. Several devices are measured
in `scaling.py`.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.common import Result, at_least, median, parser, print_table, seconds_of
from training.error_words import clear_errors

PUBLISHED_SECONDS = 9.2
"""The published definition's step at batch 32 with the oneDNN setting, measured outside on two cores."""

VERBOSE_VARIABLE = "SSD_STEP_VERBOSE"


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
    if os.environ.get(VERBOSE_VARIABLE):
        step_once(options)
        return
    parts = measure_parts(options)
    total = parts["whole step"]
    rows = [(name, 1e3 * seconds, 100 * seconds / total) for name, seconds in parts.items()]
    print_table(f"One step of {options.model}, batch {options.batch}", ["part", "ms", "%"], rows)
    operators, covered = measure_operators(options)
    print_table(
        "The ten dearest oneDNN operators of a step",
        ["operator", "implementation", "calls", "ms"],
        operators,
    )
    print(f"All oneDNN operators together: {covered:.0f} ms of {1e3 * total:.0f} ms.")
    torch = measure_torch(options)
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


def measure_parts(options: argparse.Namespace) -> dict[str, float]:
    """Return seconds by part; the parts add up to the whole step."""
    import mindspore as ms
    from mindspore import Tensor

    gradients, step, batch = build(options)
    scale = Tensor(1.0, ms.float32)

    @ms.jit
    def forward(images: Tensor) -> Any:
        loc, logits = gradients.network(gradients.normalize(images))
        return loc, logits

    @ms.jit
    def forward_loss(images: Tensor, targets: Tensor, labels: Tensor) -> Any:
        return gradients.forward(images, targets, labels, scale)[0]

    @ms.jit
    def differentiate(images: Tensor, targets: Tensor, labels: Tensor) -> Any:
        return gradients(images, targets, labels, scale)

    def copy() -> list[Any]:
        return [Tensor(array) for array in batch]

    tensors = copy()
    graphs = {
        "copy to device": copy,
        "forward": lambda: forward(tensors[0])[0].asnumpy(),
        "loss": lambda: forward_loss(*tensors).asnumpy(),
        "backward": lambda: differentiate(*tensors)[1][0].asnumpy(),
        "update": lambda: step(*batch, 0.001),
    }
    seconds = {name: median(seconds_of(graph, options.steps)) for name, graph in graphs.items()}
    parts = {
        "data wait": data_wait(options, seconds["update"]),
        "copy to device": seconds["copy to device"],
    }
    parts["forward"] = seconds["forward"]
    parts["loss"] = max(0.0, seconds["loss"] - seconds["forward"])
    parts["backward"] = max(0.0, seconds["backward"] - seconds["loss"])
    parts["update"] = max(0.0, seconds["update"] - seconds["backward"] - parts["copy to device"])
    parts["all-reduce"] = 0.0
    parts["whole step"] = seconds["update"] + parts["data wait"]
    return parts


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


def measure_operators(options: argparse.Namespace) -> tuple[list[tuple[Any, ...]], float]:
    """Return the ten dearest oneDNN operators (name, implementation, calls, ms) and their sum in ms."""
    command = [sys.executable, "-m", "benchmarks.step", "--model", options.model,
               "--batch", str(options.batch)]  # fmt: skip
    environment = {**os.environ, "ONEDNN_VERBOSE": "1", VERBOSE_VARIABLE: "1"}
    traced = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    return parse_trace(traced.stdout)


def parse_trace(text: str) -> tuple[list[tuple[Any, ...]], float]:
    """Sum a oneDNN trace between the marks.

    A line reads `onednn_verbose,...,exec,cpu,KIND,IMPL,PROP,...,SHAPE,MS`.
    """
    found: dict[tuple[str, str], list[float]] = defaultdict(list)
    inside = False
    for line in text.splitlines():
        if line.startswith("MARK"):
            inside = line.endswith("begin")
            continue
        fields = line.split(",")
        if not inside or "exec" not in fields or not fields[0].endswith("onednn_verbose"):
            continue
        at = fields.index("exec")
        kind, implementation, direction = fields[at + 2 : at + 5]
        shape, milliseconds = fields[-2], float(fields[-1])
        depthwise = re.match(r"mb\d+_g\d+ic", shape) or re.match(r"g(\d+)mb", shape)
        name = f"{'depthwise ' if depthwise else ''}{kind} {direction} {shape}"
        found[name, implementation].append(milliseconds)
    total = sum(sum(times) for times in found.values())
    dearest = sorted(found.items(), key=lambda item: -sum(item[1]))[:10]
    rows = [(name, impl, len(times), sum(times)) for (name, impl), times in dearest]
    return rows, total


def measure_torch(options: argparse.Namespace) -> dict[str, float]:
    """Return seconds of torch's step by memory layout; empty without torch or for other models."""
    try:
        import torch  # type: ignore[import-not-found,unused-ignore]  # noqa: F401
    except ImportError:
        return {}
    from benchmarks.torch_twin import step_seconds

    if options.model != "ssd300":
        return {}
    return step_seconds(options.batch, options.steps)


if __name__ == "__main__":
    main()
