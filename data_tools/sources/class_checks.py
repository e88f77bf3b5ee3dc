"""Classes that are hardly meant: names that look alike, and parents that no box has.

They are only reported; which classes a set has is chosen in `classes.py`.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping

import numpy as np

from data_tools.sources.classes import ClassMap
from data_tools.sources.image_files import SourceSplit


def note_classes(classes: ClassMap, sources: Mapping[str, SourceSplit], first: SourceSplit) -> None:
    """Report names that look alike, and parents without a box, in the log of a split.

    Args:
        classes: The classes that are kept.
        sources: Every split that was read.
        first: The split whose log takes the lines.
    """
    file = next(iter(first.digests), "")
    used: set[int] = set()
    for source in sources.values():
        used.update(np.unique(classes.labels(np.unique(source.table.category_ids))).tolist())
    parents = frozenset().union(*(source.parents for source in sources.values()))
    alike: dict[str, list[str]] = {}
    for one in classes.classes:
        alike.setdefault(_as_read(one.name), []).append(one.name)
        if one.label not in used and one.name in parents:
            others = [other.name for other in classes.classes if other.name != one.name]
            detail = f"class {one.name!r} has no box and is the parent of others"
            if len(others) < 20:
                detail += f"; dataset.classes={others} leaves it out"
            first.log.add("unused_class", file, detail)
    for names in alike.values():
        if len(names) > 1:
            detail = (
                f"{', '.join(map(repr, names))} are classes of their own; dataset.merge joins them"
            )
            first.log.add("class_names_alike", file, detail)


def _as_read(name: str) -> str:
    """A name as the eye reads it: no case, no blanks of any kind, no characters that are not seen,
    one encoding of an accent.
    """
    seen = (c for c in unicodedata.normalize("NFKC", name) if unicodedata.category(c) != "Cf")
    return " ".join("".join(seen).split()).casefold()
