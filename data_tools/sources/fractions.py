"""Cuts splits that share one source apart: a seeded order of images or groups of them, then
consecutive shares.

Sources are read in `read.py`; which shares is the user's choice (`dataset.splits.NAME.fraction`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from data_tools.core.errors import SettingError
from data_tools.sources.group_columns import PREFIX, column_keys
from data_tools.sources.image_files import SourceSplit
from data_tools.sources.settings import DatasetSettings
from data_tools.sources.table import SampleTable

Owners = Callable[[SampleTable, Sequence[str]], list[str]]
"""Says for each image of a table which of the splits named it belongs to; none is empty."""


def cut_fractions(
    dataset: DatasetSettings, sources: dict[str, SourceSplit], owners: Owners | None = None
) -> None:
    """Cut splits that share one source apart: a seeded order of the images, then consecutive
    shares.

    Args:
        dataset: The settings.
        sources: Name of a split -> all images of its source; changed to those of the split.
        owners: Says which split an image belongs to where that is known, in place of the order.

    Raises:
        SettingError: If shares add up to more than 1, if one has no image, or if `dataset.group`
            cuts nothing or matches no image.
    """
    groups: dict[tuple[str, str, str], list[str]] = {}
    if dataset.group and all(split.fraction is None for split in dataset.splits.values()):
        raise SettingError(
            f"dataset.group={dataset.group}: no split is a `fraction`, so nothing is cut. Give the "
            "splits one, dataset.splits.NAME.fraction=0.8, or leave it out."
        )
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
        _note_rest(dataset, sources, members, sum(shares))
        ends = np.cumsum(shares)
        for name, start, end in zip(members, ends - shares, ends, strict=True):
            if name not in sources:
                continue
            table = sources[name].table
            if owners is not None:
                owner_of = owners(table, members)
                rows = np.array([k for k, owner in enumerate(owner_of) if owner == name], np.intp)
            elif dataset.group:
                rows = grouped_share(
                    cut_keys(dataset, dataset.splits[name].annotations, table.file_names),
                    dataset.split_seed,
                    start,
                    min(end, 1.0),
                )
            else:
                rng = np.random.Generator(np.random.Philox(key=dataset.split_seed))
                order = rng.permutation(len(table))
                first, last = round(start * len(table)), round(min(end, 1.0) * len(table))
                rows = np.sort(order[first:last])
            wanted = not dataset.only or name in dataset.only
            if owners is None and wanted and len(table) and not len(rows):
                raise SettingError(
                    f"dataset.splits.{name}.fraction={dataset.splits[name].fraction:g}: of "
                    f"{len(table)} image(s) that is none. Give a larger fraction, or "
                    f"dataset.splits.{name}.fraction=null to take them all (a list says which)."
                )
            sources[name] = replace(sources[name], table=table.take(rows))
        _tell_once(sources, wanted_of(dataset, members))


def wanted_of(dataset: DatasetSettings, members: Sequence[str]) -> list[str]:
    """Return those of some splits that are wanted, in their order."""
    return [name for name in members if not dataset.only or name in dataset.only]


def _tell_once(sources: dict[str, SourceSplit], wanted: list[str]) -> None:
    """Leave what was found in a source that several splits share in one report: that of the split
    that has the image, or else of the first.
    """
    wanted = [name for name in wanted if name in sources]
    owners: dict[int | None, str] = {}
    for name in wanted:
        owners |= dict.fromkeys(sources[name].table.image_ids.tolist(), name)
    for name in wanted:
        defects = sources[name].log.defects
        defects[:] = [d for d in defects if owners.get(d.image_id, wanted[0]) == name]


def _note_rest(
    dataset: DatasetSettings, sources: dict[str, SourceSplit], members: list[str], total: float
) -> None:
    """Say in the report of the first split that is wanted of a source that no split takes the rest
    of it.
    """
    read = [name for name in wanted_of(dataset, members) if name in sources]
    if total > 1 - 1e-9 or not read or not len(sources[read[0]].table):
        return
    first = dataset.splits[read[0]]
    those = ", ".join(f"{name} {dataset.splits[name].fraction:g}" for name in members)
    count = len(sources[read[0]].table)
    sources[read[0]].log.add(
        "cut_away",
        first.annotations or first.images or ".",
        f"about {round((1 - total) * count)} of {count} images are in no split: its fractions are "
        f"{those}. dataset.splits.{read[0]}.fraction=null takes all",
    )


def cut_keys(dataset: DatasetSettings, annotations: str, file_names: Sequence[str]) -> list[str]:
    """Return the group of each image by `dataset.group`; images of a group stay together.

    Args:
        dataset: The settings.
        annotations: The annotation file, whose column may be the group.
        file_names: Paths relative to the folder of the images.

    Raises:
        SettingError: If the expression is none or finds nothing, or there is no such column.
    """
    if not dataset.group.startswith(PREFIX):
        return group_keys(file_names, dataset.group)
    path = Path(dataset.root).expanduser() / annotations
    return column_keys(path, dataset.kind, dataset.group, file_names)


def group_keys(file_names: Sequence[str], pattern: str) -> list[str]:
    """Return the group of each image: what a regular expression finds in its name.

    An image in whose name it finds nothing is a group of its own.

    Args:
        file_names: Paths relative to the folder of the images.
        pattern: The expression; if it has brackets, what they hold is the group, else all that it
            finds.

    Raises:
        SettingError: If it is no expression, or finds nothing in any name.

    >>> group_keys(["a_1.jpg", "a_2.jpg", "b.jpg"], r"^(.*)_")
    ['a', 'a', '/b.jpg']
    """
    try:
        expression = re.compile(pattern)
    except re.error as error:
        raise SettingError(
            f"dataset.group={pattern}: no regular expression ({error}). For names such as "
            "walk_0001.jpg it is "
            r"'dataset.group=^(.*)_\d+'."
        ) from error
    matches = [expression.search(name) for name in file_names]
    if file_names and not any(matches):
        raise SettingError(
            f"dataset.group={pattern}: found in none of the {len(file_names)} names, such as "
            f"{file_names[0]}."
        )
    # No path begins with a slash: a name on its own is never another image's group.
    return [
        f"/{name}" if match is None else "\0".join(g or "" for g in match.groups()) or match[0]
        for name, match in zip(file_names, matches, strict=True)
    ]


def grouped_share(keys: Sequence[str], seed: int, start: float, end: float) -> npt.NDArray[np.intp]:
    """Return the images of one share of a cut that keeps groups whole, in ascending order.

    The groups are put in a seeded order of their own, whatever the order of the images; a group
    belongs to the share that its middle image falls into, so a share is off by half a group at each
    end at most.

    Args:
        keys: The group of each of the I images.
        seed: Decides the order.
        start: Where the share begins, 0..1 of the images.
        end: Where it ends; 1 takes the rest.

    Returns:
        (K,) indices of images, K <= I.
    """
    names, group_of, sizes = np.unique(list(keys), return_inverse=True, return_counts=True)
    order = np.random.Generator(np.random.Philox(key=seed)).permutation(len(names))
    ends = np.cumsum(sizes[order])
    middle = np.empty(len(names))
    middle[order] = (ends - sizes[order] / 2) / max(len(keys), 1)
    chosen = (middle >= start - 1e-12) & ((middle < end - 1e-12) | (end >= 1.0))
    return np.flatnonzero(chosen[group_of])
