"""The search for the nearest picture hash, compiled: every picture is compared with every other.

Plain, because it is fast enough: 118,000 pictures are 7 billion pairs. What the pairs mean is
decided in `copies.py`.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from data_tools.core.compiled import compiled


@compiled()
def nearest(
    hashes: npt.NDArray[np.uint64],
    rank: npt.NDArray[np.int64],
    first: int,
    last: int,
    within: npt.NDArray[np.int64],
    across: npt.NDArray[np.int64],
    close: npt.NDArray[np.bool_],
    close_bits: int,
) -> None:
    """Note for each picture the nearest earlier one of its split, and the nearest of a split of
    higher rank.

    Of equally near ones the first is noted. Pictures whose hash is zero are near to nothing.

    Args:
        hashes: (N, 4) words.
        rank: (N,) rank of each picture's split.
        first: The pairs whose first picture is `first:last` are looked at, so that progress can be
            shown.
        last: See `first`.
        within: (N, 2) index of the nearest earlier picture of the split and in how many bits it
            differs; to start with -1 and the number of bits that is too many.
        across: (N, 2) likewise, of splits of higher rank.
        close: (N,) becomes true where any other picture, of whatever split, differs in `close_bits`
            bits or less.
        close_bits: See `close`.
    """
    one, two, four = np.uint64(1), np.uint64(2), np.uint64(4)
    odd, pairs = np.uint64(0x5555555555555555), np.uint64(0x3333333333333333)
    nibbles, ones = np.uint64(0x0F0F0F0F0F0F0F0F), np.uint64(0x0101010101010101)
    for i in range(first, last):
        a, b, c, d = hashes[i, 0], hashes[i, 1], hashes[i, 2], hashes[i, 3]
        if a | b | c | d == 0:
            continue
        for j in range(i + 1, hashes.shape[0]):
            bits = np.int64(0)
            for word in (a ^ hashes[j, 0], b ^ hashes[j, 1], c ^ hashes[j, 2], d ^ hashes[j, 3]):
                v = word - ((word >> one) & odd)
                v = (v & pairs) + ((v >> two) & pairs)
                v = (v + (v >> four)) & nibbles
                bits += np.int64((v * ones) >> np.uint64(56))
            if bits > close_bits and (
                bits >= within[j, 1] and bits >= across[j, 1] and bits >= across[i, 1]
            ):
                continue
            if hashes[j, 0] | hashes[j, 1] | hashes[j, 2] | hashes[j, 3] == 0:
                continue
            if bits <= close_bits:
                close[i] = close[j] = True
            if rank[i] == rank[j]:
                if bits < within[j, 1]:
                    within[j, 0], within[j, 1] = i, bits
            elif rank[j] > rank[i]:
                if bits < across[i, 1]:
                    across[i, 0], across[i, 1] = j, bits
            elif bits < across[j, 1]:
                across[j, 0], across[j, 1] = i, bits
