"""Stored pictures decode to the row's size and look right, whatever came in; boxes go along."""

from __future__ import annotations

import struct
import zlib
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from data_tools.convert.prepare_image import PreparedImage, prepare_image, turned
from data_tools.convert.settings import ImageSettings
from data_tools.core.sample import Sample
from data_tools.images.decode import decode_file
from data_tools.sources.defects import DefectLog
from tests.helpers.raw_sets import jpeg, picture, with_orientation

LIMIT = 1 << 22


def sample(data: bytes, height: int = 0, width: int = 0) -> Sample:
    return Sample(
        image_id=5,
        file_name="a.jpg",
        path=None,
        height=height,
        width=width,
        boxes_yxyx_px=np.array([[4.0, 6.0, 20.0, 30.0]]),
        category_ids=np.array([1]),
        iscrowd=np.array([False]),
        difficult=np.array([False]),
        areas_px=np.array([100.0]),
        annotation_ids=np.array([1]),
        image=data,
    )


def prepared(
    data: bytes, height: int = 0, width: int = 0, log: DefectLog | None = None, **options: object
) -> PreparedImage | None:
    settings = ImageSettings(**options)  # type: ignore[arg-type]
    return prepare_image(sample(data, height, width), settings, log or DefectLog({}), LIMIT)


def stored(result: PreparedImage | None) -> np.ndarray:
    """Decode as the pipeline does, and check the contract."""
    assert result is not None
    image = cv2.imdecode(
        np.frombuffer(result.data, np.uint8), cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
    )
    assert image.shape == (result.height, result.width, 3)
    return image


def test_bytes_stay_as_they_are() -> None:
    data = jpeg(40, 60)
    result = prepared(data, 40, 60)
    assert result is not None and result.data == data and result.changes == ()
    stored(result)


@pytest.mark.parametrize("orientation", range(2, 9))
def test_exif_orientation_comes_out_as_opencv_shows_it(orientation: int) -> None:
    data = with_orientation(jpeg(40, 60), orientation)
    shown = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    result = prepared(data)
    assert result is not None and result.changes == ("turned_upright",)
    assert np.abs(stored(result).astype(int) - shown).mean() < 3
    raw = cv2.imdecode(
        np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
    )
    np.testing.assert_array_equal(turned(raw, orientation), shown)


def test_exif_is_left_where_the_declared_size_says_so() -> None:
    data = with_orientation(jpeg(40, 60), 6)
    lying = prepared(data, 40, 60)
    upright = prepared(data, 60, 40)
    assert lying is not None and lying.data == data and (lying.height, lying.width) == (40, 60)
    assert upright is not None and (upright.height, upright.width) == (60, 40)
    ignored = prepared(data, exif="ignore")
    assert ignored is not None and ignored.data == data
    log = DefectLog({"size_mismatch": "error"})
    assert prepared(data, 40, 60, log, exif="apply") is None
    assert [d.kind for d in log.defects] == ["size_mismatch"]


def test_sixteen_bits_become_eight() -> None:
    deep = (picture(30, 20).astype(np.uint16)) * 257
    data = cv2.imencode(".png", deep)[1].tobytes()
    result = prepared(data, 30, 20)
    assert result is not None and result.changes == ("to_8_bits",)
    assert np.abs(stored(result).astype(int) - picture(30, 20)).max() <= 1


def test_grey_alpha_and_palette_png_are_kept() -> None:
    grey = cv2.imencode(".png", picture(30, 20)[..., 0])[1].tobytes()
    four = np.dstack([picture(30, 20), np.full((30, 20), 99, np.uint8)])
    alpha = cv2.imencode(".png", four)[1].tobytes()
    for data in (grey, alpha, palette_png()):
        result = prepared(data)
        assert result is not None and result.data == data
        stored(result)
    np.testing.assert_array_equal(stored(prepared(alpha)), picture(30, 20))


def palette_png() -> bytes:
    def part(kind: bytes, body: bytes) -> bytes:
        checksum = zlib.crc32(kind + body).to_bytes(4, "big")
        return len(body).to_bytes(4, "big") + kind + body + checksum

    head = struct.pack(">IIBBBBB", 4, 2, 8, 3, 0, 0, 0)
    rows = zlib.compress(b"\0\0\1\0\1" + b"\0\1\0\1\0")
    palette = part(b"PLTE", b"\xff\0\0\0\0\xff")
    start = b"\x89PNG\r\n\x1a\n"
    return start + part(b"IHDR", head) + palette + part(b"IDAT", rows) + part(b"IEND", b"")


@pytest.mark.parametrize("suffix", [".bmp", ".webp", ".tiff"])
def test_rare_formats_become_png(suffix: str) -> None:
    flags = [cv2.IMWRITE_WEBP_QUALITY, 101] if suffix == ".webp" else []
    data = cv2.imencode(suffix, picture(30, 20), flags)[1].tobytes()
    result = prepared(data, 30, 20)
    assert result is not None and result.changes == ("to_common_format",)
    assert result.data[:4] == b"\x89PNG"
    np.testing.assert_array_equal(stored(result), picture(30, 20))


def test_gif_becomes_png() -> None:
    image = pytest.importorskip("PIL.Image")
    import io

    buffer = io.BytesIO()
    image.new("RGB", (20, 30), (200, 30, 4)).save(buffer, "GIF")
    result = prepared(buffer.getvalue(), 30, 20)
    assert result is not None and result.changes == ("to_common_format",)
    assert stored(result).shape == (30, 20, 3) and stored(result)[5, 5].tolist() == [4, 30, 200]
    for cut in (0, 6, 13, 30, 60):
        assert prepared(buffer.getvalue()[:cut], 30, 20) is None


def test_cmyk_looks_like_its_rgb() -> None:
    image = pytest.importorskip("PIL.Image")
    import io

    rgb = picture(60, 80)[..., ::-1]
    buffer = io.BytesIO()
    image.fromarray(np.ascontiguousarray(rgb)).convert("CMYK").save(buffer, "JPEG", quality=95)
    result = prepared(buffer.getvalue(), 60, 80)
    assert result is not None and result.changes == ("cmyk_to_rgb",)
    assert np.abs(stored(result)[..., ::-1].astype(int) - rgb).mean() < 6


def test_longest_side_and_quality() -> None:
    data = jpeg(100, 200)
    small = prepared(data, 100, 200, max_side=50)
    assert small is not None and (small.height, small.width) == (25, 50)
    np.testing.assert_allclose(small.sample.boxes_yxyx_px, [[1.0, 1.5, 5.0, 7.5]])
    np.testing.assert_allclose(small.sample.areas_px, [100 / 16])
    stored(small)
    kept = prepared(data, 100, 200, max_side=200)
    assert kept is not None and kept.data == data
    worse = prepared(data, 100, 200, quality=20)
    assert worse is not None and len(worse.data) < len(data) and worse.changes == ("re_encoded",)


@pytest.mark.parametrize("check", ["fast", "full"])
def test_what_does_not_decode(check: str) -> None:
    whole = jpeg(40, 60)
    for data in (b"", b"not a picture", whole[: len(whole) // 2], b"\xff\xd8\xff"):
        log = DefectLog({})
        assert prepared(data, 40, 60, log, check=check) is None
        assert [d.kind for d in log.defects] == ["undecodable_image"]


def test_every_image_decoded_gives_the_same_as_a_look(monkeypatch: pytest.MonkeyPatch) -> None:
    decoded: list[bytes] = []
    real = decode_file
    module = "data_tools.convert.prepare_image"
    monkeypatch.setattr(f"{module}.decode_file", lambda data: decoded.append(data) or real(data))
    data = jpeg(120, 80)
    for options in ({}, {"max_side": 40}, {"quality": 20}):
        looked, full = (prepared(data, 120, 80, check=c, **options) for c in ("fast", "full"))
        assert looked is not None and full is not None
        assert (looked.data, looked.changes) == (full.data, full.changes)
    assert len(decoded) == 4, "pixels are made where they are wanted only"


def test_damage_that_only_decoding_finds() -> None:
    data = bytearray(jpeg(200, 300, quality=95))
    for at in range(len(data) // 2, len(data) // 2 + 400):  # codes that no table has
        data[at] = 0xFE
    looked = prepared(bytes(data), 200, 300, DefectLog({}))
    full = prepared(bytes(data), 200, 300, DefectLog({}), check="full")
    assert looked is not None and full is not None and looked.data == full.data


def test_damaged_but_decodable() -> None:
    data = bytearray(jpeg(200, 300, quality=95))
    middle = len(data) // 2
    data[middle : middle + 4] = b"\xff\x07\xff\x03"
    log = DefectLog({})
    result = prepared(bytes(data), 200, 300, log)
    kinds = [d.kind for d in log.defects]
    if result is None:
        assert kinds == ["undecodable_image"]
    else:
        assert kinds == ["damaged_image"] and result.data == bytes(data)
        strict = DefectLog({"damaged_image": "skip"})
        assert prepared(bytes(data), 200, 300, strict) is None


def test_declared_size() -> None:
    data = jpeg(40, 60)
    for action, box in (("keep", [4, 6, 20, 30]), ("fix", [2, 3, 10, 15])):
        log = DefectLog({"size_mismatch": action})
        result = prepared(data, 80, 120, log)
        assert result is not None and (result.height, result.width) == (40, 60)
        np.testing.assert_allclose(result.sample.boxes_yxyx_px, [box])
        assert [(d.kind, d.action) for d in log.defects] == [("size_mismatch", action)]
    assert prepared(data, 80, 120) is None


def test_a_missing_file_and_one_too_large(tmp_path: Path) -> None:
    log = DefectLog({})
    gone = replace(sample(b""), image=None, path=tmp_path / "no.jpg")
    assert prepare_image(gone, ImageSettings(), log, LIMIT) is None
    assert prepare_image(sample(jpeg(40, 60)), ImageSettings(), log, 100) is None
    assert [d.kind for d in log.defects] == ["missing_image", "too_large"]


def test_relative_boxes_become_pixels() -> None:
    relative = replace(
        sample(jpeg(40, 60)), boxes_yxyx_px=np.array([[0.1, 0.2, 0.5, 0.5]]), relative=True
    )
    result = prepare_image(relative, ImageSettings(), DefectLog({}), LIMIT)
    assert result is not None and not result.sample.relative
    np.testing.assert_allclose(result.sample.boxes_yxyx_px, [[4, 12, 20, 30]])
