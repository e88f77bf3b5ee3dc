"""Ids in COCO-like files: numbers as they should be, or texts, which then get numbers of their own.

What the ids belong to is the business of `coco.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

_NAMED_IDS = -(1 << 62)
"""Ids that are text are numbered from here until all of them are known."""

LARGEST_ID = 1 << 61
"""Ids that are numbers lie below, on either side of zero."""

IdArray = npt.NDArray[np.int64]


class Ids:
    """Turns the ids of one file into numbers."""

    def __init__(self) -> None:
        self._named: dict[str, int] = {}

    def number(self, value: Any) -> int:
        """Return an id as a number; text that is no number gets one that `final` replaces.

        Raises:
            ValueError: If it can be no id.
            TypeError: If it can be no id.
        """
        if isinstance(value, bool) or value is None:
            raise ValueError(f"id {value!r}, expected a whole number or a text")
        if isinstance(value, str):
            text = value.strip()
            if text.lstrip("-").isdigit() and text.isascii() and len(text) < 19:
                return int(text)
            if not text:
                raise ValueError("an empty id")
            return self._named.setdefault(text, _NAMED_IDS + len(self._named))
        number = int(value)
        if number != value or not -LARGEST_ID < number < LARGEST_ID:
            raise ValueError(f"id {value!r}, expected a whole number below 2^61 or a text")
        return number

    def final(self, used: Iterable[int]) -> Callable[[IdArray], IdArray]:
        """Return a function that replaces the numbers of texts by their ranks, above all numbers used.

        Args:
            used: The numbers of the images.
        """
        if not self._named:
            return lambda values: values.copy()
        above = _NAMED_IDS + len(self._named)
        start = max([0, *(number for number in used if number > above)]) + 1
        ranks = np.empty(len(self._named), np.int64)
        for rank, text in enumerate(sorted(self._named)):
            ranks[self._named[text] - _NAMED_IDS] = start + rank

        def replaced(values: IdArray) -> IdArray:
            result = values.copy()
            text = values < above
            result[text] = ranks[values[text] - _NAMED_IDS]
            return result

        return replaced
