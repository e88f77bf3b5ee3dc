"""Writes masks as Label Studio's brush does, from the values of a picture."""

from __future__ import annotations

from itertools import groupby

WIDTHS = (3, 4, 8, 16)


def packed(values: list[int], most: int, size: int = 8) -> list[int]:
    """The bytes of values: what is alike and longer than `most` as one, the rest each."""
    bits = f"{len(values):032b}{size - 1:05b}" + "".join(f"{width - 1:04b}" for width in WIDTHS)

    def add(repeated: bool, stretch: list[int]) -> None:
        nonlocal bits
        for k in range(0, len(stretch), 1 << WIDTHS[-1]):
            part = stretch[k : k + (1 << WIDTHS[-1])]
            number = next(n for n, width in enumerate(WIDTHS) if len(part) <= 1 << width)
            bits += f"{int(repeated)}{number:02b}{len(part) - 1:0{WIDTHS[number]}b}"
            bits += "".join(f"{value:0{size}b}" for value in (part[:1] if repeated else part))

    single: list[int] = []
    for _, group in groupby(values):
        alike = list(group)
        if len(alike) > most:
            if single:
                add(False, single)
            single = []
            add(True, alike)
        else:
            single += alike
    if single:
        add(False, single)
    bits += "0" * (-len(bits) % 8)
    return [int(bits[k : k + 8], 2) for k in range(0, len(bits), 8)]
