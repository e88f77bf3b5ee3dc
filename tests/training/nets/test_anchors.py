"""Default boxes: the published ones, their order, and what cannot work."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from data_tools.core.errors import SettingError
from training.nets.anchors import boxes_per_cell, default_boxes, levels
from training.nets.settings import AnchorSettings, ModelSettings, model_settings, zoo_names

PUBLISHED = {
    "ssd300": 1917,
    "ssd_mobilenet_v1": 1917,
    "ssd_vgg16": 7308,
    "ssd_mobilenet_v1_fpn": 51150,
    "ssd_resnet50_fpn": 51150,
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_boxes(name: str, golden_dir: Path) -> None:
    boxes = default_boxes(model_settings(name))
    with np.load(golden_dir / f"{name}_seed0.npz") as numbers:
        assert boxes.shape == (PUBLISHED[name], 4)
        assert boxes.dtype == np.float32
        assert np.abs(boxes - numbers["default_boxes"]).max() < 1e-6


@pytest.mark.parametrize("name", zoo_names())
def test_levels_add_up(name: str) -> None:
    model = model_settings(name)
    per_cell = boxes_per_cell(model.anchors)
    found = levels(model)
    assert [len(level.sizes_hw_rel) for level in found] == per_cell
    assert sum(level.num_boxes for level in found) == len(default_boxes(model))


def test_order_is_level_row_column_box() -> None:
    model = model_settings("ssd_tiny")
    boxes = default_boxes(model)
    first = levels(model)[0]
    grid = boxes[: first.num_boxes].reshape(first.height, first.width, -1, 4)
    assert (np.diff(grid[:, 0, 0, 0]) > 0).all()
    assert (np.diff(grid[0, :, 0, 1]) > 0).all()
    assert np.allclose(grid[3, 5, :, 2:], first.sizes_hw_rel)
    # After the square comes the lying box, then the standing one: [h, w] swapped.
    assert grid[0, 0, 1, 2] < grid[0, 0, 1, 3]
    assert np.allclose(grid[0, 0, 1, 2:], grid[0, 0, 2, [3, 2]])


def test_image_need_not_be_square() -> None:
    model = model_settings("ssd_tiny", image_size=[96, 192])
    boxes = default_boxes(model)
    assert boxes.shape == ((12 * 24 + 6 * 12 + 3 * 6) * 4, 4)
    assert boxes[:, :2].min() > 0
    assert boxes[:, :2].max() < 1


def test_explicit_scales() -> None:
    anchors = AnchorSettings(steps=[], aspect_ratios=[[2], [2], [2]], scales=[0.1, 0.2, 0.4, 0.8])
    model = ModelSettings(name="ssd_tiny", image_size=[160, 160], anchors=anchors)
    squares = [level.sizes_hw_rel[[0, -1]] for level in levels(model)]
    assert np.allclose([s[0, 0] for s in squares], [0.1, 0.2, 0.4])
    assert np.allclose([s[1, 0] for s in squares], np.sqrt([0.02, 0.08, 0.32]))


def test_wrong_number_of_levels_is_an_error() -> None:
    model = ModelSettings(name="ssd_tiny", anchors=AnchorSettings(steps=[]))
    with pytest.raises(SettingError, match="6 lists, but ssd_tiny has 3 feature maps"):
        default_boxes(model)


def test_steps_beyond_the_image_are_an_error() -> None:
    model = model_settings("ssd300", image_size=[128, 128])
    with pytest.raises(SettingError, match=r"model.anchors.steps=\[\]"):
        default_boxes(model)


def test_image_too_small_for_the_network_is_an_error() -> None:
    model = model_settings("ssd_vgg16", image_size=[224, 224])
    with pytest.raises(SettingError, match=r"\[224, 224\] is too small for ssd_vgg16"):
        default_boxes(model)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("kind", "grid"),
        ("steps", [1.0, 2.0]),
        ("steps", [0, 1, 2, 3, 4, 5]),
        ("aspect_ratios", []),
        ("aspect_ratios", [[-1.0]] * 6),
        ("min_scale", 0.99),
        ("scales", [0.1]),
        ("base", 0.0),
        ("per_octave", 0),
    ],
)
def test_settings_that_cannot_work(field: str, value: object) -> None:
    with pytest.raises(SettingError, match=f"model.anchors.{field}"):
        AnchorSettings(**{field: value})


@pytest.mark.parametrize("size", [[8, 8], [320], [320, 4097], [100_000, 100_000]])
def test_a_size_that_no_memory_holds_is_refused_at_once(size: list[int]) -> None:
    with pytest.raises(SettingError, match=r"model\.image_size=.*32 to 4096 pixels"):
        model_settings("ssd_light", image_size=size)
