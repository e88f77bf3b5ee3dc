"""Which pictures of one or more splits are copies: of equal bytes, equal pixels, or nearly equal.

Works on the hashes of `picture_hash.py`. What is done about copies is the policy's choice,
elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from data_tools.core.cores import core_count
from data_tools.core.progress import Progress
from data_tools.images.picture_hash import MOST_DIFFERENT_BITS, hash_array

BYTES, PIXELS, NEAR = "equal bytes", "equal pixels", "nearly equal"
"""How two pictures are copies, the surest first."""

_SAME_PIXELS_BITS = 24
"""A picture without its losses saved as PNG differs from its JPEG by 22 bits at most (decoders
scale in different ways).
"""

_BLOCK = 256


@dataclass(frozen=True)
class Copy:
    """A picture that is a copy of another.

    Args:
        index: Its index among all pictures.
        original: The other's index.
        how: `BYTES`, `PIXELS` or `NEAR`.
        bits: In how many of 256 bits the picture hashes differ; 0 where those were not compared.
    """

    index: int
    original: int
    how: str
    bits: int = 0


@dataclass(frozen=True)
class Copies:
    """All copies: within a split, and of pictures of another split.

    Args:
        within: A picture and the first earlier one of its split, each picture once at most.
        across: A picture and one of a split of higher rank, each picture once at most.
    """

    within: tuple[Copy, ...] = ()
    across: tuple[Copy, ...] = ()


def find_copies(
    splits: Sequence[int],
    bytes_hashes: Sequence[bytes],
    picture_hashes: Sequence[bytes] | None = None,
    pixels_of: Callable[[int], bytes | None] | None = None,
) -> Copies:
    """Find the copies among N pictures.

    Args:
        splits: Rank of each picture's split. A copy across splits is noted for the picture of lower
            rank.
        bytes_hashes: Hash of the bytes of each.
        picture_hashes: Picture hash of each; None looks for equal bytes only.
        pixels_of: Returns a hash of the size and the pixels of a picture, or None where it does not
            decode; called by several threads, once for equal bytes. None leaves equal pixels among
            the nearly equal.

    Returns:
        The copies, by ascending index.
    """
    rank = np.asarray(splits, np.int64)
    best: list[dict[int, Copy]] = [{}, {}]
    _equal(rank, list(bytes_hashes), BYTES, best)
    if picture_hashes is not None and len(rank):
        near, close = _near(rank, hash_array(picture_hashes))
        if pixels_of is not None and len(close):
            _equal(rank, _pixel_digests(close, bytes_hashes, pixels_of), PIXELS, best)
        for part, copies in zip(best, near, strict=True):
            for copy in copies:
                part.setdefault(copy.index, copy)
    within, across = (tuple(part[k] for k in sorted(part)) for part in best)
    return Copies(within, across)


def _pixel_digests(
    close: Sequence[int],
    bytes_hashes: Sequence[bytes],
    pixels_of: Callable[[int], bytes | None],
) -> list[bytes | None]:
    """The pixels' hash of each picture in `close`, None elsewhere; equal bytes are decoded once."""
    first: dict[bytes, int] = {}
    for index in close:
        first.setdefault(bytes_hashes[index], index)
    decoded: dict[bytes, bytes | None] = {}
    title = "comparing pixels of nearly equal pictures"
    with (
        ThreadPoolExecutor(core_count()) as pool,
        Progress(title, len(first)) as bar,
    ):
        for key, digest in zip(first, pool.map(pixels_of, first.values()), strict=True):
            decoded[key] = digest
            bar.update()
    digests: list[bytes | None] = [None] * len(bytes_hashes)
    for index in close:
        digests[index] = decoded[bytes_hashes[index]]
    return digests


def _equal(
    rank: npt.NDArray[np.int64],
    digests: Sequence[bytes | None],
    how: str,
    best: list[dict[int, Copy]],
) -> None:
    """Note pictures of equal digests in `best`, (within, across), where nothing surer is known."""
    rows_of: dict[bytes, list[int]] = {}
    for index, digest in enumerate(digests):
        if digest is not None:
            rows_of.setdefault(digest, []).append(index)
    for group in rows_of.values():
        if len(group) < 2:
            continue
        first = {int(rank[k]): k for k in reversed(group)}
        for index in group:
            own = int(rank[index])
            if first[own] != index:
                best[0].setdefault(index, Copy(index, first[own], how))
            higher = [other for other in first if other > own]
            if higher:
                best[1].setdefault(index, Copy(index, first[min(higher)], how))


def _near(
    rank: npt.NDArray[np.int64], hashes: npt.NDArray[np.uint64]
) -> tuple[tuple[list[Copy], list[Copy]], list[int]]:
    """The nearest pictures, and the indices of all that may have equal pixels."""
    # Importing Numba takes a third of a second; most commands need none of this.
    from data_tools.images.near_kernel import nearest

    count = len(rank)
    within, across = (np.full((count, 2), (-1, MOST_DIFFERENT_BITS + 1), np.int64) for _ in "wa")
    close = np.zeros(count, np.bool_)
    with Progress("comparing pictures", count) as bar:
        for first in range(0, count, _BLOCK):
            last = min(first + _BLOCK, count)
            nearest(hashes, rank, first, last, within, across, close, _SAME_PIXELS_BITS)
            bar.update(last - first)
    pairs = []
    for table in (within, across):
        rows = np.flatnonzero(table[:, 0] >= 0).tolist()
        pairs.append([Copy(k, int(table[k, 0]), NEAR, int(table[k, 1])) for k in rows])
    return (pairs[0], pairs[1]), np.flatnonzero(close).tolist()
