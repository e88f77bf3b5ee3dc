"""Encoded image bytes to BGR pixels, fully or at a fraction of the size: one home for every reader.

Resizing and colours are in `augment/render.py`; which bytes are good enough to store is `convert/convert.py`'s matter.
"""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt
import simplejpeg

Pixels = npt.NDArray[np.uint8]

_AS_STORED = cv2.IMREAD_IGNORE_ORIENTATION  # boxes refer to the pixels as stored
_FLAGS = {
    1: cv2.IMREAD_COLOR | _AS_STORED,
    2: cv2.IMREAD_REDUCED_COLOR_2 | _AS_STORED,
    4: cv2.IMREAD_REDUCED_COLOR_4 | _AS_STORED,
    8: cv2.IMREAD_REDUCED_COLOR_8 | _AS_STORED,
}


def decode_bgr(
    encoded: Pixels, reduction: int = 1, room: npt.NDArray[np.uint8] | None = None
) -> Pixels | None:
    """Decode an image as stored, whatever its EXIF orientation says.

    A JPEG goes through `simplejpeg`: the libjpeg-turbo that OpenCV has too, so the same pixels, but
    a fifth faster, and a quarter where memory is reused. What it refuses, and all other formats, go to
    OpenCV, which decides.

    Args:
        encoded: (L,) uint8, the file's bytes.
        reduction: 1, 2, 4 or 8: decode at that fraction of the size, sides rounded up.
        room: (at least 3 * H * W,) uint8 to decode into, if that works out; the result may be a view of
            it. None takes fresh memory.

    Returns:
        (H, W, 3) uint8 BGR, or None if these bytes are no whole image.
    """
    if reduction == 1 and _is_jpeg(encoded):
        pixels = _fast_jpeg(encoded, room)
        if pixels is not None:
            return pixels
    if not encoded.size:
        return None
    try:
        decoded = cv2.imdecode(encoded, _FLAGS[reduction])
    except cv2.error:
        return None
    return None if decoded is None else np.asarray(decoded)


def size_of(encoded: Pixels) -> tuple[int, int] | None:
    """Return the rows and columns of an encoded image; None if these bytes are no image."""
    if _is_jpeg(encoded):
        try:
            height, width, *_ = simplejpeg.decode_jpeg_header(encoded)
            return int(height), int(width)
        except ValueError:
            pass
    image = decode_bgr(encoded)
    return None if image is None else (image.shape[0], image.shape[1])


def _is_jpeg(encoded: Pixels) -> bool:
    return encoded[:3].tobytes() == b"\xff\xd8\xff"


def _fast_jpeg(encoded: Pixels, room: npt.NDArray[np.uint8] | None) -> Pixels | None:
    try:
        pixels: Pixels = simplejpeg.decode_jpeg(encoded, "BGR", buffer=room)
    except ValueError:  # a warning of the decoder, CMYK, damage, or too little room
        return None
    return pixels
