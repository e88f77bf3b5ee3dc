"""What the structure of an image file tells: true facts, and every file that OpenCV refuses is
flagged.
"""

from __future__ import annotations

import random

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_tools.images.facts import exif_orientation
from data_tools.images.inspect import inspect
from data_tools.images.jpeg_structure import SCAN_END, end_of_scan
from tests.helpers.raw_sets import jpeg, picture, with_orientation


def encoded(suffix: str, image: np.ndarray, *flags: int) -> bytes:
    done, data = cv2.imencode(suffix, image, list(flags))
    assert done
    return bytes(data.tobytes())


@pytest.mark.parametrize(
    "flags",
    [
        (cv2.IMWRITE_JPEG_QUALITY, 40),
        (cv2.IMWRITE_JPEG_PROGRESSIVE, 1),
        (cv2.IMWRITE_JPEG_OPTIMIZE, 1),
        (cv2.IMWRITE_JPEG_RST_INTERVAL, 2),
    ],
)
def test_good_jpegs(flags: tuple[int, ...]) -> None:
    facts = inspect(encoded(".jpg", picture(37, 91), *flags))
    assert (facts.format, facts.height, facts.width, facts.channels) == ("jpeg", 37, 91, 3)
    assert facts.problem == "" and facts.bits == 8 and facts.orientation == 1


def test_grey_jpeg_and_pngs() -> None:
    grey = inspect(encoded(".jpg", picture(20, 30)[..., 0]))
    assert (grey.channels, grey.problem) == (1, "")
    deep = np.arange(600, dtype=np.uint16).reshape(20, 30) * 100
    facts = inspect(encoded(".png", deep))
    assert (facts.format, facts.height, facts.width, facts.bits) == ("png", 20, 30, 16)
    assert facts.problem == ""
    assert inspect(encoded(".bmp", picture(5, 6))).format == "other"
    assert inspect(b"").format == "other"


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation(orientation: int) -> None:
    facts = inspect(with_orientation(jpeg(20, 30), orientation))
    assert facts.orientation == orientation and facts.problem == ""


def test_broken_exif_is_upright() -> None:
    assert exif_orientation(b"") == exif_orientation(b"II*\0\xff\xff\xff\xff") == 1
    assert inspect(with_orientation(jpeg(20, 30), 9)).orientation == 1


def test_trailing_bytes_are_fine() -> None:
    assert inspect(jpeg(20, 30) + b"\0" * 100 + b"camera notes").problem == ""


@pytest.mark.parametrize("suffix", [".jpg", ".png"])
def test_every_cut_is_found(suffix: str) -> None:
    data = encoded(suffix, picture(40, 50))
    for length in range(2, len(data) - 2, 7):
        facts = inspect(data[:length])
        assert facts.problem or facts.format == "other", length


@given(
    st.lists(st.sampled_from([0, 1, 0xD0, 0xD8, 0xD9, 0xFE, 0xFF]), max_size=60).map(bytes),
    st.integers(0, 61),
    st.integers(1, 70),
)
def test_the_end_of_a_scan_is_where_the_plain_search_finds_it(
    data: bytes, at: int, piece: int
) -> None:
    plain = SCAN_END.search(data, at)
    assert end_of_scan(data, at, piece) == (plain.start() if plain else -1)


def test_png_with_a_flipped_byte() -> None:
    data = bytearray(encoded(".png", picture(20, 20)))
    data[60] ^= 1
    assert "checksum" in inspect(bytes(data)).problem


def test_foreign_bytes_in_the_picture_data() -> None:
    data = bytearray(jpeg(200, 300, quality=95))
    middle = len(data) // 2
    data[middle : middle + 1500] = random.Random(0).randbytes(1500)
    assert inspect(bytes(data)).problem


def test_whatever_the_decoder_refuses_is_flagged() -> None:
    """Random damage: the quick look must never trust a file that then does not decode."""
    rng = random.Random(7)
    originals = [jpeg(60, 80, seed, quality) for seed, quality in ((0, 50), (1, 90))]
    originals.append(encoded(".jpg", picture(50, 70, 3), cv2.IMWRITE_JPEG_PROGRESSIVE, 1))
    refused = 0
    for _ in range(1500):
        data = bytearray(rng.choice(originals))
        place = rng.randrange(len(data)) if rng.random() < 0.5 else rng.randrange(650)
        kind = rng.randrange(4)
        if kind == 0:
            data[place] ^= 1 << rng.randrange(8)
        elif kind == 1:
            data = data[:place]
        elif kind == 2:
            data[place : place + 40] = rng.randbytes(40)
        else:
            del data[place : place + rng.randrange(1, 30)]
        facts = inspect(bytes(data))
        if facts.problem or facts.format == "other":
            continue
        image = cv2.imdecode(
            np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
        )
        if image is None or image.shape[:2] != (facts.height, facts.width):
            refused += 1
    assert refused == 0
