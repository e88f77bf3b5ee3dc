"""Ids in COCO-like files: numbers as they should be, or texts, which then get numbers of their own.

What the ids belong to is the business of `coco.py`; images, categories and annotations each have
their `Ids`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

_NAMED_IDS = -(1 << 62)
"""Ids that are text are numbered from here until all of them are known."""

LARGEST_ID = 1 << 61
"""Ids that are numbers lie below, on either side of zero."""

_LARGEST_HASH = 1 << 64
"""Larger numbers, as hashes have, are taken for texts, up to here."""

_WHOLE = re.compile(r"-?[0-9]{1,18}(\.0+)?", re.ASCII)
_NOT_NUMBERS = ("nan", "none", "null", "inf", "-inf", "infinity", "-infinity")

IdArray = npt.NDArray[np.int64]


class Ids:
    """Turns the ids of one kind of thing in one file into numbers."""

    def __init__(self) -> None:
        self._named: dict[str, int] = {}

    def number(self, value: Any) -> int:
        """Return an id as a number; text that is no number gets one that `final` replaces.

        Raises:
            ValueError: If it can be no id.
        """
        if isinstance(value, str):
            text = value.strip()
            if _WHOLE.fullmatch(text):
                return int(text.partition(".")[0])
            if text.lower() not in ("", *_NOT_NUMBERS):
                return self._named.setdefault(text, _NAMED_IDS + len(self._named))
        elif isinstance(value, (int, float)) and not isinstance(value, bool):
            if -LARGEST_ID < value < LARGEST_ID and value == int(value):
                return int(value)
            if -_LARGEST_HASH < value < _LARGEST_HASH and value == int(value):
                return self._named.setdefault(str(int(value)), _NAMED_IDS + len(self._named))
        raise ValueError(f"id {str(value)[:80]!r}, expected a whole number below 2^64 or a text")

    def named(self, number: int) -> str | None:
        """Return the text that `number` stands for; None for an id that is a number."""
        index = number - _NAMED_IDS
        return list(self._named)[index] if 0 <= index < len(self._named) else None

    def final(self, used: Iterable[int]) -> tuple[Callable[[IdArray], IdArray], dict[int, str]]:
        """Rank the texts above all numbers, those in use first.

        Args:
            used: The ids in use, as `number` gave them.

        Returns:
            A function that replaces the numbers of texts by their ranks, and rank -> text.
        """
        if not self._named:
            return lambda values: values.copy(), {}
        above = _NAMED_IDS + len(self._named)
        known = set(used)
        start = max([0, *(number for number in known if number > above)]) + 1
        ranks = np.empty(len(self._named), np.int64)
        # What is only referred to, and is not there, comes last: it must not shift the others.
        order = sorted(self._named.items(), key=lambda item: (item[1] not in known, item[0]))
        texts = {}
        for rank, (text, number) in enumerate(order, start):
            ranks[number - _NAMED_IDS] = rank
            texts[rank] = text

        def replaced(values: IdArray) -> IdArray:
            result = values.copy()
            is_text = values < above
            result[is_text] = ranks[values[is_text] - _NAMED_IDS]
            return result

        return replaced, texts
