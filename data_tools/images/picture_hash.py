"""Two hashes of a picture: of its bytes, and of what it shows, which copies that were altered still
share.

Which pictures are copies of which is found in `copies.py`; sets that are converted keep these
hashes in `manifest.json`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType

import cv2
import numpy as np
import numpy.typing as npt

from data_tools.core.cores import core_count

BYTES_SIZE = 16
"""Bytes of a hash of bytes: the first half of sha256."""

PICTURE_SIZE = 32
"""Bytes of a picture hash: 16 x 16 signs."""

MOST_DIFFERENT_BITS = 40
"""Pictures whose hashes differ in at most this many of the 256 bits are nearly equal.

Measured on 664 photographs and micrographs and 18 alterations of each (docs/data-format.md): copies
that were re-encoded, scaled, brightened, blurred or given noise differ by 30 bits at most, 99 of
100 with a line of text by 40; of 220,000 pairs of different pictures the closest differ by 90.
"""

FLAT = bytes(PICTURE_SIZE)
"""The hash of a picture without any structure, and of one that does not decode: it is near to
nothing.
"""

_SIDE = 32
_LOWEST = 16
_FLAT_DEVIATION = 1.0
_LARGE_ENOUGH = 64
_REDUCED = (
    cv2.IMREAD_REDUCED_GRAYSCALE_8,
    cv2.IMREAD_REDUCED_GRAYSCALE_4,
    cv2.IMREAD_REDUCED_GRAYSCALE_2,
    cv2.IMREAD_GRAYSCALE,
)


def bytes_hash(data: bytes) -> bytes:
    """Return the first 16 bytes of the sha256 of an image file."""
    return hashlib.sha256(data).digest()[:BYTES_SIZE]


def picture_hash(data: bytes, height: int, width: int) -> bytes:
    """Return the perceptual hash of an encoded picture, as it is stored, whatever its EXIF
    orientation.

    The signs of the lowest 16 x 16 cosines of the picture at 32 x 32 grey pixels against their
    median: 256 bits, four times as many as usual, because among 100,000 pictures billions of pairs
    are compared. JPEG is decoded at the smallest scale that leaves 64
    pixels: half the time of decoding it whole.

    Args:
        data: The encoded bytes.
        height: Pixels.
        width: Pixels.

    Returns:
        32 bytes; `FLAT` where there is nothing to tell.
    """
    shortest = min(height, width)
    fits = [k for k, shrink in enumerate((8, 4, 2)) if shortest >= shrink * _LARGE_ENOUGH]
    flags = _REDUCED[fits[0] if fits else -1] | cv2.IMREAD_IGNORE_ORIENTATION
    try:
        grey = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error:
        return FLAT
    return FLAT if grey is None else hash_of_pixels(np.asarray(grey, np.uint8))


def hash_of_pixels(grey: npt.NDArray[np.uint8]) -> bytes:
    """Return the perceptual hash of grey pixels (H, W); see `picture_hash`."""
    small = cv2.resize(grey, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA).astype(np.float32)
    if small.std() < _FLAT_DEVIATION:
        return FLAT
    lowest = cv2.dct(small)[:_LOWEST, :_LOWEST].ravel()
    return np.packbits(lowest > np.median(lowest)).tobytes()


class HashPool:
    """Hashes pictures in threads while their reader goes on: OpenCV and hashlib leave the
    interpreter lock.

    At most `pending` pictures wait, so memory is bounded. Use it as a context, then take `results`.
    """

    def __init__(self, pending: int = 32) -> None:
        self._pool = ThreadPoolExecutor(core_count())
        self._pending = pending
        self._futures: list[Future[tuple[bytes, bytes]]] = []

    def __enter__(self) -> HashPool:
        """Start."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Wait for what was begun; forget the rest if something went wrong."""
        self._pool.shutdown(wait=True, cancel_futures=error is not None)

    def add(self, data: bytes, height: int, width: int) -> None:
        """Hash one more picture: its encoded bytes and its size in pixels."""
        if len(self._futures) >= self._pending:
            self._futures[-self._pending].result()
        self._futures.append(self._pool.submit(_both, data, height, width))

    def results(self) -> list[tuple[bytes, bytes]]:
        """Return the hashes of bytes and picture of each that was added, in that order."""
        return [future.result() for future in self._futures]


def _both(data: bytes, height: int, width: int) -> tuple[bytes, bytes]:
    return bytes_hash(data), picture_hash(data, height, width)


def hash_array(hashes: Iterable[bytes]) -> npt.NDArray[np.uint64]:
    """Return picture hashes as (N, 4) words of 64 bits."""
    return np.frombuffer(b"".join(hashes), np.uint64).reshape(-1, PICTURE_SIZE // 8)


def pixels_hash(image: npt.NDArray[np.uint8]) -> bytes:
    """Return a hash of a decoded picture: its size and every pixel."""
    return bytes_hash(repr(image.shape).encode() + np.ascontiguousarray(image).tobytes())
