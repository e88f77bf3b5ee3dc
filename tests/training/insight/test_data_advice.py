"""Advice about a data set: the overlap without laying out boxes, and settings that do what they
say.
"""

from __future__ import annotations

from dataclasses import asdict

import numpy as np
import pytest

from data_tools.audit.audit import measure_coverage
from data_tools.audit.coverage import best_matches
from data_tools.audit.findings import SplitAudit
from data_tools.pipeline.sampler import image_weights
from tests.helpers.settings_classes import COMMANDS
from training.command_line.configure import compose
from training.insight.data_advice import advise
from training.insight.fitted_boxes import cluster_sizes, reach
from training.nets.anchors import default_boxes
from training.nets.settings import model_settings


def audit_of(sides: np.ndarray, picture: int = 500, an_image: int = 4, seed: int = 2) -> SplitAudit:
    """Objects of the given (height, width), relative, spread over square pictures."""
    rng = np.random.default_rng(seed)
    low = rng.random(sides.shape) * (1 - sides)
    images = len(sides) // an_image
    return SplitAudit(
        "train",
        {},
        sides_px=[(picture, picture)] * images,
        counts=[an_image] * images,
        boxes_rel=np.hstack([low, low + sides]),
        areas_px=sides.prod(axis=1) * picture**2,
        names=["a"],
        labels=np.ones(len(sides), np.int32),
        iscrowd=np.zeros(len(sides), bool),
    )


def small_objects(count: int = 400) -> np.ndarray:
    rng = np.random.default_rng(7)
    side, ratio = np.exp(rng.normal(np.log(0.06), 0.3, count)), np.exp(rng.normal(0, 0.3, count))
    return np.stack([side / ratio, side * ratio], axis=1)


@pytest.mark.parametrize("name", ["ssd300", "ssd_mobilenet_v1_fpn", "ssd300_vgg16"])
def test_reach_is_the_best_of_all_boxes(name: str) -> None:
    rng = np.random.default_rng(3)
    low, high = np.sort(rng.random((2, 60, 2)), axis=0)
    boxes = np.hstack([low, np.maximum(high, low + 0.004)])
    model = model_settings(name)
    wanted = best_matches(boxes.astype(np.float32), default_boxes(model)).overlap
    np.testing.assert_allclose(reach(boxes, model), wanted, atol=2e-5)


def test_the_advised_settings_reach_as_many_objects_as_they_say() -> None:
    audit = audit_of(small_objects())
    rows = np.arange(len(audit.labels))
    model = model_settings("ssd_tiny")
    before = measure_coverage(audit, default_boxes(model))["all"]["at_least_0.5"]
    found = [one for one in advise(audit, rows, model) if one.overrides]
    assert [one.title.split(",")[0] for one in found][:1] == ["default boxes of other sizes"]
    assert len(found) > 1 and "larger input" in found[-1].title
    shares = []
    for one in found:
        arguments = ["model=ssd_tiny", "data=x", *one.overrides]
        settings = compose("train", COMMANDS["train"], arguments)
        coverage = measure_coverage(audit, default_boxes(settings.model))
        assert one.before["all"] == pytest.approx(before, abs=0.005)
        for size, share in one.after.items():
            assert coverage[size]["at_least_0.5"] == pytest.approx(share, abs=0.005)
        shares.append(one.after["all"])
    assert shares == sorted(shares) and shares[0] > before + 0.2 and shares[-1] > 0.85


def test_what_is_reached_needs_no_advice() -> None:
    model = model_settings("ssd_tiny")
    boxes = default_boxes(model)[::5][:400].astype(np.float64)
    audit = audit_of(boxes[:, 2:])
    audit.boxes_rel = np.hstack([boxes[:, :2] - boxes[:, 2:] / 2, boxes[:, :2] + boxes[:, 2:] / 2])
    assert advise(audit, np.arange(len(audit.labels)), model) == []
    assert advise(audit, np.arange(0), model) == []


def test_specks_in_large_pictures_want_tiles() -> None:
    audit = audit_of(small_objects(120) / 4, picture=4000)
    found = advise(audit, np.arange(120), model_settings("ssd_tiny"))
    tile = next(one for one in found if one.title.startswith("tiles of "))
    assert not tile.overrides and tile.after["all"] > max(tile.before["all"] + 0.3, 0.5)
    side = int(tile.title.split()[2])
    assert side % 32 == 0 and 128 <= side <= 1000


def test_clusters_are_the_groups_there_are() -> None:
    rng = np.random.default_rng(0)
    middles = np.array([[0.05, 0.05], [0.1, 0.4], [0.5, 0.2]])
    sides = np.repeat(middles, [50, 20, 30], axis=0) * np.exp(rng.normal(0, 0.05, (100, 2)))
    np.testing.assert_allclose(cluster_sizes(sides, 3), middles, rtol=0.05)
    assert cluster_sizes(sides[:1], 3).shape == (3, 2)


def test_a_sampler_where_classes_are_rare() -> None:
    audit = audit_of(np.full((400, 2), 0.25), an_image=1)
    audit.names, audit.labels = ["usual", "never", "rare"], np.ones(400, np.int32)
    audit.labels[:8] = 3
    [one] = advise(audit, np.arange(0), model_settings("ssd_tiny"))
    arguments = ["model=ssd_tiny", "data=x", *one.overrides]
    settings = compose("train", COMMANDS["train"], arguments).pipeline
    assert settings.sampler == "repeat_factor" and settings.repeat_threshold == 0.5
    presence = np.stack([audit.labels == 1, audit.labels == 3], axis=1)
    weights = image_weights(presence, settings.sampler, settings.repeat_threshold)
    assert weights is not None
    assert f"(8 images), comes {weights[0]:.1f} times as often" in one.words
    assert "1 of 2 classes" in one.words and asdict(one)["before"] == {}
    audit.labels[:200] = 3  # as many of each
    assert advise(audit, np.arange(0), model_settings("ssd_tiny")) == []
