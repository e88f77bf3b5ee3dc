"""Windows and what they do to boxes: inside, of positive area, with their own labels, floors
honoured.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_tools.augment.apply import boxes_in_views, choose_view
from data_tools.augment.boxes_in_view import (
    ImageBoxes,
    Window,
    centres_inside,
    mirrored,
    seen_through,
)
from data_tools.augment.settings import AugmentSettings
from data_tools.augment.windows import (
    _proposals,
    choose_window,
    expanded,
    iou_with,
    paper_crop,
    published_crop,
)
from data_tools.core.boxes import iou
from data_tools.pipeline.order import generator

PUBLISHED = AugmentSettings()
PAPER = AugmentSettings(
    crop="paper", expand_probability=0.5, colour_probability=0.5, brightness=0.0,
    brightness_shift=32.0, contrast=0.5, saturation=0.5, hue_degrees=18.0,
)  # fmt: skip
LIGHT = AugmentSettings(crop="paper", crop_min_overlaps=[0.5, 0.7, 0.9], crop_scale=[0.7, 1.0])
NONE = AugmentSettings(crop="none", flip_probability=0.0, colour_probability=0.0)


@st.composite
def images(draw: st.DrawFn) -> tuple[int, int, ImageBoxes]:
    """An image's size and boxes in it; box n has label n + 1."""
    height, width = draw(st.integers(8, 700)), draw(st.integers(8, 700))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    count = draw(st.integers(0, 12))
    ends = np.sort(rng.random((count, 2, 2)), axis=1) * [height, width]
    boxes = ends.reshape(-1, 4).astype(np.float32)
    if draw(st.booleans()):
        boxes = np.round(boxes)
    boxes = boxes[((boxes[:, 2:] - boxes[:, :2]) > 0).all(axis=1)]
    crowd = rng.random(len(boxes)) < 0.2
    return height, width, ImageBoxes(boxes, np.arange(1, len(boxes) + 1, dtype=np.int32), crowd)


seeds = st.integers(0, 2**40)
everything = settings(max_examples=120, deadline=None)


@everything
@given(image=images(), seed=seeds, augment=st.sampled_from([PUBLISHED, PAPER, LIGHT, NONE]))
def test_boxes_stay_inside_with_positive_area_and_their_labels(
    image: tuple[int, int, ImageBoxes], seed: int, augment: AugmentSettings
) -> None:
    height, width, truth = image
    view = choose_view(height, width, truth, augment, generator(seed, 0, 0))
    seen, _ = boxes_in_views([truth], [view])
    boxes = seen.boxes_yxyx
    assert boxes.dtype == np.float32 and (boxes >= 0).all() and (boxes <= 1).all()
    assert (boxes[:, 2:] > boxes[:, :2]).all()
    assert len(seen.labels) == len(seen.iscrowd) == len(boxes)
    # Undo window and mirror by hand: each box left is its own box, clipped to the window.
    window = view.window
    for box, label in zip(boxes.astype(np.float64), seen.labels.tolist(), strict=True):
        y1, x1, y2, x2 = box
        if view.flip:
            x1, x2 = 1 - x2, 1 - x1
        size = np.array([window.height, window.width] * 2)
        back = np.array([y1, x1, y2, x2]) * size + [window.top, window.left] * 2
        low = np.array([window.top, window.left])
        high = np.array([window.bottom, window.right])
        own = truth.boxes_yxyx[label - 1].astype(np.float64)
        want = np.concatenate([np.clip(own[:2], low, high), np.clip(own[2:], low, high)])
        np.testing.assert_allclose(back, want, rtol=0, atol=1e-3 * max(height, width))
        assert truth.iscrowd[label - 1] == seen.iscrowd[seen.labels.tolist().index(label)]


@everything
@given(image=images(), seed=seeds, augment=st.sampled_from([PUBLISHED, PAPER, LIGHT]))
def test_an_object_stays_exactly_if_its_centre_is_seen(
    image: tuple[int, int, ImageBoxes], seed: int, augment: AugmentSettings
) -> None:
    height, width, truth = image
    window = choose_window(height, width, truth, augment, generator(seed, 1, 0))
    seen, _ = seen_through([truth], [window], [False])
    inside = centres_inside(truth.boxes_yxyx, window) & ~truth.iscrowd
    kept = set(seen.labels[~seen.iscrowd].tolist())
    # A sliver beside a far larger window may have no area left in single precision.
    assert kept <= set(truth.labels[inside].tolist())
    sizes = truth.boxes_yxyx[:, 2:] - truth.boxes_yxyx[:, :2]
    clear = inside & (sizes > 1e-2).all(axis=1)
    assert set(truth.labels[clear].tolist()) <= kept


@everything
@given(image=images(), seed=seeds)
def test_the_papers_crop_honours_its_floor(image: tuple[int, int, ImageBoxes], seed: int) -> None:
    height, width, truth = image
    canvas = Window(0, 0, height, width)
    for floor in (0.1, 0.5, 0.9):
        only = AugmentSettings(crop="paper", crop_min_overlaps=[floor])
        crop = paper_crop(canvas, truth.boxes_yxyx, only, generator(seed, 0, 0))
        assert crop.inside(height, width) and crop.height >= 1 and crop.width >= 1
        rng = generator(seed, 0, 0)
        choice = int(rng.integers(3))  # whole, any overlap, the floor
        if choice == 0:
            assert crop == canvas
        elif crop != canvas:
            kept = centres_inside(truth.boxes_yxyx, crop)
            assert kept.any()
            best = iou(truth.boxes_yxyx[kept], crop.as_array()).max()
            assert best >= (floor if choice == 2 else 0)


@everything
@given(image=images(), seed=seeds)
def test_crops_keep_to_scale_and_aspect(image: tuple[int, int, ImageBoxes], seed: int) -> None:
    height, width, truth = image
    canvas = Window(0, 0, height, width)
    for make in (published_crop, paper_crop):
        crop = make(canvas, truth.boxes_yxyx, PUBLISHED, generator(seed, 2, 0))
        assert crop.inside(height, width)
        if crop != canvas:
            assert 0.3 * height - 1 <= crop.height <= height
            assert 0.3 * width - 1 <= crop.width <= width
            # Sides are cut to whole pixels after the check of the aspect.
            assert (crop.height - 1) / (crop.width + 1) <= 2
            assert (crop.height + 1) / max(crop.width - 1, 0.1) >= 0.5
            assert centres_inside(truth.boxes_yxyx, crop).any()


def slow_published_crop(
    canvas: Window, boxes: np.ndarray, augment: AugmentSettings, rng: np.random.Generator
) -> Window:
    """The published crop as the published tools write it down, one array after the other."""
    choice = int(rng.integers(1 + len(augment.crop_min_overlaps)))
    draws = rng.random((augment.crop_trials, 4))
    if choice == 0 or not len(boxes):
        return canvas
    least = augment.crop_min_overlaps[choice - 1]
    for crop in _proposals(canvas, draws, augment):
        overlaps = iou_with(boxes, crop)
        touched = overlaps > 0
        if not touched.any():
            continue
        if overlaps[touched].min() < least and overlaps.max() > least + augment.crop_slack:
            continue
        if (centres_inside(boxes, crop) & touched).any():
            return crop
    return canvas


@settings(max_examples=400, deadline=None)
@given(image=images(), seed=seeds, far=st.booleans())
def test_the_compiled_crop_is_the_slow_one(
    image: tuple[int, int, ImageBoxes], seed: int, far: bool
) -> None:
    height, width, truth = image
    canvas = expanded(height, width, 4.0, generator(seed, 5, 0)) if far else None
    canvas = canvas or Window(0, 0, height, width)
    for augment in (
        PUBLISHED,
        dataclasses.replace(PUBLISHED, crop_min_overlaps=[0.02, 0.1, 0.25], crop_slack=0.0),
        dataclasses.replace(PUBLISHED, crop_scale=[0.01, 1.0], crop_aspect=[0.1, 10.0]),
    ):
        for index in range(8):
            fast, slow = (
                crop(canvas, truth.boxes_yxyx, augment, generator(seed, 3, index))
                for crop in (published_crop, slow_published_crop)
            )
            assert fast == slow


def test_the_published_floor_is_not_enforced() -> None:
    """The documented defect: with one box, crops below the floor pass (they never do in
    `paper`).
    """
    box = np.array([[20, 20, 80, 80]], np.float32)
    only = dataclasses.replace(PUBLISHED, crop_min_overlaps=[0.9])
    canvas = Window(0, 0, 100, 100)
    published = [published_crop(canvas, box, only, generator(0, 0, i)) for i in range(60)]
    crops = [crop for crop in published if crop != canvas]
    assert len(crops) > 15
    assert np.mean([iou_with(box, crop)[0] < 0.9 for crop in crops]) > 0.9


def test_the_published_test_refuses_a_mixed_crop() -> None:
    """Refused: one box far below the floor and another far above it; seen over many crops."""
    boxes = np.array([[0, 0, 90, 90], [95, 95, 100, 100]], np.float32)
    only = dataclasses.replace(PUBLISHED, crop_min_overlaps=[0.3])
    canvas = Window(0, 0, 100, 100)
    for i in range(200):
        crop = published_crop(canvas, boxes, only, generator(0, 0, i))
        overlaps = iou_with(boxes, crop)
        if crop != canvas and overlaps[1] > 0:
            assert not (overlaps.min() < 0.3 and overlaps.max() > 0.5)


def test_crowds_have_no_say_in_the_crop() -> None:
    boxes = np.array([[10, 10, 50, 60], [0, 0, 100, 100]], np.float32)
    labels = np.array([1, 2], np.int32)
    both = ImageBoxes(boxes, labels, np.array([False, True]))
    alone = both.keep(np.array([True, False]))
    for i in range(20):
        rngs = generator(0, 0, i), generator(0, 0, i)
        assert choose_window(100, 100, both, PUBLISHED, rngs[0]) == choose_window(
            100, 100, alone, PUBLISHED, rngs[1]
        )


def test_a_crowd_stays_while_any_of_it_is_seen() -> None:
    truth = ImageBoxes(np.array([[0, 0, 50, 50]] * 2, np.float32), np.array([1, 2], np.int32),
                  np.array([False, True]))  # fmt: skip
    seen, _ = seen_through([truth], [Window(40, 40, 100, 100)], [False])
    assert seen.labels.tolist() == [2] and seen.iscrowd.tolist() == [True]
    np.testing.assert_allclose(seen.boxes_yxyx, [[0, 0, 10 / 60, 10 / 60]], atol=1e-6)
    gone, _ = seen_through([truth], [Window(50, 50, 100, 100)], [False])
    assert not len(gone)


@everything
@given(image=images())
def test_mirroring_twice_is_the_identity(image: tuple[int, int, ImageBoxes]) -> None:
    height, width, truth = image
    whole = Window(0, 0, height, width)
    seen, _ = seen_through([truth], [whole], [False])
    turned, _ = seen_through([truth], [whole], [True])
    np.testing.assert_array_equal(turned.boxes_yxyx, mirrored(seen.boxes_yxyx))
    np.testing.assert_allclose(mirrored(turned.boxes_yxyx), seen.boxes_yxyx, rtol=0, atol=2e-7)
    np.testing.assert_array_equal(turned.labels, seen.labels)


@everything
@given(several=st.lists(images(), min_size=1, max_size=6), seed=seeds)
def test_images_do_not_touch_each_other(
    several: list[tuple[int, int, ImageBoxes]], seed: int
) -> None:
    views = [
        choose_view(height, width, truth, PUBLISHED, generator(seed, 0, place))
        for place, (height, width, truth) in enumerate(several)
    ]
    together, owners = boxes_in_views([truth for _, _, truth in several], views)
    assert (np.diff(owners) >= 0).all()
    for place, ((_, _, truth), view) in enumerate(zip(several, views, strict=True)):
        alone, _ = boxes_in_views([truth], [view])
        mine = together.keep(owners == place)
        np.testing.assert_array_equal(mine.boxes_yxyx, alone.boxes_yxyx)
        np.testing.assert_array_equal(mine.labels, alone.labels)
        np.testing.assert_array_equal(mine.iscrowd, alone.iscrowd)


@everything
@given(seed=seeds, height=st.integers(1, 900), width=st.integers(1, 900))
def test_zooming_out_keeps_the_image_whole(seed: int, height: int, width: int) -> None:
    window = expanded(height, width, 4.0, generator(seed, 0, 0))
    assert window.top <= 0 and window.left <= 0
    assert window.bottom >= height and window.right >= width
    assert height <= window.height <= 4 * height and width <= window.width <= 4 * width


@pytest.mark.parametrize("augment", [PUBLISHED, PAPER, LIGHT, NONE])
def test_views_depend_on_the_generator_alone(augment: AugmentSettings) -> None:
    truth = ImageBoxes(
        np.array([[10, 10, 60, 50]], np.float32), np.array([1], np.int32), np.zeros(1, bool)
    )
    views = [choose_view(90, 80, truth, augment, generator(3, 1, 7)) for _ in range(2)]
    assert views[0] == views[1]
    others = {choose_view(90, 80, truth, augment, generator(3, 1, i)) for i in range(20)}
    assert len(others) == 1 if augment is NONE else len(others) >= 18


@pytest.mark.parametrize(
    ("name", "want"), [("published", PUBLISHED), ("none", NONE), ("paper", PAPER)]
)
def test_the_shipped_files_are_these_settings(
    name: str, want: AugmentSettings, repository: Path
) -> None:
    import yaml

    text = (repository / "conf" / "augment" / f"{name}.yaml").read_text()
    assert AugmentSettings(**(yaml.safe_load(text) or {})) == want


def test_light_keeps_most_of_a_box(repository: Path) -> None:
    import yaml

    text = (repository / "conf" / "augment" / "light.yaml").read_text()
    light = AugmentSettings(**yaml.safe_load(text))
    box = np.array([[20, 20, 80, 80]], np.float32)
    for i in range(50):
        truth = ImageBoxes(box, np.array([1], np.int32), np.zeros(1, bool))
        window = choose_window(100, 100, truth, light, generator(0, 0, i))
        assert window.height >= 69 and window.width >= 69
