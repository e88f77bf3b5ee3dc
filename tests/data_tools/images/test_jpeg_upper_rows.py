"""Upper rows are bit for bit those of the whole image, for every kind of JPEG; else None."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from data_tools.images.jpeg_upper_rows import decode_upper_rows

SAMPLING = {
    "444": cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444,
    "422": cv2.IMWRITE_JPEG_SAMPLING_FACTOR_422,
    "420": cv2.IMWRITE_JPEG_SAMPLING_FACTOR_420,
    "440": cv2.IMWRITE_JPEG_SAMPLING_FACTOR_440,
    "411": cv2.IMWRITE_JPEG_SAMPLING_FACTOR_411,
}


def picture(height: int, width: int, channels: int = 3) -> np.ndarray:
    coarse = np.random.default_rng(height).integers(0, 256, (9, 9, channels), np.uint8)
    image = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    noise = np.random.default_rng(0).integers(-9, 9, image.shape)
    return np.clip(image + noise, 0, 255).astype(np.uint8)


def encoded(image: np.ndarray, *options: int) -> np.ndarray:
    return cv2.imencode(".jpg", image, list(options))[1].reshape(-1)


@pytest.mark.parametrize("sampling", SAMPLING)
@pytest.mark.parametrize("restart", [0, 1, 7])
@pytest.mark.parametrize("size", [(130, 90), (241, 33)])
def test_upper_rows_are_those_of_the_whole(
    sampling: str, restart: int, size: tuple[int, int]
) -> None:
    data = encoded(
        picture(*size),
        cv2.IMWRITE_JPEG_SAMPLING_FACTOR, SAMPLING[sampling],
        cv2.IMWRITE_JPEG_RST_INTERVAL, restart,
    )  # fmt: skip
    whole = cv2.imdecode(data, cv2.IMREAD_COLOR)
    before = data.copy()
    cut = 0
    for rows in range(1, size[0] + 1):
        upper = decode_upper_rows(data, rows, size[0])
        if upper is not None:
            cut += 1
            assert rows <= len(upper) < size[0]
            np.testing.assert_array_equal(upper[:rows], whole[:rows])
    assert cut > size[0] // 2
    np.testing.assert_array_equal(data, before)


def test_grey_images_and_read_only_bytes_work() -> None:
    data = encoded(picture(150, 60, 1))
    data.flags.writeable = False
    upper = decode_upper_rows(data, 40, 150)
    assert upper is not None
    np.testing.assert_array_equal(upper[:40], cv2.imdecode(data, cv2.IMREAD_COLOR)[:40])


def test_given_memory_is_used() -> None:
    room = np.zeros(3 * 150 * 60, np.uint8)
    upper = decode_upper_rows(encoded(picture(150, 60)), 40, 150, room)
    assert upper is not None and np.shares_memory(upper, room)


@pytest.mark.parametrize(
    "data",
    [
        encoded(picture(150, 60), cv2.IMWRITE_JPEG_PROGRESSIVE, 1),
        encoded(picture(150, 60))[:-40],
        encoded(picture(149, 60)),
        cv2.imencode(".png", picture(150, 60))[1].reshape(-1),
        np.frombuffer(b"\xff\xd8\xff\xd9", np.uint8),
        np.frombuffer(b"\xff\xd8" + b"\xff" * 500 + b"\xff\xd9", np.uint8),
        np.zeros(0, np.uint8),
    ],
    ids=["progressive", "cut short", "other height", "png", "no image", "padding", "nothing"],
)
def test_what_cannot_be_cut_is_none(data: np.ndarray) -> None:
    assert decode_upper_rows(data, 40, 150) is None


def test_little_to_save_is_none() -> None:
    assert decode_upper_rows(encoded(picture(150, 60)), 120, 150) is None


def test_real_photographs(shared_dir: Path) -> None:
    files = sorted((shared_dir / "data" / "tiny_coco" / "train2017").glob("*.jpg"))
    cut = 0
    for file in files:
        data = np.fromfile(file, np.uint8)
        whole = cv2.imdecode(data, cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
        for rows in (60, len(whole) // 2, len(whole) * 4 // 5):
            upper = decode_upper_rows(data, rows, len(whole))
            if upper is not None:
                cut += 1
                np.testing.assert_array_equal(upper[:rows], whole[:rows])
    assert cut > 100
