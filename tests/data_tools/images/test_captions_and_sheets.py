"""Captions hide nothing, in any alphabet; sheets fit on a screen."""

from __future__ import annotations

import itertools
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from data_tools.core.where_to_look import where_to_look
from data_tools.images import draw, lettering, sheet
from data_tools.images.captions import Covered

Image = npt.NDArray[np.uint8]


def blank(height: int, width: int) -> Image:
    return np.full((height, width, 3), 127, np.uint8)


def inside_untouched(before: Image, after: Image, boxes: npt.NDArray[np.int64]) -> bool:
    """Whether no pixel of any object was changed but by the outlines, three pixels wide at most."""
    changed = (before != after[: before.shape[0], : before.shape[1]]).any(axis=2)
    hidden = np.zeros_like(changed)
    for y1, x1, y2, x2 in boxes:
        hidden[y1 + 3 : y2 - 3, x1 + 3 : x2 - 3] = True
    for y1, x1, y2, x2 in boxes:
        for outline in (slice(y1 - 3, y1 + 3), slice(y2 - 4, y2 + 3)):
            hidden[outline, max(x1 - 3, 0) : x2 + 3] = False
        for outline in (slice(max(x1 - 3, 0), x1 + 3), slice(x2 - 4, x2 + 3)):
            hidden[max(y1 - 3, 0) : y2 + 3, outline] = False
    return not (changed & hidden).any()


def test_a_caption_stands_where_it_hides_no_object() -> None:
    image, rng = blank(400, 600), np.random.default_rng(3)
    for _ in range(20):
        corner = rng.integers(20, 300, (4, 2))
        boxes = np.concatenate([corner, corner + rng.integers(12, 90, (4, 2))], axis=1)
        names = ["circle", "a long name of a class", "x", "ring"]
        drawn = draw.draw_boxes(image, boxes[:2], [1, 2], names[:2], [0.5, 0.75],
                                keep_clear_yxyx_px=boxes[2:])  # fmt: skip
        assert (drawn != image).any()
        assert inside_untouched(image, drawn, boxes)


def test_captions_of_boxes_on_one_spot_do_not_cover_each_other() -> None:
    boxes = [[100, 100, 200, 200]] * 4
    drawn = draw.draw_boxes(blank(300, 300), boxes, [1, 2, 3, 4], ["one", "two", "three", "four"])
    for label in (1, 2, 3, 4):  # the ground of every caption can be seen
        assert (drawn == draw.colour_of(label)).all(axis=2).sum() > 100, label


def test_a_name_without_a_free_place_can_be_seen_through_or_is_listed() -> None:
    image, whole = blank(200, 300), [[0, 0, 200, 300]]
    drawn = draw.draw_boxes(image, whole, [1], ["everything"])
    assert drawn.shape == image.shape
    changed = (drawn != image).any(axis=2)[6:-6, 6:-6]
    assert 50 < changed.sum() < 900  # letters, not the field of 80 x 14 behind them
    listed = draw.draw_boxes(image, whole, [1], ["everything"], list_width=400)
    assert listed.shape[0] > 200 and listed.shape[1] == 400
    assert (listed[200:] == draw.colour_of(1)).all(axis=2).any()


def test_a_list_of_names_says_how_many_it_leaves_out() -> None:
    many = [[0, 0, 100, 100]] * 60
    drawn = draw.draw_boxes(blank(100, 100), many, [1] * 60, ["thing"] * 60, list_width=120)
    fewer = draw.draw_boxes(blank(100, 100), many[:50], [1] * 50, ["thing"] * 50, list_width=120)
    assert drawn.shape == fewer.shape and (drawn[100:] != fewer[100:]).any()  # "and N more"


def test_colours_of_right_and_wrong_differ_for_every_eye() -> None:
    # Brightness alone, as in print or with no colour vision: steps of at least 25 of 255.
    colours = (draw.RIGHT, draw.WRONG, draw.MISSED, draw.LEFT_OUT)
    luma = sorted(0.114 * b + 0.587 * g + 0.299 * r for b, g, r in colours)
    assert all(after - before > 25 for before, after in itertools.pairwise(luma))


def test_letters_of_other_alphabets() -> None:
    canvas = blank(40, 200)
    lettering.put_text(canvas, "été Ж", 5, 5, 14, (0, 0, 0))
    question = blank(40, 200)
    lettering.put_text(question, "?t? ?", 5, 5, 14, (0, 0, 0))
    assert (canvas != question).any()  # not OpenCV's question marks
    for text in ("a\nb\x1b[1m\udce9", "", "\U0010fffe", "数据集"):
        lettering.put_text(canvas, text, -50, 30, 14, (0, 0, 0))  # cut off, and no error


def test_names_that_no_font_has_are_numbers_with_a_note(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Never question marks without a word: all names of a set would look alike."""
    monkeypatch.setattr(lettering, "_other_fonts", tuple)
    for cached in (lettering._font_for, lettering._note_once, lettering._cover):
        cached.cache_clear()
    box = [[20, 20, 60, 90]]
    unknown = draw.draw_boxes(blank(100, 200), box, [7], ["\u732b"], [0.5])
    number = draw.draw_boxes(blank(100, 200), box, [7], ["class 7"], [0.5])
    np.testing.assert_array_equal(unknown, number)
    draw.draw_boxes(blank(100, 200), box, [8], ["\u72d7"], [0.5])
    note = capsys.readouterr().err
    assert note.count("no font of this machine has") == 1 and "fonts-noto-cjk" in note
    lettering._font_for.cache_clear()


@pytest.mark.parametrize("text", ["a" * 50, "a" * 100_000, "photographs/of cards/IMG_2041.jpg"])
def test_a_long_line_keeps_both_ends(text: str) -> None:
    short = lettering.shortened(text, 13, 150)
    assert lettering.text_size(short, 13)[0] <= 150
    assert short[:2] == text[:2] and short[-4:] == text[-4:] and "…" in short


def test_contact_sheet_holds_every_tile(tmp_path: Path) -> None:
    tiles = [np.full((100 + k, 200, 3), 10 * k, np.uint8) for k in range(5)]
    got = sheet.contact_sheet(
        tiles, [str(k) for k in range(5)], title="all", legend=[("x", (0, 9, 0))]
    )
    for k in range(5):
        assert np.all(got == 10 * k, axis=-1).sum() > 200 * 100
    assert (got[:30] == (0, 9, 0)).all(axis=2).sum() > 100  # the field of the legend
    draw.save_png(tmp_path / "a" / "sheet.png", got)
    np.testing.assert_array_equal(cv2.imread(str(tmp_path / "a" / "sheet.png")), got)


@pytest.mark.parametrize(
    ("count", "group", "aspect"), [(1, 1, 1.3), (8, 2, 1.0), (16, 1, 1.5), (15, 1, 0.4)]
)
def test_a_sheet_fits_on_a_screen(count: int, group: int, aspect: float) -> None:
    cells = sheet.layout(count, aspect, group)
    tiles = [blank(300, round(300 * aspect))] * count
    got = sheet.contact_sheet(tiles, ["name"] * count, cells=cells, title="all")
    assert got.shape[0] <= 1010 and got.shape[1] <= 1900
    assert cells.columns % group == 0
    assert max(got.shape[0] / 1000, got.shape[1] / 1880) > 0.7  # and it uses the screen


def test_very_many_pictures_are_not_made_smaller_than_can_be_seen() -> None:
    cells = sheet.layout(1000, 1.3)
    assert cells.tile_width == 200 and 8 <= cells.columns <= 9


def test_a_drawing_with_a_list_fits_its_cell() -> None:
    cells = sheet.layout(8, 1.0, 2)

    def with_names(image: Image, scale: float) -> Image:
        height, width = image.shape[:2]
        boxes = [[0, 0, height, width]] * 20
        return draw.draw_boxes(image, boxes, [1] * 20, ["thing"] * 20, list_width=cells.tile_width)

    drawn = sheet.scaled_to_cell(blank(500, 500), cells, with_names)
    assert drawn.shape[0] <= cells.tile_height + 2 and drawn.shape[1] == cells.tile_width


def test_where_to_look() -> None:
    line = where_to_look(
        pictures=[Path("a b/c.png"), Path("x/d.csv")], tensorboard=Path("my run"), then="more"
    )
    assert line == (
        "look at it: pictures: a b/c.png; TensorBoard: pip install tensorboard, then tensorboard "
        "--logdir 'my run'; more"
    )
    assert where_to_look() == "look at it: there are no pictures"


@pytest.mark.parametrize("shape", [(40, 60), (9, 70)])
@pytest.mark.parametrize("count", [3, 101, 700])
def test_sums_of_many_objects_are_those_of_each(count: int, shape: tuple[int, int]) -> None:
    rng = np.random.default_rng(count)
    corners = rng.integers(-200, 300, (count, 2))
    objects = np.concatenate([corners, corners + rng.integers(0, 200, (count, 2))], 1)
    low = np.minimum(rng.integers(-5, 60, (20, 2)), [shape[1], shape[0]])
    boxes = np.concatenate([low, low + rng.integers(1, 12, (20, 2))], 1)
    sides = np.minimum(boxes[:, None, 2:], objects[:, 2:]) - np.maximum(
        boxes[:, None, :2], objects[:, :2]
    )
    plain = np.maximum(sides, 0).prod(axis=2).sum(axis=1)
    assert np.array_equal(Covered(objects, shape).under(boxes), plain)
