"""How fast training batches are made, against the bare limit: decoding the same JPEGs and nothing
else.

Also what each stage costs, matching against a plain loop, and whether memory grows over epochs. All
figures come from one run on one machine; the ratios are medians over rounds that alternate.
"""

from __future__ import annotations

import argparse
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from time import perf_counter
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from benchmarks.common import Result, at_least, median, parser, print_table, seconds_of
from benchmarks.mixing import mixing_costs
from benchmarks.photographs import photograph, samples, smaller, write
from benchmarks.usage import resident_mib
from data_tools.augment.settings import AugmentSettings
from data_tools.core.cores import core_count
from data_tools.pipeline.pipeline import TrainPipeline
from data_tools.pipeline.settings import WORKER_KINDS, PipelineSettings
from data_tools.pipeline.stage_costs import StageCosts, describe_stage_costs
from data_tools.shards.manifest import ConvertedSplit, open_split
from data_tools.shards.reader import RowReader
from training.boxes.build import build_encoder
from training.boxes.codec import BoxEncoder
from training.command_line.error_words import clear_errors
from training.nets.settings import model_settings

LONGEST_SIDE = 400
BATCH = 32
FASTEST_PUBLISHED_STEP = 0.0696
"""Seconds: the fastest published Ascend figure for SSD300 at batch 32."""

PARENT_RATIO = (0.22, 0.26)
"""The published tools' pipeline against the same limit, measured outside (190-218 of 845
images/s)."""

MATCH_BOXES = 7

_WARM_UP = 6


@clear_errors()
def main() -> None:
    """Run the benchmark from the command line."""
    options = parser(__doc__ or "")
    options.add_argument("--data", help="a converted set; default: drawn photographs like COCO's")
    options.add_argument("--split", default="train", help="its split (default: train)")
    options.add_argument(
        "--workers", type=at_least(0), default=0, help="workers; 0 = one for each core"
    )
    options.add_argument("--worker-kind", choices=WORKER_KINDS, help="only this; default: both")
    options.add_argument(
        "--explain", action="store_true", help="what each stage costs, and a conclusion"
    )
    options.add_argument(
        "--step-ms", type=float, default=1e3 * FASTEST_PUBLISHED_STEP,
        help="a device's step time for the conclusion (default: 69.6, the fastest published)",
    )  # fmt: skip
    arguments = options.parse_args()
    with tempfile.TemporaryDirectory(prefix="pipeline-benchmark-") as folder:
        run(arguments, Path(folder)).print()


def run(arguments: argparse.Namespace, folder: Path) -> Result:
    """Measure everything and print the tables.

    Args:
        arguments: The command line.
        folder: An empty folder for shards.

    Returns:
        The last line.
    """
    quick = arguments.quick
    if arguments.data:
        split = open_split(arguments.data, arguments.split)
    else:
        split = write(folder / "original", samples(96 if quick else 448))
    small = write(folder / "small", smaller(split, LONGEST_SIDE))
    cores = arguments.workers or core_count()
    kinds = [arguments.worker_kind] if arguments.worker_kind else list(WORKER_KINDS)
    rounds, steps = (3, 6) if quick else (9, 48)
    by_kind = {
        kind: _rates(
            split, small, PipelineSettings(workers=cores, worker_kind=kind), cores, rounds, steps
        )
        for kind in kinds
    }  # fmt: skip
    ratios = {kind: rates[:, 1:] / rates[:, :1] for kind, rates in by_kind.items()}
    best = max(kinds, key=lambda kind: median(list(ratios[kind][:, 0])))
    reference, _, ours_small = (median(list(values)) for values in by_kind[best].T)
    ratio, ratio_small = (median(list(values)) for values in ratios[best].T)
    rows: list[list[object]] = [["bare limit: cv2.imdecode of the original bytes", reference, 1.0]]
    for kind in kinds:
        for column, what in (
            (1, "original bytes"),
            (2, f"re-encoded to longest side {LONGEST_SIDE}"),
        ):
            figures = [
                median(list(part[:, column - off]))
                for part, off in ((by_kind[kind], 0), (ratios[kind], 1))
            ]
            rows.append([f"ours, {what}, in {kind}", *figures])
    rows.append(["published tools (measured outside)", "", "{}-{}".format(*PARENT_RATIO)])
    print_table(
        f"Training batches, {cores} workers, batch {BATCH}, 300x300, published augmentation",
        ["", "images/s", "of the limit"],
        rows,
    )
    matching = {name: _matching(name, quick) for name in ("ssd300", "ssd_mobilenet_v1_fpn")}
    print_table(
        f"Matching {MATCH_BOXES} boxes",
        ["anchors", "ours ms", "in a batch, encoded, ms", "the same with atss, ms",
         "plain loop ms", "same result"],
        [[m["anchors"], m["ours_ms"], m["encode_ms"], m["atss_ms"], m["loop_ms"], m["same"]]
         for m in matching.values()],
    )  # fmt: skip
    growth = _memory_growth(folder, epochs=10 if quick else 50)
    print(f"\nMemory over {10 if quick else 50} epochs: {growth:+.1f} MiB")
    costs = _stage_costs(split, steps=3 if quick else 10)
    one = PipelineSettings(workers=1, prefetch=0)
    mixing = mixing_costs(lambda augment: _pipeline(split, one, augment), 2 if quick else 5, 2)
    if arguments.explain:
        _explain(costs, arguments.step_ms / 1e3, cores)
    return Result(
        "pipeline",
        ratio * reference,
        reference,
        {
            "unit": "images/s",
            "ours_400": ours_small,
            "ratio_400": ratio_small,
            "parent_ratio": PARENT_RATIO,
            "worker_kind": best,
            "ratios_by_round": {kind: part[:, 0].tolist() for kind, part in ratios.items()},
            "ratios_400_by_round": {kind: part[:, 1].tolist() for kind, part in ratios.items()},
            "workers": cores,
            "matching": matching,
            "stage_ms": {stage: 1e3 * seconds for stage, seconds in costs.seconds.items()},
            "mixing_ms": mixing,
            "cores_for_fastest_published_step": costs.cores_for(FASTEST_PUBLISHED_STEP, BATCH),
            "memory_growth_mib": growth,
            "bytes_per_image": _mean_bytes(split),
            "images": split.num_images,
        },
    )


def _rates(
    split: ConvertedSplit,
    small: ConvertedSplit,
    settings: PipelineSettings,
    cores: int,
    rounds: int,
    steps: int,
) -> npt.NDArray[np.float64]:
    """Images/s of limit, ours and ours on the small shards: (rounds, 3), measured in turn."""
    pipelines = [_pipeline(part, settings) for part in (split, small)]
    encoded = [row.image for row in _rows(split)]
    rates = np.empty((rounds, 3))
    with ThreadPoolExecutor(cores) as pool:
        for pipeline in pipelines:
            _rate(pipeline, 0, cores)
        for number in range(rounds):
            rates[number, 0] = _decode_rate(pool, encoded, cores)
            for column, pipeline in enumerate(pipelines):
                rates[number, 1 + column] = _rate(pipeline, number * steps, steps)
    for pipeline in pipelines:
        pipeline.close()
    return rates


def _pipeline(
    split: ConvertedSplit, settings: PipelineSettings, augment: AugmentSettings | None = None
) -> TrainPipeline:
    model = model_settings("ssd300")
    return TrainPipeline(
        split,
        settings,
        augment or AugmentSettings(),
        model.height_width,
        build_encoder(model),
        seed=0,
        batch_size=BATCH,
    )


def _rate(pipeline: TrainPipeline, start: int, steps: int) -> float:
    """Images/s of a run that starts cold and whose every batch is waited for."""
    begin = perf_counter()
    images = sum(len(batch.image_ids) for batch in pipeline.batches(start, start + steps))
    return images / (perf_counter() - begin)


def _decode_rate(
    pool: ThreadPoolExecutor, encoded: list[npt.NDArray[np.uint8]], cores: int
) -> float:
    """Images/s of `cores` threads that decode and do nothing else."""

    def decode(part: list[npt.NDArray[np.uint8]]) -> None:
        for data in part:
            cv2.imdecode(data, cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)

    parts = [encoded[start::8 * cores] for start in range(8 * cores)]  # fmt: skip
    begin = perf_counter()
    list(pool.map(decode, parts))
    return len(encoded) / (perf_counter() - begin)


def _rows(split: ConvertedSplit) -> Any:
    reader = RowReader(split)
    return (reader[index] for index in range(len(reader)))


def _mean_bytes(split: ConvertedSplit) -> float:
    return float(np.mean([row.image.size for row in _rows(split)]))


def _matching(name: str, quick: bool) -> dict[str, Any]:
    encoder = build_encoder(model_settings(name))
    atss = build_encoder(model_settings(name, assign="atss"))
    rng = np.random.default_rng(0)
    corners = rng.random((MATCH_BOXES, 2)) * 0.8
    sizes = 0.02 + rng.random((MATCH_BOXES, 2)) * (0.98 - corners)
    boxes = np.concatenate([corners, corners + sizes], axis=1).astype(np.float32)
    labels = np.arange(1, MATCH_BOXES + 1, dtype=np.int32)
    repeats = 50 if quick else 300
    images = np.repeat(np.arange(BATCH), MATCH_BOXES)
    many, none = np.tile(boxes, (BATCH, 1)), np.zeros(len(images), bool)
    loc = np.empty((BATCH, encoder.num_anchors, 4), np.float32)
    looped = np.empty((BATCH, encoder.num_anchors), np.int32)

    def encode(by: BoxEncoder = encoder) -> None:
        by.encode_batch(many, np.tile(labels, BATCH), none, images, loc, looped)

    anchors, owners = encoder.match(boxes)
    return {
        "anchors": encoder.num_anchors,
        "ours_ms": 1e3 * median(seconds_of(lambda: encoder.match(boxes), repeats)),
        "encode_ms": 1e3 * median(seconds_of(encode, repeats // 10)) / BATCH,
        "atss_ms": 1e3 * median(seconds_of(lambda: encode(atss), repeats // 10)) / BATCH,
        "loop_ms": 1e3 * median(seconds_of(lambda: plain_match(encoder, boxes), repeats // 10)),
        "same": dict(zip(anchors.tolist(), owners.tolist(), strict=True))
        == plain_match(encoder, boxes),
    }


def plain_match(encoder: BoxEncoder, boxes: npt.NDArray[np.float32]) -> dict[int, int]:
    """The rule of matching, one box after the other over all anchors: anchor to box."""
    y1, x1, y2, x2 = encoder.anchors_yxyx.T
    area = (y2 - y1) * (x2 - x1)
    best = np.zeros(encoder.num_anchors, np.float32)
    owner = np.full(encoder.num_anchors, -1)
    for number, (top, left, bottom, right) in enumerate(boxes):
        height = np.maximum(np.minimum(y2, bottom) - np.maximum(y1, top), 0)
        width = np.maximum(np.minimum(x2, right) - np.maximum(x1, left), 0)
        shared = width * height
        scores = shared / (area + (bottom - top) * (right - left) - shared)
        scores[scores.argmax()] = 2.0
        taken = (scores > encoder.threshold) & (scores > best)
        best = np.where(taken, scores, best)
        owner = np.where(taken, number, owner)
    return {int(anchor): int(owner[anchor]) for anchor in np.flatnonzero(owner >= 0)}


def _memory_growth(folder: Path, epochs: int) -> float:
    """MiB that the process grows by over `epochs` epochs of a small set, after eight to settle."""
    split = write(folder / "tiny", samples(2 * BATCH))
    pipeline = _pipeline(split, PipelineSettings())
    steps = pipeline.steps_per_epoch
    for _ in pipeline.batches(0, 8 * steps):
        pass
    before = resident_mib()
    for _ in pipeline.batches(8 * steps, (8 + epochs) * steps):
        pass
    after = resident_mib()
    pipeline.close()
    return after - before


def _stage_costs(split: ConvertedSplit, steps: int) -> StageCosts:
    """Costs on one core, so that no stage waits for another worker's."""
    pipeline = _pipeline(split, PipelineSettings(workers=1, prefetch=0))
    batches = pipeline.batches(0, _WARM_UP + steps)
    for _ in range(_WARM_UP):  # until the memory that is used again has been touched once
        next(batches)
    costs = StageCosts.of(batches)
    pipeline.close()
    return costs


def _explain(costs: StageCosts, step_seconds: float, cores: int) -> None:
    print_table(
        "What one image costs on one core",
        ["stage", "ms", "%", "what it does"],
        [*costs.table(), ("all", 1e3 * costs.per_image, 100.0, "")],
    )
    print(f"\nConclusion: {describe_stage_costs(costs, step_seconds, BATCH, cores)}")
    wide, tall = photograph(np.random.default_rng(0), 1440, 1920), (300, 300)
    data = cv2.imencode(".jpg", wide)[1]
    full, reduced = (
        1e3 * median(seconds_of(lambda flags=flags: cv2.imdecode(data, flags), 5))  # type: ignore[misc]
        for flags in (cv2.IMREAD_COLOR, cv2.IMREAD_REDUCED_COLOR_4)
    )
    print(
        f"Photographs far larger than the input: 1920x1440 decodes in {full:.1f} ms, at a quarter "
        f"of its size (still more than {tall[0]}x{tall[1]}) in {reduced:.1f} ms: "
        "pipeline.scaled_decode=true does that where the crop allows it, or convert with a longest "
        "side."
    )


if __name__ == "__main__":
    main()
