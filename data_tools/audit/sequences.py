"""Names of images that look like frames of videos or series: which, and whether several splits hold
parts of one.

What such names do to a cut is `dataset.group`'s matter (`sources/fractions.py`).
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from data_tools.sources.settings import DatasetSettings

PATTERN = r"^(.*\D)\d+\.\w+$"
"""A frame: anything that ends in no digit, then the frame's number and the ending."""

_FEWEST_FRAMES = 3
"""A series has at least this many images, in the middle of all series."""

_MOST_GAP = 3.0
"""And their numbers lie so close on average: videos are thinned out, numbers of unrelated images
are far apart.
"""


def find_sequences(names: Mapping[str, Sequence[str]]) -> dict[str, Any] | None:
    """Find series of images by their names.

    Args:
        names: Split -> file names.

    Returns:
        None where names do not look like frames of two series or more; else `group` (an expression
        for `dataset.group`), `sequences` (how many), `images` (in them), `example` (the first part
        of a name), and `in_several_splits` (how many series lie in more than one split).
    """
    numbers: dict[str, list[int]] = defaultdict(list)
    splits: dict[str, set[str]] = defaultdict(set)
    count = 0
    for split, files in names.items():
        count += len(files)
        for name in files:
            match = re.match(PATTERN, name)
            if match is not None:
                prefix = match[1]
                numbers[prefix].append(int(re.sub(r"\D", "", name[len(prefix) : name.rindex(".")])))
                splits[prefix].add(split)
    series = {
        prefix: frames
        for prefix, frames in numbers.items()
        if len(frames) >= _FEWEST_FRAMES
        and (max(frames) - min(frames)) <= _MOST_GAP * (len(frames) - 1)
    }
    images = sum(len(frames) for frames in series.values())
    if len(series) < 2 or images < count / 2:
        return None
    largest = Counter({prefix: len(frames) for prefix, frames in series.items()}).most_common(1)[0][
        0
    ]
    return {
        "group": PATTERN,
        "sequences": len(series),
        "images": images,
        "example": largest,
        "in_several_splits": sum(len(splits[prefix]) > 1 for prefix in series),
    }


def sequence_lines(sequences: Mapping[str, Any] | None, dataset: DatasetSettings) -> list[str]:
    """Say what was found and what to do about it."""
    if sequences is None:
        return []
    lines = [
        f"names look like frames: {sequences['images']} images of {sequences['sequences']} series "
        f"such as {sequences['example']}..."
    ]
    if sequences["in_several_splits"]:
        lines.append(
            f"  {sequences['in_several_splits']} of the series lie in several splits: the score on "
            "frames next to those that were trained on is too good"
        )
    cut = any(split.fraction is not None for split in dataset.splits.values())
    if not dataset.group and (cut or sequences["in_several_splits"]):
        lines.append(
            f"  keep each on one side of a cut by fraction: 'dataset.group={sequences['group']}'"
        )
    return lines
