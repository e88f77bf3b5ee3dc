"""Encoded image bytes to BGR pixels, fully or at a fraction of the size: the one home of every
decoder's call.

A format is recognised by its signature first (`formats.py`), and only those named there reach a
decoder. Resizing and colours are in `augment/render.py`; which bytes are good enough to store is
`convert/prepare_image.py`'s matter.
"""

from __future__ import annotations

import io
import os
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import simplejpeg
from PIL import Image

from data_tools.images.formats import (
    LARGEST_PIXELS,
    LARGEST_SIDE,
    OPENCV_FORMATS,
    PILLOW_FORMATS,
    image_format,
    refusal,
    stored_orientation,
)
from data_tools.images.inspect import inspect
from data_tools.images.tiff_tags import unreadable_tiff

Pixels = npt.NDArray[np.uint8]

# What OpenCV cannot decode is reported with the picture's name; its own lines name none. Whoever
# wants them sets OpenCV's variable.
if "OPENCV_LOG_LEVEL" not in os.environ:
    cv2.setLogLevel(0)


class PictureError(ValueError):
    """Bytes that are no picture, or one that cannot be decoded: the message says why."""


_PNM_HEADER_BYTES = 1 << 16
_AS_STORED = cv2.IMREAD_IGNORE_ORIENTATION  # boxes refer to the pixels as stored
_FLAGS = {
    1: cv2.IMREAD_COLOR | _AS_STORED,
    2: cv2.IMREAD_REDUCED_COLOR_2 | _AS_STORED,
    4: cv2.IMREAD_REDUCED_COLOR_4 | _AS_STORED,
    8: cv2.IMREAD_REDUCED_COLOR_8 | _AS_STORED,
}


def decode_bgr(
    encoded: Pixels, reduction: int = 1, buffer: npt.NDArray[np.uint8] | None = None
) -> Pixels | None:
    """Decode an image as stored, whatever its EXIF orientation says.

    A JPEG goes through `simplejpeg`: the libjpeg-turbo that OpenCV has too, so the same pixels, but
    a fifth faster, and a quarter where memory is reused. What it refuses, and all other formats, go
    to OpenCV, which decides.

    Args:
        encoded: (L,) uint8, the file's bytes.
        reduction: 1, 2, 4 or 8: decode at that fraction of the size, sides rounded up.
        buffer: (at least 3 * H * W,) uint8 to decode into, if that works out; the result may be a
            view of it. None takes fresh memory.

    Returns:
        (H, W, 3) uint8 BGR, or None if these bytes are no whole image.
    """
    if reduction == 1 and _is_jpeg(encoded):
        pixels = _fast_jpeg(encoded, buffer)
        if pixels is not None:
            return pixels
    if image_format(encoded[:160].tobytes()) not in OPENCV_FORMATS:
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


def _fast_jpeg(encoded: Pixels, buffer: npt.NDArray[np.uint8] | None) -> Pixels | None:
    try:
        pixels: Pixels = simplejpeg.decode_jpeg(encoded, "BGR", buffer=buffer)
    except ValueError:  # a warning of the decoder, CMYK, damage, or too small a buffer
        return None
    return pixels


def decode_file(data: bytes) -> Pixels:
    """Decode a picture file as stored: no EXIF rotation, 8 bits, three channels; of an animation
    the first frame.

    Args:
        data: The file's bytes, from anywhere.

    Returns:
        (H, W, 3) uint8 BGR.

    Raises:
        PictureError: If this is no picture, of no format that is decoded, damaged, or too large.
    """
    reason = _refusal(data)
    if reason:
        raise PictureError(reason)
    name = image_format(data)
    if name in PILLOW_FORMATS:
        return _with_pillow(data, name)[0]
    if name == "tiff":
        # OpenCV turns a TIFF upright whatever the flags: turned back, it is as stored.
        back = {6: 8, 8: 6}
        orientation = stored_orientation(data)
        return turned(_tiff(data), back.get(orientation, orientation))
    return _eight_bits(data)


def decode_upright(data: bytes) -> Pixels:
    """Decode a picture file as it is meant to be seen: as `decode_file`, with its EXIF orientation
    applied.

    Args:
        data: The file's bytes, from anywhere.

    Returns:
        (H, W, 3) uint8 BGR.

    Raises:
        PictureError: If this is no picture, of no format that is decoded, damaged, or too large.
    """
    if image_format(data) in PILLOW_FORMATS:
        return turned(*_with_pillow(data, image_format(data)))
    return turned(decode_file(data), orientation_of(data))


def orientation_of(data: bytes) -> int:
    """Return the EXIF orientation, 1..8, that `decode_file` did not apply; 1 where there is
    none.
    """
    name = image_format(data)
    if name in ("jpeg", "png"):
        return inspect(data).orientation
    if name in PILLOW_FORMATS:
        return _with_pillow(data, name, pixels=False)[1]
    return stored_orientation(data)


def picture_size(data: bytes) -> tuple[int, int]:
    """Return height and width, as stored, of an encoded picture from its header, without decoding
    it.

    Raises:
        PictureError: If the bytes are no picture of a format that is decoded.
    """
    reason = _refusal(data)
    if reason:
        raise PictureError(reason)
    facts = inspect(data)
    if facts.height and facts.width:
        return facts.height, facts.width
    with _opened(data, image_format(data)) as picture:
        width, height = picture.size
    # Pillow says the size of a TIFF as it is to be seen.
    lying = image_format(data) == "tiff" and stored_orientation(data) >= 5
    return (int(width), int(height)) if lying else (int(height), int(width))


def turned(image: Pixels, orientation: int) -> Pixels:
    """Undo an EXIF orientation, 1..8: (H, W, 3) -> (H, W, 3) or (W, H, 3)."""
    if orientation >= 5:
        image = image.transpose(1, 0, 2)
    if orientation in (3, 4, 7, 8):
        image = image[::-1]
    if orientation in (2, 3, 6, 7):
        image = image[:, ::-1]
    return np.ascontiguousarray(image)


def one_thread_per_call() -> None:
    """Keep OpenCV from starting threads of its own: pipeline workers and MindSpore fill the
    cores.
    """
    cv2.setNumThreads(0)


def _refusal(data: bytes) -> str:
    """Why no decoder may see a picture file, by its format or its structure; empty for most."""
    reason = refusal(data)
    if reason:
        return reason
    name = image_format(data)
    if name == "jpeg":
        return inspect(data).refused
    return unreadable_tiff(data) if name == "tiff" else ""


def _eight_bits(data: bytes) -> Pixels:
    """Decode with OpenCV, which keeps the upper byte of 16 bits: where only the lower 8 or 12 hold
    a picture, those.
    """
    pixels = np.asarray(_with_opencv(data, _FLAGS[1]), np.uint8)
    if pixels.size == 0 or pixels.max() >= 16:
        return pixels
    deep = _with_opencv(data, _FLAGS[1] | cv2.IMREAD_ANYDEPTH)
    if deep.dtype != np.uint16:
        return pixels
    return np.asarray(deep if deep.max() < 256 else deep >> 4, np.uint8)


def _with_opencv(data: bytes, flags: int) -> Any:
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error as error:
        raise PictureError(f"it does not decode: {str(error).strip().splitlines()[-1]}") from error
    if image is None:
        raise PictureError("it does not decode: it is damaged, or of a variant that is not known")
    return np.asarray(image)


def _tiff(data: bytes) -> Pixels:
    """A TIFF of 8 or 16 bits, or of floats in 0..1 or 0..255, which OpenCV alone would make
    white.
    """
    stored = _with_opencv(data, cv2.IMREAD_UNCHANGED)
    if stored.dtype.kind != "f":
        return _eight_bits(data)
    low, high = (float(stored.min()), float(stored.max())) if stored.size else (0.0, 0.0)
    if not (0 <= low <= high <= 255):  # not a number fails too
        raise PictureError(
            f"a TIFF of floating-point values from {low:g} to {high:g}: only 0..1 and 0..255 can "
            "be shown as a picture. Convert it to 8 bits"
        )
    pixels = np.rint(stored * (255.0 if high <= 1 else 1.0)).astype(np.uint8)
    channels = 1 if pixels.ndim == 2 else pixels.shape[2]
    if channels == 1:
        return np.ascontiguousarray(np.repeat(pixels.reshape(*pixels.shape[:2], 1), 3, axis=2))
    return np.ascontiguousarray(pixels[:, :, :3])


def _opened(data: bytes, name: str) -> Any:
    """Open a picture with Pillow, which may use the one named decoder only.

    Raises:
        PictureError: If Pillow lacks the decoder, or refuses the file.
    """
    if name == "heic":
        try:
            from pillow_heif import register_heif_opener
        except ImportError:
            raise PictureError(
                "a HEIC picture, which needs a reader: pip install pillow-heif, or convert it to "
                "JPEG"
            ) from None
        register_heif_opener()
    known = {"jpeg": ["JPEG", "MPO"], "pnm": ["PPM"]}
    formats = known.get(name, [PILLOW_FORMATS.get(name, name.upper())])
    if name == "pnm":
        data = data[
            :_PNM_HEADER_BYTES
        ]  # Pillow would look for the end of any comment, byte by byte
    try:
        return Image.open(io.BytesIO(data), formats=formats)
    except MemoryError:
        raise
    except Exception as error:  # each of Pillow's decoders has errors of its own
        raise PictureError(f"it does not decode: {error}") from error


def _with_pillow(data: bytes, name: str, *, pixels: bool = True) -> tuple[Pixels, int]:
    """Decode with Pillow: the first frame as stored, and its EXIF orientation."""
    try:
        with _opened(data, name) as picture:
            orientation = int(picture.getexif().get(0x0112, 1) or 1)
            orientation = orientation if 1 <= orientation <= 8 else 1
            if not pixels:
                return np.zeros((0, 0, 3), np.uint8), orientation
            height, width = picture.size[1], picture.size[0]
            if height * width > LARGEST_PIXELS or max(height, width) > LARGEST_SIDE:
                raise PictureError(f"{width} x {height} pixels are too many")
            rgb = np.asarray(picture.convert("RGB"), np.uint8)
            return np.ascontiguousarray(rgb[:, :, ::-1]), orientation
    except (MemoryError, PictureError):
        raise
    except Exception as error:  # each of Pillow's decoders has errors of its own
        raise PictureError(f"it does not decode: {error}") from error
