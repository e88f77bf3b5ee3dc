"""Which picture format some bytes are, recognised by their signature before any decoder sees them,
and who may decode it.

Decoders are called in `decode.py`. Names of files say nothing: a `photo.jpg` may hold anything.
"""

from __future__ import annotations

import struct

from data_tools.images.facts import exif_orientation

OPENCV_FORMATS = frozenset(["jpeg", "png", "bmp", "webp", "tiff", "pnm"])
"""Formats that OpenCV decodes."""

PILLOW_FORMATS = {"gif": "GIF", "avif": "AVIF", "heic": "HEIF"}
"""Formats that Pillow decodes, with Pillow's name: it tries no other, so none that would start a
program."""

LARGEST_PIXELS = 1 << 30
"""OpenCV decodes no picture of more pixels, so training could not read it."""

LARGEST_SIDE = 1 << 20
"""OpenCV's limit of a side, in pixels."""

_SIGNATURES: tuple[tuple[int, bytes, str], ...] = (
    (0, b"\xff\xd8\xff", "jpeg"),
    (0, b"\x89PNG\r\n\x1a\n", "png"),
    (0, b"GIF87a", "gif"),
    (0, b"GIF89a", "gif"),
    (0, b"II*\0", "tiff"),
    (0, b"MM\0*", "tiff"),
    (0, b"II+\0", "tiff"),
    (0, b"MM\0+", "tiff"),
    (0, b"\0\0\0\x0cjP  ", "jpeg 2000"),
    (0, b"\xff\x4f\xff\x51", "jpeg 2000"),
    (0, b"%!PS", "postscript"),
    (0, b"\xc5\xd0\xd3\xc6", "postscript"),
    (0, b"%PDF", "pdf"),
    (0, b"8BPS", "photoshop"),
    (0, b"\0\0\0\x0cJXL ", "jpeg xl"),
    (0, b"\xff\x0a", "jpeg xl"),
    (0, b"\x76\x2f\x31\x01", "openexr"),
    (0, b"#?RADIANCE", "radiance hdr"),
    (0, b"#?RGBE", "radiance hdr"),
    (0, b"\x59\xa6\x6a\x95", "sun raster"),
    (0, b"\0\0\1\0", "icon"),
    (0, b"DDS ", "dds"),
    (0, b"BLP1", "blp"),
    (0, b"BLP2", "blp"),
    (0, b"P7\n", "pam"),
    (0, b"PF\n", "float map"),
    (0, b"Pf\n", "float map"),
    (0, b"\x0a\x05\x01\x08", "pcx"),
    (128, b"DICM", "dicom"),
)
_BMP_HEADERS = (12, 16, 40, 52, 56, 64, 108, 124)
_HEIC_BRANDS = (b"heic", b"heix", b"hevc", b"heim", b"heis", b"hevm", b"hevs", b"mif1", b"msf1")


def image_format(data: bytes) -> str:
    """Return the format of a picture file: `jpeg`, `png`, ...; empty where no signature is
    known.
    """
    for offset, signature, name in _SIGNATURES:
        if data.startswith(signature, offset):
            return name
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "webp"
    if data[:2] == b"BM" and len(data) >= 18:
        return "bmp" if struct.unpack_from("<I", data, 14)[0] in _BMP_HEADERS else ""
    if data[:1] == b"P" and data[1:2] in b"123456" and data[2:3].isspace():
        return "pnm"
    if data[4:8] == b"ftyp":
        if data[8:12] in (b"avif", b"avis") or b"avif" in data[16:64]:
            return "avif"
        return "heic" if data[8:12] in _HEIC_BRANDS else ""
    head = data[:256].lstrip().lower()
    return "svg" if head.startswith((b"<svg", b"<?xml")) and b"<svg" in data[:4096].lower() else ""


def refusal(data: bytes) -> str:
    """Say why some bytes are not decoded at all; empty for a format that is."""
    if not data:
        return "the file is empty"
    name = image_format(data)
    if name in OPENCV_FORMATS or name in PILLOW_FORMATS:
        return ""
    if not name:
        return f"no picture format that is known; it begins with {data[:12]!r}"
    return (
        f"{name} is not decoded: it is rare, and its decoders are known to crash or to start "
        "programs. Convert it to JPEG or PNG"
    )


def stored_orientation(data: bytes) -> int:
    """Return the EXIF orientation, 1..8, of a WebP or TIFF file's bytes; 1 for any other."""
    name = image_format(data)
    if name == "tiff":
        return exif_orientation(data)
    if name != "webp":
        return 1
    at = 12
    while at + 8 <= len(data):
        (length,) = struct.unpack_from("<I", data, at + 4)
        if data[at : at + 4] == b"EXIF":
            block = data[at + 8 : at + 8 + length]
            return exif_orientation(block.removeprefix(b"Exif\0\0"))
        at += 8 + length + (length & 1)  # parts are padded to an even length
    return 1
