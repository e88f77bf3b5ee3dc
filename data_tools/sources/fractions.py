"""Cuts splits that share one source apart: a seeded order of the images, then consecutive shares.

Sources are read in `read.py`; which shares is the user's choice (`dataset.splits.NAME.fraction`).
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from data_tools.core.errors import SettingError
from data_tools.sources.image_files import SourceSplit
from data_tools.sources.settings import DatasetSettings


def cut_fractions(dataset: DatasetSettings, sources: dict[str, SourceSplit]) -> None:
    """Cut splits that share one source apart: a seeded order of the images, then consecutive
    shares.
    """
    groups: dict[tuple[str, str, str], list[str]] = {}
    for name in dataset.splits:
        split = dataset.splits[name]
        if split.fraction is not None:
            groups.setdefault((split.annotations, split.images, split.list), []).append(name)
    for members in groups.values():
        shares = [dataset.splits[name].fraction or 0.0 for name in members]
        if sum(shares) > 1 + 1e-9:
            raise SettingError(
                f"dataset.splits: the fractions of {', '.join(members)} add up to {sum(shares):g}, "
                "more than 1."
            )
        ends = np.cumsum(shares)
        for name, start, end in zip(members, ends - shares, ends, strict=True):
            if name not in sources:
                continue
            table = sources[name].table
            rng = np.random.Generator(np.random.Philox(key=dataset.split_seed))
            order = rng.permutation(len(table))
            first, last = round(start * len(table)), round(min(end, 1.0) * len(table))
            sources[name] = replace(sources[name], table=table.take(np.sort(order[first:last])))
