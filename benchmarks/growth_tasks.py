"""The work whose growth `benchmarks/growth.py` measures, each task in a process of its own.

A task prints one line of JSON: for each stage of it, processor seconds and MiB. Imports and what a
command does once in its life (compiling kernels, building graphs) are not part of a stage.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.usage import Usage

Stages = dict[str, Usage]

BATCH = 32


def main(name: str, arguments: dict[str, Any]) -> None:
    """Run a task and print its line."""
    stages = TASKS[name](**arguments)
    line = {
        k: {"processor_s": u.processor_s, "memory_mib": u.memory_mib} for k, u in stages.items()
    }
    print(json.dumps(line), flush=True)


def convert(raw: str, out: str, workers: int, shards: int = 0) -> Stages:
    """Convert a set in COCO's layout, as the command does."""
    from data_tools.command import run
    from data_tools.convert.settings import ConvertSettings
    from data_tools.sources.settings import DatasetSettings, SplitSettings

    split = SplitSettings(annotations="annotations.json", images="images")
    settings = ConvertSettings(
        dataset=DatasetSettings(kind="coco", root=raw, splits={"train": split}),
        out=out,
        workers=workers,
        shards=shards,
    )
    with Usage() as usage:
        run(settings)
    return {"convert": usage}


def first_batch(
    data: str, model: str = "ssd300", workers: int = 1, kind: str = "threads", ranks: int = 1
) -> Stages:
    """Open a set and make the first batch of rank 0; then an image's share of sixteen more."""
    from data_tools.augment.settings import AugmentSettings
    from data_tools.pipeline.pipeline import TrainPipeline
    from data_tools.pipeline.settings import PipelineSettings
    from data_tools.shards.manifest import open_split
    from training.boxes.build import build_encoder
    from training.nets.settings import model_settings

    import mindspore.dataset  # noqa: F401  isort: skip - not what is measured

    encoder = build_encoder(model_settings(model))

    def pipeline() -> TrainPipeline:
        return TrainPipeline(
            open_split(data, "train"), PipelineSettings(workers=workers, worker_kind=kind),
            AugmentSettings(), (300, 300), encoder, seed=0, batch_size=BATCH, world_size=ranks,
        )  # fmt: skip

    def make(steps: int) -> None:
        made = pipeline()
        for _ in made.batches(0, steps):
            pass
        made.close()

    make(2)  # compiles
    with Usage() as first:
        make(1)
    with Usage() as more:
        make(17)
    more.processor_s = (more.processor_s - first.processor_s) / 16
    return {"first batch": first, "a further batch": more}


def evaluate(data: str, detections: str, output: str) -> Stages:
    """Score a file of detections, then write what `eval.py` writes."""
    from training.commands.evaluate_results import open_truth
    from training.evaluation.coco_matching import kernels
    from training.evaluation.foreign_results import read_foreign_results
    from training.evaluation.scoring import score
    from training.evaluation.settings import EvalCommand
    from training.insight.outputs import Wanted, clear_outputs, write_outputs

    default = EvalCommand
    wanted = Wanted(
        default.worst, default.curves, (), default.report, default.suspects, title="growth"
    )
    kernels()
    with Usage() as evaluating:
        truth, split, _ = open_truth(data, "train")
        table = read_foreign_results(detections, truth)
        result = score(truth, table, table.above(0.1))
    clear_outputs(Path(output))
    with Usage() as reporting:
        write_outputs(Path(output), result, {"split": "train"}, split, wanted)
    return {"evaluation": evaluating, "report": reporting}


def gather(ranks: int, images: int, each: int) -> Stages:
    """Join the detections of ranks as rank 0 does, `ranks` tables that travel as bytes."""
    from training.evaluation.detection_table import DetectionTable

    rng = np.random.default_rng(0)
    parts = []
    for rank in range(ranks):
        ids = np.repeat(np.arange(rank, images, ranks), each)
        boxes = rng.random((len(ids), 4))
        labels = rng.integers(1, 81, len(ids))
        parts.append(DetectionTable(ids, labels, boxes, rng.random(len(ids))).to_bytes())
    with Usage() as usage:
        DetectionTable.merge([DetectionTable.from_bytes(part) for part in parts])
    return {"evaluation, joining": usage}


def detect(anchors: int, classes: int, repeats: int = 5) -> Stages:
    """Boxes and scores of an image to detections; three of a hundred scores pass the floor."""
    from training.boxes import postprocess
    from training.evaluation.settings import EvaluateSettings

    rng = np.random.default_rng(0)
    objects = rng.integers(0, 12, anchors)
    centre = rng.random((12, 2))[objects] + rng.normal(0, 0.03, (anchors, 2))
    size = np.exp(rng.uniform(np.log(0.1), np.log(0.5), (12, 2)))[objects]
    boxes = np.clip(np.concatenate([centre - size / 2, centre + size / 2], 1), 0, 1)
    scores = np.zeros((anchors, classes + 1), np.float32)
    chosen = rng.random((anchors, classes)) < 0.03
    scores[:, 1:][chosen] = rng.uniform(0.11, 1, int(chosen.sum()))
    protocol = postprocess.coco_protocol(EvaluateSettings())
    output = boxes.astype(np.float32), scores
    return _repeated(
        "evaluation, an image's detections",
        lambda: postprocess.detect(*output, 480, 640, protocol),
        repeats,
    )


def step(classes: int, model: str = "ssd_tiny", batch: int = 8, repeats: int = 3) -> Stages:
    """A training step: forward, backward, update."""
    _start_mindspore()
    from benchmarks.step_parts import build

    _, _, run, arrays = build(model, batch, num_classes=classes + 1)
    return _repeated("step", lambda: run(*arrays, 0.0001), repeats)


def loss(anchors: int, classes: int = 80, batch: int = 4, repeats: int = 3) -> Stages:
    """The loss of a batch and its gradient: the part of a step that knows anchors and classes."""
    _start_mindspore()
    import mindspore as ms

    from training.learning.losses import build_loss
    from training.learning.settings import LossSettings

    rng = np.random.default_rng(0)
    shape = (batch, anchors)
    labels = np.where(rng.random(shape) < 0.01, rng.integers(1, classes + 1, shape), 0)
    loc, logits, targets = (
        ms.Tensor(rng.standard_normal((*shape, size)).astype(np.float32))
        for size in (4, classes + 1, 4)
    )
    made = build_loss(LossSettings())
    numbers = ms.Tensor(labels.astype(np.int32))

    def total(loc: Any, logits: Any) -> Any:
        return made(loc, logits, targets, numbers)[0]

    differentiate = ms.value_and_grad(total, (0, 1))

    @ms.jit
    def compiled(loc: Any, logits: Any) -> Any:
        return differentiate(loc, logits)

    return _repeated("step, the loss", lambda: compiled(loc, logits)[0].asnumpy(), repeats)


def _start_mindspore() -> None:
    from training.process.runtime import prepare_environment, start_device
    from training.process.settings import RuntimeSettings

    prepare_environment()
    start_device(RuntimeSettings())


def _repeated(name: str, work: Callable[[], object], repeats: int) -> Stages:
    """Seconds of one of several repeats, after one that compiles."""
    work()
    with Usage() as usage:
        for _ in range(repeats):
            work()
    usage.processor_s /= repeats
    return {name: usage}


TASKS: dict[str, Callable[..., Stages]] = {
    task.__name__: task for task in (convert, first_batch, evaluate, gather, detect, step, loss)
}
"""Tasks by name."""
