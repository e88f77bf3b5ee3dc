"""Decoding gives OpenCV's pixels for every kind of file, fully and reduced, and None for damage."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from data_tools.images.decode import decode_bgr

AS_STORED = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
SAMPLING = {
    "444": cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444,
    "422": cv2.IMWRITE_JPEG_SAMPLING_FACTOR_422,
    "420": cv2.IMWRITE_JPEG_SAMPLING_FACTOR_420,
    "440": cv2.IMWRITE_JPEG_SAMPLING_FACTOR_440,
    "411": cv2.IMWRITE_JPEG_SAMPLING_FACTOR_411,
}


def picture(height: int, width: int, channels: int = 3) -> np.ndarray:
    rng = np.random.default_rng(height * width)
    coarse = rng.integers(0, 256, (5, 5, channels), np.uint8)
    smooth = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    noise = rng.integers(-20, 20, (height, width, channels))
    return np.clip(smooth.reshape(height, width, channels) + noise, 0, 255).astype(np.uint8)


def encoded(image: np.ndarray, kind: str = ".jpg", options: list[int] | None = None) -> np.ndarray:
    done, data = cv2.imencode(kind, image, options or [])
    assert done
    return data.reshape(-1)


@pytest.mark.parametrize("progressive", [0, 1])
@pytest.mark.parametrize("sampling", SAMPLING)
@pytest.mark.parametrize("size", [(48, 64), (33, 17), (1, 1), (7, 150)])
def test_jpeg_pixels_are_opencvs(sampling: str, progressive: int, size: tuple[int, int]) -> None:
    options = [
        cv2.IMWRITE_JPEG_SAMPLING_FACTOR, SAMPLING[sampling],
        cv2.IMWRITE_JPEG_PROGRESSIVE, progressive, cv2.IMWRITE_JPEG_QUALITY, 83,
    ]  # fmt: skip
    data = encoded(picture(*size), options=options)
    np.testing.assert_array_equal(decode_bgr(data), cv2.imdecode(data, AS_STORED))


@pytest.mark.parametrize("kind", [".png", ".bmp", ".webp", ".jpg"])
@pytest.mark.parametrize("channels", [1, 3])
def test_other_files_are_opencvs(kind: str, channels: int) -> None:
    data = encoded(picture(20, 30, channels), kind)
    image = decode_bgr(data)
    assert image is not None and image.shape == (20, 30, 3)
    np.testing.assert_array_equal(image, cv2.imdecode(data, AS_STORED))


def test_exif_orientation_is_left_alone() -> None:
    data = encoded(picture(20, 30)).tobytes()
    exif = (
        b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"  # orientation 6
    )
    turned = data[:2] + b"\xff\xe1" + (len(exif) + 2).to_bytes(2, "big") + exif + data[2:]
    array = np.frombuffer(turned, np.uint8)
    assert cv2.imdecode(array, cv2.IMREAD_COLOR).shape == (30, 20, 3)  # the tag does work
    image = decode_bgr(array)
    assert image is not None and image.shape == (20, 30, 3)


@pytest.mark.parametrize("reduction", [2, 4, 8])
@pytest.mark.parametrize("size", [(64, 48), (65, 47)])
def test_reduced_sizes_are_rounded_up(reduction: int, size: tuple[int, int]) -> None:
    image = decode_bgr(encoded(picture(*size)), reduction)
    assert image is not None
    assert image.shape[:2] == tuple(-(-side // reduction) for side in size)


@pytest.mark.parametrize("reduction", [1, 2])
@pytest.mark.parametrize(
    "damage",
    [
        lambda data: data[:0],
        lambda data: data[:3],
        lambda data: data[:200],
        lambda data: data[: len(data) // 2],
        lambda data: b"\xff\xd8\xff" + b"\0" * 500,
        lambda data: b"rubbish" * 50,
    ],
)
def test_damage_is_none_or_opencvs(damage, reduction: int) -> None:  # type: ignore[no-untyped-def]
    data = np.frombuffer(damage(encoded(picture(60, 80)).tobytes()), np.uint8)
    image = decode_bgr(data, reduction)
    flags = {1: AS_STORED, 2: cv2.IMREAD_REDUCED_COLOR_2 | cv2.IMREAD_IGNORE_ORIENTATION}
    want = cv2.imdecode(data, flags[reduction]) if data.size else None
    assert (image is None) == (want is None)
    if image is not None:
        np.testing.assert_array_equal(image, want)


def test_real_photographs_are_opencvs(shared_dir) -> None:  # type: ignore[no-untyped-def]
    files = sorted((shared_dir / "data" / "tiny_coco" / "val2017").glob("*.jpg"))
    assert len(files) == 50
    for file in files:
        data = np.frombuffer(file.read_bytes(), np.uint8)
        np.testing.assert_array_equal(decode_bgr(data), cv2.imdecode(data, AS_STORED))


def test_decoders_leave_no_lines_of_their_own(repository: Path) -> None:
    """Whoever converts ten thousand pictures gets a line for a bad one with its name, and no
    other.
    """
    code = (
        "import cv2, numpy\n"
        "from data_tools.images.decode import PictureError, decode_file\n"
        "pixels = numpy.random.default_rng(1).integers(0, 255, (50, 60, 3), numpy.uint8)\n"
        "for ending in ('.tiff', '.bmp'):\n"
        "    data = cv2.imencode(ending, pixels)[1].tobytes()\n"
        "    try:\n"
        "        decode_file(data[: len(data) // 2])\n"
        "    except PictureError as error:\n"
        "        print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=repository, capture_output=True, text=True, check=True
    )
    assert done.stdout.count("does not decode") == 2 and not done.stderr
