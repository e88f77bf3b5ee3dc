"""The pass over a split: every image once, the same digits for any ranks, both protocols."""

from __future__ import annotations

import dataclasses
import json
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from data_tools.core.errors import DataError
from data_tools.shards.manifest import ConvertedSplit
from data_tools.sources.shapes import shape_samples
from tests.helpers.eval_fixtures import (
    CLASSES,
    PixelPredictor,
    perfect_predictor,
    shapes_split,
    write_split,
)
from training.evaluation.coco_ap import NAMES
from training.evaluation.crosscheck import compare_with_pycocotools
from training.evaluation.evaluate import evaluate
from training.evaluation.metrics_table import metrics_table
from training.evaluation.settings import EvaluateSettings

SIZE = (48, 64)
SETTINGS = EvaluateSettings(batch_size=4, score_floor=0.3)


@pytest.fixture(scope="module")
def split(tmp_path_factory: pytest.TempPathFactory) -> ConvertedSplit:
    return shapes_split(tmp_path_factory.mktemp("set"), count=11)


def threaded_gather(world_size: int) -> Callable[[bytes], list[bytes]]:
    """Gather between threads that play ranks; ranks are told apart by their thread's name."""
    barrier = threading.Barrier(world_size)
    parts: list[Any] = [b""] * world_size

    def gather(payload: bytes) -> list[bytes]:
        rank = int(threading.current_thread().name.rsplit("_", 1)[1])
        parts[rank] = payload
        barrier.wait(60)
        collected = list(parts)
        barrier.wait(60)
        return collected

    return gather


def evaluate_on_ranks(split: ConvertedSplit, world_size: int) -> list[Any]:
    gather = threaded_gather(world_size)

    def one(_: int) -> Any:
        rank = int(threading.current_thread().name.rsplit("_", 1)[1])
        return evaluate(
            PixelPredictor(7),
            split,
            SIZE,
            SETTINGS,
            rank=rank,
            world_size=world_size,
            gather=gather,
            show_progress=False,
        )

    with ThreadPoolExecutor(world_size, thread_name_prefix="rank") as pool:
        return list(pool.map(one, range(world_size)))


def test_a_perfect_network_scores_one(tmp_path: Path) -> None:
    samples = list(shape_samples(3, "val", 12, min_side=96, max_side=150))
    split = write_split(tmp_path, samples)
    result = evaluate(perfect_predictor(samples, SIZE), split, SIZE, SETTINGS)
    assert result.metrics["coco"]["AP"] == pytest.approx(1.0)
    assert result.metrics["published"]["AP50"] == pytest.approx(1.0)
    assert result.metrics["voc"]["AP2010"] == pytest.approx(1.0)
    assert result.metrics["coco"]["num_images"] == 12
    scored = sum(len(s.category_ids) > 0 and not s.iscrowd.any() for s in samples)
    assert result.metrics["published"]["num_images"] == scored < 12


def test_metrics_have_the_promised_shape(split: ConvertedSplit) -> None:
    predict = PixelPredictor(7)
    metrics = evaluate(predict, split, SIZE, SETTINGS).metrics
    assert predict.calls == 3  # 11 images in batches of 4, the last one padded
    assert list(metrics) == ["coco", "published", "voc", "per_class", "thresholds"]
    assert list(metrics["coco"]) == list(metrics["published"]) == [*NAMES, "num_images"]
    assert list(metrics["per_class"]) == [c.name for c in CLASSES]
    assert json.loads(json.dumps(metrics)) == metrics
    table = metrics_table(metrics)
    assert "published" in table and "triangle" in table and "images" in table


def test_every_image_exactly_once(split: ConvertedSplit) -> None:
    result = evaluate(PixelPredictor(7), split, SIZE, SETTINGS)
    assert np.unique(result.detections.image_id).tolist() == list(range(11))
    assert np.bincount(result.detections.image_id).max() <= SETTINGS.max_detections


@pytest.mark.parametrize("world_size", [2, 3])
def test_the_same_digits_on_several_ranks(split: ConvertedSplit, world_size: int) -> None:
    alone = evaluate(PixelPredictor(7), split, SIZE, SETTINGS)
    for result in evaluate_on_ranks(split, world_size):
        assert result.metrics == alone.metrics
        assert np.array_equal(result.detections.boxes_xywh_px, alone.detections.boxes_xywh_px)


def test_the_batch_size_changes_nothing(split: ConvertedSplit) -> None:
    results = [
        evaluate(PixelPredictor(7), split, SIZE, dataclasses.replace(SETTINGS, batch_size=size))
        for size in (1, 5, 16)
    ]
    assert results[0].metrics == results[1].metrics == results[2].metrics


def test_pycocotools_agrees(split: ConvertedSplit) -> None:
    result = evaluate(PixelPredictor(7), split, SIZE, SETTINGS)
    assert "agrees" in compare_with_pycocotools(split.annotations_path, result)
    broken = dataclasses.replace(
        result, metrics={**result.metrics, "coco": {**result.metrics["coco"], "AP": 0.5}}
    )
    with pytest.raises(DataError, match="other numbers"):
        compare_with_pycocotools(split.annotations_path, broken)


def test_protocols_are_not_mixed(split: ConvertedSplit) -> None:
    # A higher floor of the coco protocol must not touch the published figures.
    low = evaluate(PixelPredictor(7), split, SIZE, EvaluateSettings(score_floor=0.01)).metrics
    high = evaluate(PixelPredictor(7), split, SIZE, EvaluateSettings(score_floor=0.9)).metrics
    assert low["published"] == high["published"]
    assert low["coco"] != high["coco"]


def test_a_network_that_finds_nothing(split: ConvertedSplit) -> None:
    def nothing(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return np.zeros((len(images), 5, 4), np.float32), np.zeros((len(images), 5, 7), np.float32)

    result = evaluate(nothing, split, SIZE, SETTINGS)
    assert result.metrics["coco"]["AP"] == 0.0
    assert len(result.detections) == 0
    assert "agrees" in compare_with_pycocotools(split.annotations_path, result)


def test_an_image_that_the_annotations_do_not_list_is_an_error(tmp_path: Path) -> None:
    split = shapes_split(tmp_path, count=4)
    content = json.loads(split.annotations_path.read_text())
    content["images"][0]["id"] = 99
    content["annotations"] = []
    split.annotations_path.write_text(json.dumps(content))
    with pytest.raises(DataError, match=r"missing \[99\], not listed \[0\]"):
        evaluate(PixelPredictor(7), split, SIZE, SETTINGS)


def test_an_error_of_the_network_is_not_swallowed(split: ConvertedSplit) -> None:
    def broken(images: np.ndarray) -> Any:
        raise RuntimeError("device lost")

    with pytest.raises(RuntimeError, match="device lost"):
        evaluate(broken, split, SIZE, SETTINGS)


def test_several_ranks_need_a_gather(split: ConvertedSplit) -> None:
    with pytest.raises(ValueError, match="needs gather"):
        evaluate(PixelPredictor(7), split, SIZE, SETTINGS, world_size=2)
