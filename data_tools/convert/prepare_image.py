"""From the bytes of an image file to the bytes that are stored: checked, upright, decodable by
OpenCV.

Stored bytes always decode with `cv2.imdecode(bytes, IMREAD_COLOR | IMREAD_IGNORE_ORIENTATION)` to
the height and width of the row. They are the file's own bytes unless that cannot hold, or the user
asks.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np
import numpy.typing as npt

from data_tools.convert.settings import ImageSettings
from data_tools.core.sample import Sample
from data_tools.images.coded_data import decodes_cleanly
from data_tools.images.decode import PictureError, decode_file, orientation_of, turned
from data_tools.images.formats import LARGEST_PIXELS, LARGEST_SIDE
from data_tools.images.inspect import FileFacts, inspect
from data_tools.sources.defects import DefectLog

Image = npt.NDArray[np.uint8]

_DEFAULT_QUALITY = 95


@dataclass(frozen=True)
class PreparedImage:
    """An image ready to be stored, and its sample with boxes in the frame of the stored picture.

    Args:
        data: The encoded bytes.
        height: Pixels of the stored picture.
        width: Pixels of the stored picture.
        sample: The sample; boxes and areas are scaled as the picture was, and not yet cut to it.
        changes: What was done to the picture, for the report's counts.
    """

    data: bytes
    height: int
    width: int
    sample: Sample
    changes: tuple[str, ...]


def prepare_image(
    sample: Sample, settings: ImageSettings, log: DefectLog, max_bytes: int
) -> PreparedImage | None:
    """Read, check and, where needed, re-encode the image of a sample.

    Args:
        sample: The sample.
        settings: What to do to images.
        log: Where defects go.
        max_bytes: The most that one row can hold.

    Returns:
        The image to store, or None if the image is left out.
    """

    def report(kind: str, detail: str) -> str:
        return log.add(kind, sample.file_name, detail, image_id=sample.image_id)

    try:
        data = sample.read_bytes()
    except OSError as error:
        report("missing_image", str(error.strerror or error))
        return None
    facts = inspect(data)
    image: Image | None = None
    if _must_decode(data, facts, settings):
        try:
            image = decode_file(data)
        except PictureError as error:
            report("undecodable_image", facts.problem or str(error))
            return None
        if facts.format == "other":
            facts = replace(facts, orientation=orientation_of(data))
        if facts.height and image.shape[:2] != (facts.height, facts.width):
            report("undecodable_image", "the decoder disagrees with the header about the size")
            return None
        facts = replace(facts, height=image.shape[0], width=image.shape[1])
        if facts.problem and report("damaged_image", facts.problem) in ("skip", "error"):
            return None
    if facts.height * facts.width > LARGEST_PIXELS or max(facts.height, facts.width) > LARGEST_SIDE:
        report(
            "too_large",
            f"{facts.width} x {facts.height} pixels; 2**30 can be decoded, 2**20 a side",
        )
        return None
    turn = _orientation(facts, sample, settings.exif)
    height, width = (facts.width, facts.height) if turn >= 5 else (facts.height, facts.width)
    fitted = _against_declared(sample, height, width, log)
    if fitted is None:
        return None
    changes = _changes(facts, turn, max(height, width), settings)
    if not changes:
        if len(data) > max_bytes:
            report("too_large", f"{len(data)} bytes; a page holds {max_bytes}")
            return None
        return PreparedImage(data, height, width, fitted, ())
    if image is None:
        try:
            image = decode_file(data)
        except PictureError as error:
            report("undecodable_image", facts.problem or str(error))
            return None
    image = _shrink(turned(image, turn), settings.max_side)
    encoded = _encode(image, facts, settings.quality, max_bytes)
    if len(encoded) > max_bytes:
        report("too_large", f"{len(encoded)} bytes re-encoded; a page holds {max_bytes}")
        return None
    fitted = scaled(fitted, image.shape[0] / height, image.shape[1] / width)
    return PreparedImage(encoded, image.shape[0], image.shape[1], fitted, changes)


def _must_decode(data: bytes, facts: FileFacts, settings: ImageSettings) -> bool:
    """Whether only a decoder can say what is in a file."""
    if facts.problem or facts.format == "other":
        return True
    if settings.check != "full":
        return False
    # The pixels are wanted anyway, or the file is one that `decodes_cleanly` does not judge.
    if settings.max_side or settings.quality or facts.format != "jpeg" or facts.channels == 4:
        return True
    size = (facts.height, facts.width)
    return facts.height * facts.width > LARGEST_PIXELS or decodes_cleanly(data) != size


def _orientation(facts: FileFacts, sample: Sample, choice: str) -> int:
    """The EXIF orientation to undo, 1..8; 1 leaves the picture as it is."""
    if choice == "ignore":
        return 1
    stored = (facts.height, facts.width)
    as_stored = (sample.height, sample.width) == stored and stored[0] != stored[1]
    if choice == "auto" and facts.orientation >= 5 and as_stored:
        return 1  # the annotator saw the picture lying on its side: so must the boxes
    return facts.orientation


def _against_declared(sample: Sample, height: int, width: int, log: DefectLog) -> Sample | None:
    """Bring the boxes to the image's pixels; None if its declared size rules the image out."""
    if sample.relative:
        return replace(scaled(sample, height, width), relative=False)
    if not (sample.height and sample.width) or (sample.height, sample.width) == (height, width):
        return sample
    action = log.add(
        "size_mismatch",
        sample.file_name,
        f"declared height {sample.height}, width {sample.width}; the image has height {height}, "
        f"width {width}",
        image_id=sample.image_id,
    )
    if action == "fix":
        return scaled(sample, height / sample.height, width / sample.width)
    return sample if action == "keep" else None


def _changes(facts: FileFacts, turn: int, longest: int, settings: ImageSettings) -> tuple[str, ...]:
    changes = []
    if turn != 1:
        changes.append("turned_upright")
    if facts.format == "jpeg" and facts.channels == 4:
        changes.append(
            "cmyk_to_rgb"
        )  # decoders disagree about what CMYK looks like: settle it here
    if facts.bits > 8:
        changes.append("to_8_bits")
    if facts.format == "other":
        changes.append("to_common_format")  # GIF, WebP, BMP, TIFF: not every decoder knows them
    if settings.max_side and longest > settings.max_side:
        changes.append("scaled_down")
    if settings.quality and not changes:
        changes.append("re_encoded")
    return tuple(changes)


def _shrink(image: Image, max_side: int) -> Image:
    height, width = image.shape[:2]
    if not max_side or max(height, width) <= max_side:
        return image
    factor = max_side / max(height, width)
    size = max(1, round(width * factor)), max(1, round(height * factor))
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)


def _encode(image: Image, facts: FileFacts, quality: int, max_bytes: int) -> bytes:
    # What was not JPEG stays without loss unless the user asked for a quality, or it would not fit.
    if facts.format != "jpeg" and not quality:
        done, encoded = cv2.imencode(".png", image)
        if done and len(encoded) <= max_bytes:
            return bytes(encoded.tobytes())
    done, encoded = cv2.imencode(
        ".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality or _DEFAULT_QUALITY]
    )
    assert done
    return bytes(encoded.tobytes())


def scaled(sample: Sample, factor_y: float, factor_x: float) -> Sample:
    """Scale a sample's boxes and areas as its picture was scaled."""
    if factor_y == factor_x == 1.0:
        return sample
    factors = np.array([factor_y, factor_x, factor_y, factor_x])
    return replace(
        sample,
        boxes_yxyx_px=sample.boxes_yxyx_px * factors,
        areas_px=sample.areas_px * (factor_y * factor_x),
    )
