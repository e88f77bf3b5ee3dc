"""Reading all of a JPEG's bits without making pixels: the verdict is that of decoding it."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import simplejpeg

from benchmarks.photographs import photograph
from data_tools.images.coded_data import decodes_cleanly
from data_tools.images.decode import decode_file

Bytes = list[bytes]


@pytest.fixture(scope="module")
def pictures() -> Bytes:
    """JPEGs of all kinds that OpenCV writes: quality, scans, restarts, sampling, grey."""
    rng = np.random.default_rng(0)
    made = []
    for height, width in ((48, 64), (37, 91), (17, 200)):
        image = photograph(rng, height, width)
        for progressive in (0, 1):
            for restart in (0, 2):
                for sampling in (0x411111, 0x221111, 0x211111, 0x111111):
                    options = [
                        cv2.IMWRITE_JPEG_PROGRESSIVE, progressive,
                        cv2.IMWRITE_JPEG_RST_INTERVAL, restart,
                        cv2.IMWRITE_JPEG_SAMPLING_FACTOR, sampling,
                    ]  # fmt: skip
                    made.append(cv2.imencode(".jpg", image, options)[1].tobytes())
        made.append(cv2.imencode(".jpg", image[:, :, 0])[1].tobytes())
    return made


def strictly(data: bytes) -> tuple[int, ...] | None:
    """The size of a picture that decodes in full without a warning."""
    try:
        return tuple(simplejpeg.decode_jpeg(data, "BGR").shape[:2])
    except ValueError:
        return None


def test_whole_pictures(pictures: Bytes) -> None:
    for data in pictures:
        assert decodes_cleanly(data) == decode_file(data).shape[:2]


def test_damaged_pictures(pictures: Bytes) -> None:
    rng = np.random.default_rng(1)
    refused = 0
    for _ in range(1500):
        data = bytearray(pictures[int(rng.integers(len(pictures)))])
        at, kind = int(rng.integers(2, len(data))), int(rng.integers(4))
        if kind == 0:
            data[at] = int(rng.integers(256))
        elif kind == 1:
            data[at] ^= 1 << int(rng.integers(8))
        elif kind == 2:
            del data[at : at + int(rng.integers(1, 20))]
        else:
            data[at:at] = rng.bytes(int(rng.integers(1, 8)))
        expected = strictly(bytes(data))
        assert decodes_cleanly(bytes(data)) == expected
        refused += expected is None
    assert 200 < refused < 1300


@pytest.mark.parametrize("data", [b"", b"\xff\xd8\xff", b"not a picture"])
def test_no_pictures(data: bytes) -> None:
    assert decodes_cleanly(data) is None
