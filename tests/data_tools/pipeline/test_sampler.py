"""Samplers: weights are the papers' formulas, an epoch draws them exactly, and is the same for
ranks and starts.
"""

from __future__ import annotations

import dataclasses
from fractions import Fraction
from math import ceil, floor, sqrt
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_tools.core.errors import SettingError
from data_tools.pipeline.order import TrainOrder, generator
from data_tools.pipeline.pipeline import train_order
from data_tools.pipeline.sampler import drawn_rows, image_weights, occurrences
from data_tools.pipeline.settings import PipelineSettings
from data_tools.shards.manifest import ConvertedSplit
from data_tools.shards.reader import RowReader
from tests.helpers.small_pipelines import build
from tests.helpers.small_sets import drawn_split

CLASSES = 6


@pytest.fixture(scope="module")
def split(tmp_path_factory: pytest.TempPathFactory) -> ConvertedSplit:
    return drawn_split(tmp_path_factory.mktemp("set"), 41, shards=3)


def presence_of(rng: np.random.Generator, images: int) -> np.ndarray:
    """Long-tailed: class c is on a third as many images as class c - 1."""
    return rng.random((images, CLASSES)) < 0.9 / 3.0 ** np.arange(CLASSES)


def slow_factors(presence: np.ndarray, threshold: float) -> list[float]:
    """LVIS's repeat factors, an image and a class at a time."""
    images = len(presence)
    factors = []
    for image in range(images):
        best = 1.0
        for c in range(CLASSES):
            if presence[image, c]:
                share = sum(bool(presence[k, c]) for k in range(images)) / images
                best = max(best, max(1.0, sqrt(threshold / share)))
        factors.append(best)
    return factors


def test_repeat_factors_are_lvis() -> None:
    presence = presence_of(np.random.default_rng(0), 200)
    weights = image_weights(presence, "repeat_factor", 0.2)
    factors = np.array(slow_factors(presence, 0.2))
    assert weights is not None and weights.max() > 2 * weights.min()
    np.testing.assert_allclose(weights, factors * 200 / factors.sum(), rtol=1e-12)
    assert image_weights(presence, "repeat_factor", 1e-6) is None  # nothing is so rare
    assert image_weights(presence, "uniform", 0.2) is None


def test_class_balanced_takes_each_class_as_often() -> None:
    rng = np.random.default_rng(1)
    single = np.eye(CLASSES, dtype=bool)[rng.integers(0, CLASSES, 300) * rng.integers(0, 2, 300)]
    single = np.concatenate([single, np.zeros((30, CLASSES), bool)])  # some without objects
    weights = image_weights(single, "class_balanced", 0.1)
    assert weights is not None
    by_class = single.T @ weights
    known = single.any(axis=0)
    np.testing.assert_allclose(by_class[known], 300 / known.sum())
    np.testing.assert_allclose(weights[300:], 1.0)  # which keep their share


@settings(max_examples=60, deadline=None)
@given(images=st.integers(1, 80), seed=st.integers(0, 2**40))
def test_an_epoch_draws_each_image_as_often_as_its_weight_up_to_rounding(
    images: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    weights = 0.05 + rng.random(images) ** 4
    weights *= images / weights.sum()
    rows = drawn_rows(weights, generator(seed, 0, 0))
    counts = np.bincount(rows, minlength=images)
    assert len(rows) == images
    for count, weight in zip(counts, weights, strict=True):
        assert floor(weight - 1e-9) <= count <= ceil(weight + 1e-9)


def test_over_many_epochs_the_mean_is_the_weight() -> None:
    presence = presence_of(np.random.default_rng(2), 60)
    weights = image_weights(presence, "class_balanced", 0.1)
    assert weights is not None
    order = TrainOrder(60, 3, 60, weights=weights)
    counts = sum(np.bincount(order.rows(epoch), minlength=60) for epoch in range(2000))
    # A count of an epoch is one of two neighbours: deviation at most 1/2, of the mean
    # 1/2/sqrt(2000).
    np.testing.assert_allclose(counts / 2000, weights, atol=5 * 0.5 / sqrt(2000))


def test_occurrences_are_counted() -> None:
    rows = np.random.default_rng(0).integers(0, 9, 100)
    seen: dict[int, int] = {}
    for row, before in zip(rows.tolist(), occurrences(rows).tolist(), strict=True):
        assert before == seen.get(row, 0)
        seen[row] = before + 1


@pytest.mark.parametrize("world", [2, 4])
@pytest.mark.parametrize("last_batch", ["drop", "wrap"])
def test_ranks_share_the_single_devices_batch_and_any_start_is_the_same(
    world: int, last_batch: str
) -> None:
    weights = np.linspace(0.1, 1.9, 53)
    weights *= 53 / weights.sum()
    single = TrainOrder(53, 7, 8, last_batch=last_batch, weights=weights)
    for step in range(3 * single.steps_per_epoch):
        ranks = [TrainOrder(53, 7, 8 // world, r, world, last_batch, weights) for r in range(world)]
        for name in ("rows", "occurrences"):
            parts = [getattr(order, name)(step) for order in ranks]
            np.testing.assert_array_equal(np.concatenate(parts), getattr(single, name)(step))


def test_presence_is_that_of_the_rows(split: ConvertedSplit) -> None:
    reader = RowReader(split)
    presence = reader.presence(len(split.classes))
    for index in range(len(reader)):
        row = reader[index]
        want = {int(label) for label in row.labels[~row.iscrowd]}
        assert set((np.flatnonzero(presence[index]) + 1).tolist()) == want


@pytest.mark.parametrize("sampler", ["repeat_factor", "class_balanced"])
def test_batches_are_the_same_for_any_workers_and_repeats_are_shown_differently(
    split: ConvertedSplit, sampler: str
) -> None:
    options = {"sampler": sampler, "repeat_threshold": 1.0, "seed": 11}
    want: dict[int, np.ndarray] = {}
    for workers, prefetch in ((1, 0), (3, 2)):
        pipeline = build(split, workers=workers, prefetch=prefetch, **options)
        for batch in pipeline.batches(0, 2 * pipeline.steps_per_epoch):
            images = batch.images.copy()
            np.testing.assert_array_equal(want.setdefault(batch.step, images), images)
        pipeline.close()
    order = train_order(split, PipelineSettings(sampler=sampler, repeat_threshold=1.0), 11, 8)
    shown: dict[tuple[int, int], set[bytes]] = {}
    for step, images in want.items():
        for row, image in zip(order.rows(step).tolist(), images, strict=True):
            shown.setdefault((order.epoch_of(step), row), set()).add(image.tobytes())
    times = sum(len(order.rows(step)) for step in want)
    assert len(shown) < times  # some image came twice in an epoch,
    assert sum(len(pictures) for pictures in shown.values()) == times  # and never looked the same


def test_settings_are_checked() -> None:
    assert (
        dataclasses.replace(PipelineSettings(), sampler="repeat_factor").repeat_threshold == 0.001
    )
    with pytest.raises(SettingError, match="pipeline.sampler='random'"):
        PipelineSettings(sampler="random")
    with pytest.raises(SettingError, match=r"pipeline.repeat_threshold=0"):
        PipelineSettings(repeat_threshold=0)


def test_fractions_add_up_for_any_number_of_images(tmp_path: Path) -> None:
    """The line of weights ends at exactly n: no image beyond it, none lost to rounding."""
    for images in (1, 2, 3, 1000, 4097):
        weights = np.full(images, float(Fraction(1, 1)))
        rows = drawn_rows(weights, generator(0, 1, 2))
        assert sorted(rows.tolist()) == list(range(images))
