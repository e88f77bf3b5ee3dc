"""Leaves a data set of few labelled pictures in one piece, where `dataset=auto` would cut it.

Shares of a set are cut in `data_tools/sources/fractions.py`.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from data_tools.core.archives import bytes_of, is_file
from data_tools.core.errors import UserError
from data_tools.core.object_storage import address
from data_tools.sources.candidate import Candidate
from data_tools.sources.defect_kinds import KINDS
from data_tools.sources.listing import list_files, list_images
from data_tools.sources.read import read_source
from data_tools.sources.settings import DatasetSettings

_FEWEST = 5
"""A tenth of fewer pictures is none."""
_SMALL_BYTES = 1 << 20
_FEW_FILES = 100


def whole_if_few(
    root: Path, one: Candidate, dataset: DatasetSettings, policy: dict[str, str] | None
) -> Candidate:
    """Leave a source of few pictures in one piece: a tenth of them would be none.

    Args:
        root: The folder of the set.
        one: The layout that it is.
        dataset: The settings that were given.
        policy: Kind of defect -> what is done about it; None: what is done unless told.
    """
    train = one.splits.get("train")
    if train is None or train.fraction is None or len(one.splits) != 2:
        return one
    count = len(list_images(root / train.images, folders=train.folders))
    if count >= _FEWEST and _is_short(root / train.annotations):
        # Of many pictures few may have labels.
        train = replace(train, fraction=None)
        whole = replace(
            dataset,
            kind=one.kind,
            root=address(root),
            splits={"train": train},
            only=["train"],
            names_file=dataset.names_file or one.names_file,
            group="",
            classes=[],
            merge={},
            keep_empty=True,
        )
        try:
            actions = {name: kind.actions[0] for name, kind in KINDS.items()} | (policy or {})
            count = len(read_source(whole, actions).splits[0].table) or count
        except UserError:
            return one  # what is wrong is said where the set is read
    if count >= _FEWEST:
        return one
    what = f"{one.what}; {count} pictures are too few to cut, all of them train"
    return replace(one, what=what, splits={"train": replace(train, fraction=None)})


def _is_short(path: Path) -> bool:
    """Whether labels are read at once: a small file, or few of them."""
    if is_file(path):
        return bytes_of(path) <= _SMALL_BYTES
    return len(list_files(path, (".xml", ".json", ".txt"))) <= _FEW_FILES
