"""Formats are told by signature: what reaches a decoder, what is refused in words, which way up
pictures are.
"""

from __future__ import annotations

import io
import os
import struct
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image, features

from data_tools.images.decode import (
    PictureError,
    decode_bgr,
    decode_file,
    decode_upright,
    orientation_of,
    picture_size,
)
from data_tools.images.formats import LARGEST_PIXELS, image_format, refusal
from data_tools.images.tiff_tags import unreadable_tiff

UPRIGHT = np.full((80, 60, 3), 200, np.uint8)  # (H, W, 3) BGR
UPRIGHT[10:30, 5:25] = (20, 20, 250)

REFUSED = {
    "jpeg 2000": b"\0\0\0\x0cjP  \r\n\x87\n" + bytes(400),
    "jpeg 2000 stream": b"\xff\x4f\xff\x51" + bytes(400),
    "postscript": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",
    "postscript in dos": b"\xc5\xd0\xd3\xc6" + bytes(40),
    "pdf": b"%PDF-1.4\n",
    "photoshop": b"8BPS" + bytes(40),
    "jpeg xl": b"\xff\x0a" + bytes(40),
    "openexr": b"\x76\x2f\x31\x01" + bytes(40),
    "radiance": b"#?RADIANCE\n",
    "sun raster": b"\x59\xa6\x6a\x95" + bytes(40),
    "blp": b"BLP2" + bytes(40),
    "dds": b"DDS " + bytes(200),
    "icon": b"\0\0\1\0\1\0" + bytes(40),
    "float map": b"PF\n2 2\n-1.0\n" + bytes(48),
    "dicom": bytes(128) + b"DICM" + bytes(40),
    "svg": b"<?xml version='1.0'?>\n<svg xmlns='http://www.w3.org/2000/svg'/>",
    "a web page": b"<!DOCTYPE html><html></html>",
    "nothing known": b"nothing",
    "empty": b"",
    "BM without a header": b"BM then text goes on here",
}


@pytest.mark.parametrize("data", REFUSED.values(), ids=REFUSED)
def test_what_no_decoder_may_see_is_refused_in_words(
    data: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    def dead(*_: object, **__: object) -> None:
        raise AssertionError("a decoder saw it")

    monkeypatch.setattr(cv2, "imdecode", dead)
    monkeypatch.setattr(Image, "open", dead)
    assert refusal(data)
    for read in (decode_file, decode_upright, picture_size):
        with pytest.raises(PictureError, match=r"not decoded|no picture format|empty"):
            read(data)
    assert decode_bgr(np.frombuffer(data, np.uint8)) is None


def test_no_picture_starts_a_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started = tmp_path / "started"
    program = tmp_path / "gs"
    program.write_text(f"#!/bin/sh\ntouch {started}\nexit 1\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    eps = io.BytesIO()
    Image.new("RGB", (9, 9)).save(eps, "EPS")
    with pytest.raises(PictureError, match="postscript is not decoded"):
        decode_upright(eps.getvalue())
    assert not started.exists()


@pytest.mark.parametrize("kind", ["GIF", "TIFF", "WEBP", "BMP", "PPM", "PNG", "JPEG"])
@pytest.mark.parametrize("keep", [4, 12, 20, 64, 200])
def test_damage_is_a_picture_error_whatever_the_decoder_says(kind: str, keep: int) -> None:
    file = io.BytesIO()
    Image.fromarray(UPRIGHT).save(file, kind)
    data = file.getvalue()[:keep]
    rng = np.random.default_rng(keep)
    noisy = bytearray(file.getvalue())
    for at in rng.integers(16, len(noisy), 40):
        noisy[at] ^= int(rng.integers(1, 256))
    for damaged in (data, bytes(noisy)):
        try:
            shape = decode_upright(damaged).shape
        except PictureError as error:
            assert str(error)
        else:
            assert len(shape) == 3 and shape[2] == 3


def turned_file(kind: str, orientation: int) -> bytes:
    operation = {3: Image.ROTATE_180, 6: Image.ROTATE_90, 8: Image.ROTATE_270}[orientation]
    stored, exif = Image.fromarray(UPRIGHT[:, :, ::-1]).transpose(operation), Image.Exif()
    exif[0x0112] = orientation
    more = {"TIFF": {"tiffinfo": {0x0112: orientation}}, "WEBP": {"lossless": True}}.get(kind, {})
    if kind != "TIFF":
        more["exif"] = exif.tobytes()
    if kind in ("JPEG", "AVIF"):
        more["quality"] = 100
    file = io.BytesIO()
    stored.save(file, kind, **more)
    return file.getvalue()


@pytest.mark.parametrize("orientation", [3, 6, 8])
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP", "AVIF"])
def test_exif_orientation_of_every_format_that_has_one(kind: str, orientation: int) -> None:
    if kind == "AVIF" and not features.check("avif"):
        pytest.skip("this Pillow has no AVIF")
    data = turned_file(kind, orientation)
    assert orientation_of(data) == orientation
    stored = decode_file(data)
    assert stored.shape[:2] == ((60, 80) if orientation >= 5 else (80, 60)) == picture_size(data)
    upright = decode_upright(data)
    assert upright.shape == UPRIGHT.shape
    assert np.abs(upright.astype(int) - UPRIGHT).mean() < 4
    if orientation != 3:  # a square in a corner tells the two frames apart
        assert np.abs(stored.astype(int)[:60, :60] - UPRIGHT[:60]).mean() > 4


@pytest.mark.parametrize("scale", [1.0, 255.0])
@pytest.mark.parametrize("grey", [False, True])
def test_tiff_of_floats_is_the_picture_that_it_shows(scale: float, grey: bool) -> None:
    pixels = np.full((60, 80, 3), 90 / 255, np.float32)
    pixels[10:40, 10:40] = 200 / 255
    done, data = cv2.imencode(".tif", (pixels[..., 0] if grey else pixels) * scale)
    image = decode_file(data.tobytes())
    assert done and image.shape == (60, 80, 3) and image.dtype == np.uint8
    # OpenCV stores coloured floats as logarithms of the light, which costs a few levels.
    wanted = np.where(pixels > 0.5, 200, 90)
    assert np.abs(image.astype(int) - wanted).max() <= (0 if grey else 4)


@pytest.mark.parametrize("value", [300.0, -1.0, float("nan")])
def test_tiff_of_other_floats_is_refused(value: float) -> None:
    done, data = cv2.imencode(".tif", np.full((4, 4), value, np.float32))
    with pytest.raises(PictureError, match=r"floating-point values"):
        decode_file(data.tobytes())
    assert done


def test_16_bits_keep_their_picture() -> None:
    done, data = cv2.imencode(".tif", (UPRIGHT.astype(np.uint16) * 257))
    assert done and np.array_equal(decode_file(data.tobytes()), UPRIGHT)


def test_a_picture_that_opencv_will_not_read_back_is_left_out_when_converting() -> None:
    from data_tools.convert.prepare_image import prepare_image
    from data_tools.convert.settings import ImageSettings, PolicySettings
    from data_tools.core.sample import Sample
    from data_tools.sources.defects import DefectLog

    side = 33000
    header = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    file = io.BytesIO()
    Image.new("1", (8, 8)).save(file, "PNG")
    small = file.getvalue()
    import zlib

    crc = zlib.crc32(b"IHDR" + header).to_bytes(4, "big")
    data = small[:16] + header + crc + small[33:]
    log = DefectLog(PolicySettings().__dict__)
    none, flags = np.zeros(0, np.int64), np.zeros(0, bool)
    sample = Sample(
        1,
        "big.png",
        None,
        side,
        side,
        np.zeros((0, 4)),
        none,
        flags,
        flags,
        np.zeros(0),
        none,
        data,
    )
    assert side * side > LARGEST_PIXELS
    assert prepare_image(sample, ImageSettings(), log, 1 << 30) is None
    assert [d.kind for d in log.defects] == ["too_large"]


def test_formats_are_told_apart() -> None:
    for kind, name in (("JPEG", "jpeg"), ("PNG", "png"), ("GIF", "gif"), ("TIFF", "tiff"),
                       ("WEBP", "webp"), ("BMP", "bmp"), ("PPM", "pnm")):  # fmt: skip
        file = io.BytesIO()
        Image.fromarray(UPRIGHT).save(file, kind)
        assert image_format(file.getvalue()) == name and not refusal(file.getvalue())


def test_a_jpeg_of_countless_notes_or_scans_reaches_no_decoder() -> None:
    # libjpeg walks over all notes for each new one: 800,000 of them, 20 MB, would take hours.
    file = io.BytesIO()
    Image.fromarray(UPRIGHT).save(file, "JPEG", progressive=True)
    data = file.getvalue()
    note = b"\xff\xe1\0\x0aExif\0\0II"
    scan = data[data.rindex(b"\xff\xda") : -2]
    begun = time.monotonic()
    for hostile, word in (
        (data[:2] + note * 800_000 + data[2:], "segments"),
        (data[:20] + b"\0" + note * 800_000 + data[20:], "segments"),  # decoders skip the zero
        (data[:-2] + scan * 1000 + data[-2:], "scans"),
    ):
        for read in (decode_file, decode_upright, picture_size):
            with pytest.raises(PictureError, match=word):
                read(hostile)
    assert time.monotonic() - begun < 20
    good = data[:2] + note * 300 + data[2:]  # a large colour profile has that many
    assert np.array_equal(decode_file(good), decode_file(data))


def test_a_size_is_read_from_the_head_of_a_pnm_file_only() -> None:
    begun = time.monotonic()
    with pytest.raises(PictureError):
        picture_size(b"P6\n#" + b"#" * 5_000_000)
    assert time.monotonic() - begun < 3
    assert picture_size(b"P6\n# a comment\n80 60\n255\n" + bytes(80 * 60 * 3)) == (60, 80)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(("number", "name"), [(34712, "JPEG 2000"), (50000, "Zstandard"),
                                              (12345, "number 12345")])  # fmt: skip
def test_a_tiff_of_a_foreign_compression_is_refused_not_black(
    order: str, number: int, name: str
) -> None:
    tags = ((256, 64), (257, 64), (258, 8), (259, number), (262, 2), (273, 8), (277, 3), (278, 64),
            (279, 100))  # fmt: skip
    directory = b"".join(struct.pack(order + "HHIHH", tag, 3, 1, value, 0) for tag, value in tags)
    head = (b"II" if order == "<" else b"MM") + struct.pack(order + "HI", 42, 108)
    data = head + bytes(100) + struct.pack(order + "H", len(tags)) + directory + bytes(4)
    with pytest.raises(PictureError, match=name):
        decode_file(data)


@pytest.mark.parametrize("ending", [".tif", ".png", ".pgm"])
@pytest.mark.parametrize("unit", [1, 16, 257])
def test_16_bits_of_which_8_or_12_are_used_are_no_black_picture(ending: str, unit: int) -> None:
    done, data = cv2.imencode(ending, UPRIGHT[..., 0].astype(np.uint16) * unit)
    assert done
    assert np.array_equal(decode_file(data.tobytes()), UPRIGHT[..., :1].repeat(3, axis=2))


def test_every_ending_of_jpeg_and_jpeg_2000_is_a_picture_or_a_line() -> None:
    from data_tools.core.files import IMAGE_SUFFIXES

    for ending in ("jpg", "jpeg", "jpe", "jfif", "pjpeg", "pjp", "jp2", "j2k", "jpx", "jpf", "j2c"):
        assert f".{ending}" in IMAGE_SUFFIXES


@pytest.mark.parametrize(
    "tags, mark",
    [([(254, 1)], b""), ([(254, 0), (50706, 1)], b""), ([(256, 4000)], b"CR\x02\0")],
)
def test_a_raw_file_is_not_its_preview(tags: list[tuple[int, int]], mark: bytes) -> None:
    """DNG, NEF, ARW and CR2 are TIFF files whose first picture is a small preview."""
    start = 8 + len(mark)
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    data = b"II*\0" + struct.pack("<I", start) + mark + struct.pack("<H", len(tags)) + entries
    assert "raw file" in unreadable_tiff(data + b"\0" * 4)
    plain = data.replace(struct.pack("<HHII", 254, 4, 1, 1), struct.pack("<HHII", 254, 4, 1, 2))
    if tags == [(254, 1)]:  # a page of several is a picture
        assert unreadable_tiff(plain) == ""
