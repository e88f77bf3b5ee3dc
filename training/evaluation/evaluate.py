"""A network over every image of a split, once, and what its detections are worth under both
protocols.

The trainer and `eval.py` call `evaluate` alike. Files and pictures are
`training/commands/evaluate.py`'s matter.
"""

from __future__ import annotations

import json
import time
import typing
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import cast

import numpy as np
import numpy.typing as npt

from data_tools.core.errors import DataError
from data_tools.core.progress import Progress
from data_tools.pipeline.encoder import Encoder
from data_tools.pipeline.eval_batches import EvalBatch
from data_tools.pipeline.pipeline import EvalPipeline
from data_tools.shards.manifest import ConvertedSplit
from training.boxes.postprocess import PUBLISHED, Detections, Protocol, coco_protocol, detect
from training.evaluation.detection_table import DetectionTable, TableBuilder
from training.evaluation.ground_truth import read_ground_truth
from training.evaluation.predict_fn import PredictFn
from training.evaluation.scoring import EvaluationResult, score
from training.evaluation.settings import EvaluateSettings


class Judge(typing.Protocol):
    """A network that also compares what it says with the targets of a batch."""

    @property
    def encoder(self) -> Encoder:
        """Makes the targets of the batches."""

    def __call__(self, batch: EvalBatch) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        """Return boxes and scores of a batch that has targets, as `PredictFn` does."""


Gather = Callable[[bytes], list[bytes]]
"""One rank's bytes -> every rank's, in the order of ranks, on every rank."""

_WAITING = 2
"""Batches that may wait for post-processing; bounds memory when it is the slowest part."""


def evaluate(
    predict_fn: PredictFn | None,
    split: ConvertedSplit,
    image_size: tuple[int, int],
    settings: EvaluateSettings,
    *,
    rank: int = 0,
    world_size: int = 1,
    gather: Gather | None = None,
    show_progress: bool = True,
    judge: Judge | None = None,
) -> EvaluationResult:
    """Score a network on every image of a split, each once over all ranks.

    Reading, network and post-processing run at the same time. The digits do not depend on the
    number of ranks; every rank returns the same result.

    Args:
        predict_fn: The network, see `PredictFn`; called with batches of `settings.batch_size`.
        split: The converted split.
        image_size: Height and width that the network takes.
        settings: The `coco` protocol, batch size and readers.
        rank: This rank.
        world_size: Number of ranks.
        gather: Collects bytes from all ranks; needed when `world_size` is above 1.
        show_progress: Print a progress bar (rank 0 only).
        judge: Called in place of `predict_fn`, with whole batches and their targets.

    Returns:
        The figures.

    Raises:
        DataError: If images of the split were not read exactly once.
    """
    if world_size > 1 and gather is None:
        raise ValueError("evaluate: world_size > 1 needs gather")
    if (predict_fn is None) == (judge is None):
        raise ValueError("evaluate: needs predict_fn or judge")
    pipeline = EvalPipeline(
        split,
        image_size,
        settings.batch_size,
        rank=rank,
        world_size=world_size,
        workers=settings.workers,
        encode=judge.encoder if judge is not None else None,
    )
    protocols = (coco_protocol(settings), PUBLISHED)
    category_ids = [c.category_id for c in split.classes]
    progress = Progress(
        f"evaluating {split.manifest.split}",
        -(-split.num_images // world_size),
        enabled=show_progress and rank == 0,
    )
    with progress:
        image_ids, tables, seconds = collect(
            judge or (lambda batch: cast(PredictFn, predict_fn)(batch.images)),
            pipeline.batches(),
            protocols,
            category_ids,
            progress,
        )
    image_ids, tables = _gather_ranks(image_ids, tables, gather)
    truth = read_ground_truth(split.annotations_path)
    _check_each_once(image_ids, truth.image_ids, split)
    return score(truth, tables[0], tables[1], seconds)


def collect(
    predict: Callable[[EvalBatch], tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]],
    batches: Iterator[EvalBatch],
    protocols: tuple[Protocol, ...],
    category_ids: list[int],
    progress: Progress,
) -> tuple[npt.NDArray[np.int64], list[DetectionTable], dict[str, float]]:
    """Run the network over batches and post-process each in a thread meanwhile.

    Args:
        predict: The network: a batch to boxes (N, A, 4) float32, yxyx relative to the image, and
            scores (N, A, C + 1) float32.
        batches: Full batches; images with id -1 are padding.
        protocols: How to make detections; all see the same network output.
        category_ids: Category id of label 1, 2, ...
        progress: Called for every image.

    Returns:
        The image ids seen (images,), a table for each protocol, and the seconds spent by part.
    """
    builders = [TableBuilder(category_ids) for _ in protocols]
    seen: list[int] = []
    seconds = {"wait": 0.0, "network": 0.0, "postprocess": 0.0}
    started = time.perf_counter()
    waiting: deque[Future[tuple[float, list[tuple[int, list[Detections]]]]]] = deque()

    def finish_oldest() -> None:
        spent, results = waiting.popleft().result()
        seconds["postprocess"] += spent
        for image_id, detected in results:
            seen.append(image_id)
            for builder, detections in zip(builders, detected, strict=True):
                builder.add(image_id, detections)
        progress.update(len(results))

    with ThreadPoolExecutor(1, thread_name_prefix="postprocess") as pool:
        while True:
            begun = time.perf_counter()
            batch = next(batches, None)
            read = time.perf_counter()
            seconds["wait"] += read - begun
            if batch is None:
                break
            boxes, scores = predict(batch)
            seconds["network"] += time.perf_counter() - read
            waiting.append(pool.submit(_detect_batch, batch, boxes, scores, protocols))
            while len(waiting) > _WAITING:
                finish_oldest()
        while waiting:
            finish_oldest()
    seconds["total"] = time.perf_counter() - started
    return np.array(seen, np.int64), [b.table() for b in builders], seconds


def _detect_batch(
    batch: EvalBatch,
    boxes: npt.NDArray[np.float32],
    scores: npt.NDArray[np.float32],
    protocols: tuple[Protocol, ...],
) -> tuple[float, list[tuple[int, list[Detections]]]]:
    begun = time.perf_counter()
    results = []
    for k in np.flatnonzero(batch.image_ids >= 0):
        size = int(batch.heights[k]), int(batch.widths[k])
        detections = [detect(boxes[k], scores[k], *size, protocol) for protocol in protocols]
        results.append((int(batch.image_ids[k]), detections))
    return time.perf_counter() - begun, results


def _gather_ranks(
    image_ids: npt.NDArray[np.int64], tables: list[DetectionTable], gather: Gather | None
) -> tuple[npt.NDArray[np.int64], list[DetectionTable]]:
    if gather is None:
        return image_ids, tables
    ids = np.concatenate(
        [
            np.array(json.loads(part), np.int64)
            for part in gather(json.dumps(image_ids.tolist()).encode())
        ]
    )
    merged = [
        DetectionTable.merge([DetectionTable.from_bytes(part) for part in gather(table.to_bytes())])
        for table in tables
    ]
    return ids, merged


def _check_each_once(
    seen: npt.NDArray[np.int64], expected: npt.NDArray[np.int64], split: ConvertedSplit
) -> None:
    seen = np.sort(seen)
    if np.array_equal(seen, expected):
        return
    missing = np.setdiff1d(expected, seen)
    foreign = np.setdiff1d(seen, expected)
    raise DataError(
        f"{split.folder}: {len(seen)} images read, annotations.json lists {len(expected)}; missing "
        f"{missing[:5].tolist()}, not listed {foreign[:5].tolist()}, or read twice. Check the set: "
        f"python convert.py verify={split.folder.parent}"
    )
