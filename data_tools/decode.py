"""Encoded image bytes to BGR pixels, fully or at a fraction of the size: one home for every reader.

Resizing and colours are in `augment/render.py`; which bytes are good enough to store is `convert.py`'s matter.
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
_JPEG_START = b"\xff\xd8\xff"


def decode_bgr(encoded: Pixels, reduction: int = 1) -> Pixels | None:
    """Decode an image as stored, whatever its EXIF orientation says.

    A JPEG goes through `simplejpeg`: the libjpeg-turbo that OpenCV has too, so the same pixels, but
    a fifth faster. What it refuses, and all other formats, go to OpenCV, which decides.

    Args:
        encoded: (L,) uint8, the file's bytes.
        reduction: 1, 2, 4 or 8: decode at that fraction of the size, sides rounded up.

    Returns:
        (H, W, 3) uint8 BGR, or None if these bytes are no whole image.
    """
    if reduction == 1 and encoded[:3].tobytes() == _JPEG_START:
        pixels = _fast_jpeg(encoded)
        if pixels is not None:
            return pixels
    if not encoded.size:
        return None
    try:
        decoded = cv2.imdecode(encoded, _FLAGS[reduction])
    except cv2.error:
        return None
    return None if decoded is None else np.asarray(decoded)


def _fast_jpeg(encoded: Pixels) -> Pixels | None:
    try:
        pixels: Pixels = simplejpeg.decode_jpeg(encoded, "BGR")
    except ValueError:  # a warning of the decoder, CMYK, or damage
        return None
    return pixels
