"""The extent of a brush mask is that of the picture that its bits make, value by value."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_tools.sources.brush_mask import brush_extent
from tests.helpers.brush import WIDTHS, packed


@given(
    sides=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    spots=st.lists(st.tuples(st.integers(0, 8), st.integers(0, 8), st.integers(1, 6)), max_size=4),
    colour=st.sampled_from([(0, 0, 0, 0), (255, 255, 255, 255), (9, 8, 7, 255)]),
    most=st.integers(0, 8),
)
def test_the_extent_is_that_of_the_painted_picture(
    sides: tuple[int, int], spots: list[tuple[int, int, int]], colour: tuple[int, ...], most: int
) -> None:
    picture = np.zeros((*sides, 4), np.uint8)
    picture[..., :3] = 5  # a colour without alpha is not painted
    for y, x, size in spots:
        picture[y : y + size, x : x + size] = colour
    rle = packed(picture.reshape(-1).tolist(), most)
    rows, columns = np.nonzero(picture[..., 3])
    if not len(rows):
        with pytest.raises(ValueError, match="nothing is painted"):
            brush_extent(rle, *sides)
        return
    expected = [rows.min(), columns.min(), rows.max() + 1, columns.max() + 1]
    assert brush_extent(rle, *sides) == expected


def test_a_large_picture_needs_no_memory_of_its_size() -> None:
    side = 1 << 14
    values = f"{4 * side * side:032b}00111" + "".join(f"{width - 1:04b}" for width in WIDTHS)
    stretches = 4 * side * side >> 16
    values += ("1" + "11" + "1" * 16 + "11111111") * stretches
    values += "0" * (-len(values) % 8)
    rle = [int(values[k : k + 8], 2) for k in range(0, len(values), 8)]
    assert brush_extent(rle, side, side) == [0, 0, side, side]


@pytest.mark.parametrize(
    ("rle", "words"),
    [
        (None, "no list of bytes"),
        ([1, 256], "no list of bytes"),
        ([True], "no list of bytes"),
        ([0, 0, 1], "cut short"),
        (packed([5] * 16, 3)[:-1], "cut short"),
        (packed([5] * 12, 3), "a mask of 3 pixels for a picture of 4"),
        ([0, 0, 0, 16, 0x39, 0x1B, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF], "longer than it says"),
    ],
)
def test_what_is_no_mask_is_told(rle: object, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        brush_extent(rle, 2, 2)
