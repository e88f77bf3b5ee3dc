"""Copies of pictures: hashes of altered pictures, and the search held against a loop over all
pairs.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from data_tools.images.copies import BYTES, NEAR, PIXELS, Copy, find_copies
from data_tools.images.picture_hash import (
    FLAT,
    MOST_DIFFERENT_BITS,
    HashPool,
    bytes_hash,
    picture_hash,
)
from tests.helpers.scenes import jpeg, scene

Image = npt.NDArray[np.uint8]


def different_bits(first: bytes, second: bytes) -> int:
    """In how many bits two picture hashes differ, by another road than the kernel's."""
    return (int.from_bytes(first, "big") ^ int.from_bytes(second, "big")).bit_count()


def hashed(data: bytes) -> bytes:
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    return picture_hash(data, *image.shape[:2])


ALTERED: dict[str, Callable[[Image], Any]] = {
    "re-encoded": lambda image: jpeg(image, 15),
    "png": lambda image: cv2.imencode(".png", image)[1].tobytes(),
    "half": lambda image: jpeg(cv2.resize(image, None, fx=0.5, fy=0.5)),
    "square": lambda image: jpeg(cv2.resize(image, (300, 300))),
    "brighter": lambda image: jpeg(cv2.convertScaleAbs(image, alpha=1.1, beta=12)),
    "grey": lambda image: jpeg(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)),
    "blurred": lambda image: jpeg(cv2.GaussianBlur(image, (0, 0), 2)),
    "cropped": lambda image: jpeg(image[2:-2, 3:-3]),
}


@pytest.mark.parametrize("how", ALTERED)
def test_altered_copies_are_near_and_others_are_not(how: str) -> None:
    originals = [hashed(jpeg(scene(seed))) for seed in range(6)]
    altered = [hashed(bytes(ALTERED[how](scene(seed)))) for seed in range(6)]
    bits = np.array([[different_bits(a, b) for b in altered] for a in originals])
    assert bits.diagonal().max() <= MOST_DIFFERENT_BITS
    assert (bits + 1000 * np.eye(6, dtype=int)).min() > 1.5 * MOST_DIFFERENT_BITS


def test_pictures_without_structure_and_without_a_decoder_are_near_to_nothing() -> None:
    assert hashed(jpeg(np.full((90, 90, 3), 70, np.uint8))) == FLAT
    assert picture_hash(b"no picture", 10, 10) == FLAT and picture_hash(b"", 10, 10) == FLAT
    assert find_copies([0, 0], [b"a", b"b"], [FLAT, FLAT]).within == ()
    assert hashed(jpeg(scene(1, 9, 300))) != FLAT  # smaller than what is looked at


def test_orientation_in_exif_is_no_part_of_what_is_stored() -> None:
    data = jpeg(scene(3))
    exif = bytes.fromhex("4578696600004d4d002a00000008000101120003000000010006000000000000")
    marked = data[:2] + b"\xff\xe1" + (len(exif) + 2).to_bytes(2, "big") + exif + data[2:]
    assert hashed(marked) == hashed(data)


def test_the_pool_keeps_the_order() -> None:
    data = [jpeg(scene(k, 96, 96)) for k in range(9)]
    with HashPool(pending=2) as pool:
        for item in data:
            pool.add(item, 96, 96)
    assert pool.results() == [(bytes_hash(d), picture_hash(d, 96, 96)) for d in data]
    assert pool.results()[0][0] == hashlib.sha256(data[0]).digest()[:16]


def oracle(
    rank: list[int], digests: list[bytes], hashes: list[bytes], pixels: list[bytes]
) -> tuple[list[Copy], list[Copy]]:
    """Every picture with every other: equal bytes before equal pixels before the fewest bits, then
    the first.
    """
    lists: tuple[list[Copy], list[Copy]] = ([], [])
    for i in range(len(rank)):
        for part, found in enumerate(lists):
            options = []
            for j in range(len(rank)):
                if i == j or (
                    not (rank[j] == rank[i] and j < i) if part == 0 else rank[j] <= rank[i]
                ):
                    continue
                bits = different_bits(hashes[i], hashes[j])
                near = bits <= MOST_DIFFERENT_BITS and FLAT not in (hashes[i], hashes[j])
                if digests[i] == digests[j]:
                    options.append((0, 0, rank[j], j, BYTES))
                elif near and pixels[i] == pixels[j]:
                    options.append((1, 0, rank[j], j, PIXELS))
                elif near:
                    options.append((2, bits, 0, j, NEAR))
            if options:
                _, bits, _, j, how = min(options)
                found.append(Copy(i, j, how, bits))
    return lists


@pytest.mark.parametrize("seed", range(4))
def test_copies_are_those_of_a_loop_over_all_pairs(seed: int) -> None:
    rng = np.random.default_rng(seed)
    hashes: list[bytes] = []
    digests: list[bytes] = []
    pixels: list[bytes] = []
    for k in range(120):
        how = ("bytes", "pixels", "near", "new")[int(rng.integers(0, 4))] if k else "new"
        parent = int(rng.integers(0, k)) if k else 0
        if how in ("bytes", "pixels") and hashes[parent] == FLAT:
            how = "new"
        most = {"bytes": 0, "pixels": 4, "near": 2 * MOST_DIFFERENT_BITS, "new": 0}[how]
        bits = np.unpackbits(np.frombuffer(hashes[parent], np.uint8)) if how != "new" else None
        # Pictures of equal pixels differ from the first of them, not in chains, in a few bits.
        if how == "pixels":
            bits = np.unpackbits(np.frombuffer(hashes[pixels.index(pixels[parent])], np.uint8))
        bits = rng.integers(0, 2, 256).astype(np.uint8) if bits is None else bits
        bits[rng.permutation(256)[: int(rng.integers(0, most + 1))]] ^= 1
        flat = how in ("new", "near") and rng.random() < 0.1
        hashes.append(FLAT if flat else np.packbits(bits).tobytes())
        digests.append(digests[parent] if how == "bytes" else b"d%d" % k)
        pixels.append(pixels[parent] if how in ("bytes", "pixels") else b"p%d" % k)
    rank = rng.integers(0, 3, 120).tolist()
    found = find_copies(rank, digests, hashes, lambda k: pixels[k])
    within, across = oracle(rank, digests, hashes, pixels)
    assert {c.how for c in within} == {BYTES, PIXELS, NEAR}
    assert list(found.within) == within and list(found.across) == across


def test_without_picture_hashes_only_bytes_are_compared() -> None:
    found = find_copies([0, 1, 0], [b"a", b"a", b"a"])
    assert found.within == (Copy(2, 0, BYTES),)
    assert found.across == (Copy(0, 1, BYTES), Copy(2, 1, BYTES))
    assert find_copies([], []).within == ()


def test_equal_bytes_are_decoded_once() -> None:
    decoded: list[int] = []

    def pixels_of(index: int) -> bytes:
        decoded.append(index)
        return b"the same pixels"

    hashes = [bytes(range(32))] * 5
    found = find_copies([0] * 5, [b"a", b"b", b"a", b"b", b"a"], hashes, pixels_of)
    assert sorted(decoded) == [0, 1]
    assert [(c.index, c.original, c.how) for c in found.within] == [
        (1, 0, PIXELS), (2, 0, BYTES), (3, 1, BYTES), (4, 0, BYTES),
    ]  # fmt: skip
