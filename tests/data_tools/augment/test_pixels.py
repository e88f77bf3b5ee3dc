"""Rendered pixels are those of the plain way: cut out, resize, colour one change after the other,
mirror.
"""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_tools.augment.apply import Augmentation, UndecodableImage, choose_view, render_augmented
from data_tools.augment.boxes_in_view import ImageBoxes, Window
from data_tools.augment.colour import LUMA_RGB, ColourChange, choose_colour, colour_matrix
from data_tools.augment.render import Scratch, mean_grey, reduction_for, render
from data_tools.augment.settings import AugmentSettings
from data_tools.pipeline.order import generator

SIZE = (40, 56)
PLAIN = ColourChange()
FILL = (123.675, 116.28, 103.53)


def picture(height: int = 90, width: int = 120) -> np.ndarray:
    coarse = np.random.default_rng(0).integers(40, 200, (6, 8, 3), np.uint8)
    return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)


def rendered(image: np.ndarray, window: Window, change: ColourChange = PLAIN, flip: bool = False,
             **options: object) -> np.ndarray:  # fmt: skip
    out = np.zeros((3, *SIZE), np.uint8)
    render(image, window, change, flip, FILL, out, **options)  # type: ignore[arg-type]
    return out.transpose(1, 2, 0)


def plain_way(image: np.ndarray, window: Window) -> np.ndarray:
    part = image[window.top : window.bottom, window.left : window.right]
    return cv2.cvtColor(cv2.resize(part, SIZE[::-1]), cv2.COLOR_BGR2RGB)


@pytest.mark.parametrize(
    "window", [Window(0, 0, 90, 120), Window(10, 30, 71, 99), Window(5, 5, 6, 6)]
)
def test_a_window_is_cut_out_and_resized(window: Window) -> None:
    image = picture()
    np.testing.assert_array_equal(rendered(image, window), plain_way(image, window))


def test_mirroring_twice_is_the_identity() -> None:
    image, window = picture(), Window(3, 4, 80, 110)
    mirrored = rendered(image, window, flip=True)
    np.testing.assert_array_equal(mirrored[:, ::-1], rendered(image, window))
    assert not np.array_equal(mirrored, rendered(image, window))


CHANGES = [
    ColourChange(brightness=1.3),
    ColourChange(contrast=0.7),
    ColourChange(saturation=0.5),
    ColourChange(shift=-20.0),
    ColourChange(brightness=0.8, shift=10.0, contrast=1.2, saturation=1.3),
]


@pytest.mark.parametrize("change", CHANGES)
def test_colours_are_those_of_one_change_after_the_other(change: ColourChange) -> None:
    image, window = picture(), Window(0, 0, 90, 120)
    rgb = plain_way(image, window).astype(np.float64)
    luma = np.array(LUMA_RGB)
    grey = np.rint(rgb @ luma).mean()
    want = change.contrast * (rgb - grey) + grey
    own_grey = (want @ luma)[..., None]
    want = change.saturation * (want - own_grey) + own_grey
    want = np.clip(change.brightness * want + change.shift, 0, 255)
    # Rounded once here, and to whole numbers by the fixed-point matrix of OpenCV.
    assert np.abs(rendered(image, window, change) - want).max() <= 1.01


def test_the_mean_grey_is_that_of_the_grey_image() -> None:
    image = picture()
    want = np.rint(image[..., ::-1] @ np.array(LUMA_RGB))
    scratch = np.empty((90, 120), np.uint8)
    assert abs(mean_grey(image, scratch) - want[::2].mean()) < 0.1
    assert abs(mean_grey(image, scratch) - want.mean()) < 2


def test_hue_turns_colours_and_leaves_grey_alone() -> None:
    grey = np.full((90, 120, 3), 130, np.uint8)
    turned = ColourChange(hue_degrees=18.0)
    assert np.abs(rendered(grey, Window(0, 0, 90, 120), turned).astype(int) - 130).max() <= 1
    image, window = picture(), Window(0, 0, 90, 120)
    before, after = rendered(image, window), rendered(image, window, turned)
    assert np.abs(after.astype(int) - before).max() > 5
    luma = np.array(LUMA_RGB)
    assert np.abs(after @ luma - before @ luma).mean() < 2  # the brightness stays
    full = colour_matrix(ColourChange(hue_degrees=360.0), 0.0)
    np.testing.assert_allclose(full, colour_matrix(PLAIN, 0.0), atol=1e-5)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**40))
def test_changes_stay_within_their_settings(seed: int) -> None:
    wide = AugmentSettings(brightness_shift=32.0, hue_degrees=18.0, colour_probability=0.5)
    change = choose_colour(wide, generator(seed, 0, 0))
    for factor in (change.brightness, change.contrast, change.saturation):
        assert 0.6 <= factor <= 1.4
    assert abs(change.shift) <= 32 and abs(change.hue_degrees) <= 18
    off = AugmentSettings(colour_probability=0.0)
    assert choose_colour(off, generator(seed, 0, 0)).is_identity


def on_canvas(image: np.ndarray, window: Window) -> np.ndarray:
    """The window cut out of a canvas that really is built, with the image's border drawn out."""
    pad = 200
    big = cv2.copyMakeBorder(image, pad, pad, pad, pad, cv2.BORDER_REPLICATE)
    moved = Window(window.top + pad, window.left + pad, window.bottom + pad, window.right + pad)
    return plain_way(big, moved)


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize(
    "window",
    [Window(-50, -90, 190, 246), Window(-7, 0, 90, 120), Window(20, 60, 150, 199),
     Window(-10, 5, 60, 80)],
)  # fmt: skip
def test_zoomed_out_images_lie_where_they_should(window: Window, flip: bool) -> None:
    image = picture()
    shown = rendered(image, window, flip=flip)
    shown = shown[:, ::-1] if flip else shown
    rows = (np.arange(SIZE[0]) + 0.5) * window.height / SIZE[0] + window.top
    columns = (np.arange(SIZE[1]) + 0.5) * window.width / SIZE[1] + window.left
    inside = ((rows >= 0) & (rows < 90))[:, None] & ((columns >= 0) & (columns < 120))
    assert (shown[~inside] == np.round(FILL).astype(np.uint8)).all()
    # warpAffine interpolates at 1/32 of a pixel, resize finer.
    error = np.abs(shown.astype(int) - on_canvas(image, window))[inside]
    assert error.max() <= 8 and error.mean() < 1


def test_the_fill_keeps_its_colour_whatever_happens_to_the_images() -> None:
    shown = rendered(
        picture(), Window(-90, -120, 90, 120), ColourChange(brightness=1.4, shift=30.0)
    )
    assert (shown[:15, :15] == np.round(FILL).astype(np.uint8)).all()


def test_reused_memory_changes_nothing() -> None:
    image, scratch = picture(), Scratch(SIZE)
    cases = [(Window(0, 0, 90, 120), PLAIN, False), (Window(9, 9, 50, 70), CHANGES[4], True),
             (Window(-9, 9, 50, 170), CHANGES[1], True),
             (Window(3, 3, 9, 9), CHANGES[0], False)]  # fmt: skip
    for window, change, flip in cases * 2:
        np.testing.assert_array_equal(
            rendered(image, window, change, flip, scratch=scratch),
            rendered(image, window, change, flip),
        )


@pytest.mark.parametrize(
    ("side", "want"), [(39, 1), (79, 1), (80, 2), (159, 2), (160, 4), (320, 8), (5000, 8)]
)
def test_the_reduction_leaves_the_input_its_pixels(side: int, want: int) -> None:
    assert reduction_for(Window(0, 0, side, 5000), (40, 56)) == want


PHOTOGRAPH = cv2.imencode(".jpg", picture(360, 480), [cv2.IMWRITE_JPEG_QUALITY, 95])[1].reshape(-1)


def shown(window: Window, **options: object) -> np.ndarray:
    out = np.zeros((3, *SIZE), np.uint8)
    view = Augmentation(window, False, PLAIN)
    render_augmented(PHOTOGRAPH, 360, 480, view, FILL, out, **options)  # type: ignore[arg-type]
    return out.transpose(1, 2, 0)


@pytest.mark.parametrize(
    "window",
    [Window(0, 0, 100, 480), Window(40, 60, 201, 300), Window(0, 0, 360, 480),
     Window(-40, 9, 200, 500)],
)  # fmt: skip
def test_pixels_are_those_of_the_whole_image(window: Window) -> None:
    whole = cv2.imdecode(PHOTOGRAPH, cv2.IMREAD_COLOR)
    np.testing.assert_array_equal(shown(window), rendered(whole, window))


def test_scaled_decoding_shows_the_same_with_less_work() -> None:
    window = Window(30, 40, 340, 420)
    full, fast = shown(window), shown(window, scaled_decode=True)
    difference = np.abs(full.astype(int) - fast)
    assert 0 < difference.mean() < 2 and difference.max() < 25


def test_the_stages_are_told_in_order() -> None:
    stages: list[str] = []
    shown(Window(0, 0, 360, 480), lap=stages.append)
    assert stages == ["decode", "render"]


@pytest.mark.parametrize(("height", "width"), [(361, 480), (360, 479), (480, 360)])
def test_another_size_than_the_rows_is_an_error(height: int, width: int) -> None:
    data = cv2.imencode(".jpg", picture(360, 480))[1].reshape(-1)
    none = ImageBoxes(np.zeros((0, 4), np.float32), np.zeros(0, np.int32), np.zeros(0, bool))
    out = np.zeros((3, *SIZE), np.uint8)
    view = choose_view(height, width, none, AugmentSettings(), generator(0, 0, 0))
    with pytest.raises(UndecodableImage, match=f"decodes to 480x360 .* says {width}x{height}"):
        render_augmented(data, height, width, view, AugmentSettings().expand_fill, out)
