"""Images made out of several: pixels against a slow way, boxes against where the pixels went."""

from __future__ import annotations

import dataclasses

import cv2
import numpy as np
import pytest

from data_tools.augment.affine import affine_in_pixels, turn
from data_tools.augment.apply import Augmentation, choose_view, render_augmented
from data_tools.augment.boxes_in_view import ImageBoxes, Window, seen_through
from data_tools.augment.colour import ColourChange
from data_tools.augment.compose import UndecodableSource, blend, compose
from data_tools.augment.mix import Mix, Mosaic, Paste, choose_mix
from data_tools.augment.mosaic import part_of_mosaic, part_window
from data_tools.augment.paste import HIDDEN_MOST, free_box
from data_tools.augment.settings import MIXING, AugmentSettings
from data_tools.augment.sources import Source, fill_of
from data_tools.core.errors import SettingError
from data_tools.pipeline.order import generator

SIZE = (96, 120)
BARE = AugmentSettings(crop="none", flip_probability=0.0, colour_probability=0.0)
MIRRORED = dataclasses.replace(BARE, flip_probability=1.0)
COLOURS = [(250, 20, 20), (20, 250, 20), (20, 20, 250), (250, 250, 20), (20, 250, 250),
           (250, 20, 250)]  # fmt: skip
EVERYTHING = dataclasses.replace(
    AugmentSettings(), affine_degrees=40.0, **dict.fromkeys(MIXING, 1.0)
)


def source(number: int, seed: int = 0, boxes: int = 1) -> Source:
    """A black picture with rectangles of the number's own colour; their label is number + 1."""
    rng = np.random.default_rng([seed, number])
    height, width = (int(v) for v in rng.integers(70, 200, 2))
    image = np.zeros((height, width, 3), np.uint8)
    corners = []
    for _ in range(boxes):
        size = rng.integers(20, 40, 2)
        most = np.array([height, width]) - size - 2
        y, x = (int(rng.integers(2, top)) for top in most)
        image[y : y + size[0], x : x + size[1]] = COLOURS[number][::-1]
        corners.append([y, x, y + size[0], x + size[1]])
    truth = ImageBoxes(
        np.array(corners, np.float32), np.full(boxes, number + 1, np.int32), np.zeros(boxes, bool)
    )
    encoded = cv2.imencode(".png", image)[1].reshape(-1)
    return Source(encoded, height, width, truth, generator(seed, 0, number))


def sources(count: int, seed: int = 0) -> list[Source]:
    return [source(number, seed) for number in range(count)]


def canvas() -> np.ndarray:
    return np.zeros((3, *SIZE), np.uint8)


def where(out: np.ndarray, label: int) -> np.ndarray:
    """Pixel box of a colour: rows and columns of pixels that are nearer to it than to black."""
    near = (np.abs(out.astype(int) - np.array(COLOURS[label - 1])[:, None, None]) < 115).all(axis=0)
    rows, columns = np.flatnonzero(near.any(axis=1)), np.flatnonzero(near.any(axis=0))
    return np.array([rows[0], columns[0], rows[-1] + 1, columns[-1] + 1])


def drawn_mosaic(seed: int) -> Mosaic:
    rng = np.random.default_rng(seed)
    places = tuple((float(y), float(x)) for y, x in rng.random((4, 2)))
    return Mosaic((0.4, 0.6), tuple((0.5 + rng.random(4)).tolist()), places)


@pytest.mark.parametrize("settings", [BARE, MIRRORED], ids=["as it is", "mirrored"])
def test_boxes_of_a_mosaic_are_where_its_pixels_are(settings: AugmentSettings) -> None:
    found = 0
    for seed in range(20):
        out = canvas()
        truth = compose(sources(4, seed), Mix(mosaic=drawn_mosaic(seed)), settings, out)
        assert len(set(truth.labels.tolist())) == len(truth)
        for box, label in zip(truth.boxes_yxyx, truth.labels.tolist(), strict=True):
            want = where(out, label)
            assert np.abs(box * [*SIZE, *SIZE] - want).max() <= 1.6
            found += 1
    assert found > 30


def test_each_part_of_a_mosaic_is_its_image_shown_alone() -> None:
    settings = AugmentSettings(colour_probability=1.0)
    mosaic, out = drawn_mosaic(3), canvas()
    compose(sources(4, 3), Mix(mosaic=mosaic), settings, out)
    covered = np.zeros(SIZE, int)
    for number, image in enumerate(sources(4, 3)):
        y1, x1, y2, x2 = box = part_of_mosaic(number, mosaic.centre_yx, SIZE)
        window = part_window(
            image.height, image.width, box, SIZE, mosaic.scales[number], mosaic.positions[number]
        )
        bare = dataclasses.replace(settings, crop="none")
        flip = bool(image.rng.random() < 0.5)
        seen = choose_view(image.height, image.width, image.truth, bare, source(number, 3).rng)
        alone = np.empty((3, y2 - y1, x2 - x1), np.uint8)
        view = Augmentation(window, flip, seen.change)
        render_augmented(
            image.encoded, image.height, image.width, view, settings.expand_fill, alone
        )
        np.testing.assert_array_equal(out[:, y1:y2, x1:x2], alone)
        covered[y1:y2, x1:x2] += 1
    assert (covered == 1).all()


def test_a_window_of_a_mosaic_shows_the_image_at_its_scale() -> None:
    box = (0, 60, 48, 120)  # half of the rows, half of the columns
    assert part_window(100, 200, box, SIZE, 1.0, (0.0, 1.0)) == Window(0, 100, 50, 200)
    assert part_window(100, 200, box, SIZE, 0.5, (0.3, 0.7)) == Window(0, 0, 100, 200)
    assert part_window(100, 200, box, SIZE, 0.25, (0.0, 1.0)) == Window(0, -200, 200, 200)


def slow_warp(plane: np.ndarray, matrix: np.ndarray, fill: float) -> np.ndarray:
    """Each output pixel asks where its centre comes from and mixes the four pixels around, in
    float64.
    """
    back = np.linalg.inv(np.vstack([matrix, [0, 0, 1]]))
    rows, columns = plane.shape
    out = np.empty(plane.shape)
    for i in range(rows):
        for j in range(columns):
            x, y, _ = back @ [j + 0.5, i + 0.5, 1]
            y, x = y - 0.5, x - 0.5
            top, left = int(np.floor(y)), int(np.floor(x))
            value = 0.0
            for a, wa in ((top, 1 - (y - top)), (top + 1, y - top)):
                for b, wb in ((left, 1 - (x - left)), (left + 1, x - left)):
                    inside = 0 <= a < rows and 0 <= b < columns
                    value += wa * wb * (plane[a, b] if inside else fill)
            out[i, j] = value
    return out


def test_turning_is_the_slow_way_up_to_rounding() -> None:
    rng = np.random.default_rng(0)
    coarse = rng.integers(40, 200, (6, 8, 3), np.uint8)
    out = np.ascontiguousarray(cv2.resize(coarse, (40, 32)).transpose(2, 0, 1))
    affine = choose_mix(EVERYTHING, generator(0, 0, 5)).affine
    assert affine is not None
    before = out.copy()
    turn(affine, BARE.expand_fill, out, source(0).truth)
    matrix, fill = affine_in_pixels(affine, (32, 40)), fill_of(BARE.expand_fill).ravel()
    for plane, old, colour in zip(out, before, fill, strict=True):
        # OpenCV places pixels on a grid of 1/32: a coarse picture changes by less than 20 a pixel.
        assert np.abs(plane - slow_warp(old.astype(float), matrix, float(colour))).max() <= 3


def test_boxes_follow_what_is_turned() -> None:
    settings = dataclasses.replace(BARE, affine_degrees=60.0, affine_shear_degrees=20.0)
    found = 0
    for seed in range(40):
        affine = choose_mix(
            dataclasses.replace(settings, affine_probability=1.0), generator(seed, 0, 0)
        ).affine
        out = canvas()
        truth = compose([source(0, seed)], Mix(affine=affine), settings, out)
        for box, label in zip(truth.boxes_yxyx, truth.labels.tolist(), strict=True):
            if box.min() > 0 and box.max() < 1:  # else its far corner may lie beyond the canvas
                assert np.abs(box * [*SIZE, *SIZE] - where(out, label)).max() <= 2.5
                found += 1
    assert found > 15


def test_mixup_is_the_rounded_mean_and_has_both_boxes() -> None:
    rng = np.random.default_rng(0)
    first, other = rng.integers(0, 256, (2, 3, 8, 9), np.uint8)
    for share in (0, 1, 100, 128, 255, 256):
        out = first.copy()
        blend(out, other, share)
        triples = zip(out.ravel(), first.ravel().tolist(), other.ravel().tolist(), strict=True)
        for got, a, b in triples:
            assert int(got) == (a * share + b * (256 - share) + 128) // 256
    out, one, two = canvas(), canvas(), canvas()
    truth = compose(sources(2), Mix(mixup=90), BARE, out)
    pairs = zip(sources(2), (one, two), strict=True)
    alone = [compose([image], Mix(), BARE, into) for image, into in pairs]
    blend(one, two, 90)
    np.testing.assert_array_equal(out, one)
    np.testing.assert_array_equal(truth.boxes_yxyx, np.concatenate([t.boxes_yxyx for t in alone]))
    assert truth.labels.tolist() == [1, 2]


def paste_of(seed: int, most: int = 2) -> Paste:
    rng = np.random.default_rng(seed)
    return Paste(rng.random(most), 0.75 + rng.random(most) / 2, rng.random((most, 10, 2)))


def test_pasted_objects_lie_where_their_boxes_say_and_hide_little() -> None:
    pasted = 0
    for seed in range(30):
        onto, cut = source(0, seed), source(1, seed, boxes=2)
        out, bare = canvas(), canvas()
        truth = compose([onto, cut], Mix(paste=paste_of(seed)), BARE, out)
        first = compose([source(0, seed)], Mix(), BARE, bare)
        np.testing.assert_array_equal(truth.boxes_yxyx[: len(first)], first.boxes_yxyx)
        changed = (out != bare).any(axis=0)
        area = np.zeros(SIZE, bool)
        for box, label in list(zip(truth.boxes_yxyx, truth.labels, strict=True))[len(first) :]:
            y1, x1, y2, x2 = np.round(box * [*SIZE, *SIZE]).astype(int)
            assert label == 2
            middle = out[:, (y1 + y2) // 2, (x1 + x2) // 2]
            assert (middle == COLOURS[1]).all()
            area[y1:y2, x1:x2] = True
            pasted += 1
        if (truth.labels[len(first) :] == 2).all() and len(truth) - len(first) <= 2:
            near = cv2.dilate(area.astype(np.uint8), np.ones((5, 5))).astype(bool)
            assert not (changed & ~near).any()
        y1, x1, y2, x2 = np.round(first.boxes_yxyx[0] * [*SIZE, *SIZE]).astype(int)
        assert changed[y1:y2, x1:x2].mean() <= 2 * HIDDEN_MOST + 0.05
    assert pasted > 30


def test_a_place_is_free_where_no_box_is_hidden() -> None:
    boxes = np.array([[0.0, 0.0, 0.5, 0.5]], np.float32)
    over, beside = np.array([[0.0, 0.0]]), np.array([[0.0, 0.0], [1.0, 1.0]])
    assert free_box(boxes, 40, 40, (96, 120), over) is None
    assert free_box(boxes, 40, 40, (96, 120), beside) == (56, 80, 96, 120)
    assert free_box(boxes[:0], 40, 40, (96, 120), over) == (0, 0, 40, 40)


def test_erasing_paints_a_rectangle_and_leaves_the_boxes() -> None:
    out, bare = canvas(), canvas()
    box = (0.25, 0.5, 0.75, 1.0)
    truth = compose([source(0)], Mix(erase_yxyx=box), BARE, out)
    first = compose([source(0)], Mix(), BARE, bare)
    assert (out[:, 24:72, 60:] == fill_of(BARE.expand_fill)).all()
    out[:, 24:72, 60:] = bare[:, 24:72, 60:]
    np.testing.assert_array_equal(out, bare)
    np.testing.assert_array_equal(truth.boxes_yxyx, first.boxes_yxyx)


def test_nothing_to_mix_is_the_image_as_it_would_be_alone() -> None:
    settings = AugmentSettings()
    mixed, plain, image = canvas(), canvas(), source(0, 4)
    truth = compose([source(0, 4)], Mix(), settings, mixed)
    view = choose_view(image.height, image.width, image.truth, settings, image.rng)
    render_augmented(image.encoded, image.height, image.width, view, settings.expand_fill, plain)
    np.testing.assert_array_equal(mixed, plain)
    seen = seen_through([image.truth], [view.window], [view.flip])[0]
    np.testing.assert_array_equal(truth.boxes_yxyx, seen.boxes_yxyx)


def test_boxes_of_everything_at_once_are_inside_with_area() -> None:
    total = 0
    for seed in range(60):
        mix = choose_mix(EVERYTHING, generator(seed, 0, 0))
        assert mix.partners == 5
        out = canvas()
        truth = compose(sources(6, seed), mix, EVERYTHING, out)
        boxes = truth.boxes_yxyx
        assert boxes.dtype == np.float32 and (boxes >= 0).all() and (boxes <= 1).all()
        assert (boxes[:, 2:] > boxes[:, :2]).all()
        assert len(truth.labels) == len(truth.iscrowd) == len(boxes)
        total += len(boxes)
    assert total > 60


def test_one_choice_does_not_move_another() -> None:
    whole = choose_mix(EVERYTHING, generator(3, 0, 0))
    for name in MIXING:
        less = choose_mix(dataclasses.replace(EVERYTHING, **{name: 0.0}), generator(3, 0, 0))
        kept = [f for f in ("mosaic", "mixup", "erase_yxyx") if getattr(less, f) is not None]
        assert all(getattr(less, f) == getattr(whole, f) for f in kept)
        assert less.partners < 5 or name in ("affine_probability", "erase_probability")
    assert choose_mix(AugmentSettings(), generator(3, 0, 0)).partners == 0


def test_a_source_that_does_not_decode_is_named() -> None:
    broken = dataclasses.replace(source(2), encoded=np.zeros(30, np.uint8))
    with pytest.raises(UndecodableSource) as caught:
        compose([*sources(2), broken, source(3)], Mix(mosaic=drawn_mosaic(0)), BARE, canvas())
    assert caught.value.index == 2
    assert ColourChange().is_identity


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"mosaic_probability": 1.5}, "augment.mosaic_probability=1.5"),
        ({"mosaic_scale": [1.0, 0.5]}, r"augment.mosaic_scale=\[1.0, 0.5\]"),
        ({"affine_degrees": 200.0}, "augment.affine_degrees=200"),
        ({"erase_area": [0.0, 0.5]}, "augment.erase_area="),
        ({"copy_paste_most": 0}, "augment.copy_paste_most=0"),
        ({"closing_epochs": -1.0}, "augment.closing_epochs=-1"),
    ],
)
def test_settings_are_checked(changes: dict[str, object], told: str) -> None:
    with pytest.raises(SettingError, match=told):
        AugmentSettings(**changes)  # type: ignore[arg-type]


def wild(rng: np.random.Generator) -> AugmentSettings:
    def pair(low: float, high: float) -> list[float]:
        ends: list[float] = np.sort(rng.uniform(low, high, 2)).tolist()
        return ends

    return AugmentSettings(
        crop=str(rng.choice(["none", "paper", "published"])), expand_probability=0.5,
        mosaic_scale=pair(0.1, 10), affine_scale=pair(0.1, 10), copy_paste_scale=pair(0.1, 10),
        affine_degrees=180.0, affine_shear_degrees=60.0, affine_shift=1.0,
        copy_paste_most=int(rng.integers(1, 20)), erase_area=pair(0.001, 0.999),
        **{name: float(rng.integers(0, 2)) for name in MIXING},  # type: ignore[arg-type]
    )  # fmt: skip


def test_the_smallest_images_and_the_widest_settings_give_boxes_inside() -> None:
    for seed in range(250):
        rng = np.random.default_rng(seed)
        settings = wild(rng)
        mix = choose_mix(settings, generator(seed, 0, 0))
        given = []
        for k in range(1 + mix.partners):
            height, width = (int(side) for side in rng.integers(1, 40, 2))
            ends = np.sort(rng.random((3, 2, 2)), axis=1) * [height, width]
            truth = ImageBoxes(
                ends.reshape(-1, 4).astype(np.float32), np.ones(3, np.int32), rng.random(3) < 0.3
            )
            image = rng.integers(0, 256, (height, width, 3), np.uint8)
            encoded = cv2.imencode(".png", image)[1].reshape(-1)
            given.append(Source(encoded, height, width, truth, generator(seed, 1, k)))
        out = np.zeros((3, *rng.integers(2, 60, 2)), np.uint8)
        boxes = compose(given, mix, settings, out).boxes_yxyx
        assert (boxes >= 0).all() and (boxes <= 1).all()
        assert (boxes[:, 2:] > boxes[:, :2]).all()
