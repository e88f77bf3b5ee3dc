"""The names of a converted split's images as their source has them, for captions that a person can
follow.

The full ground truth is read elsewhere; here only the list of images is looked at.
"""

from __future__ import annotations

from collections.abc import Collection

from data_tools.core.errors import DataError
from data_tools.shards.manifest import ConvertedSplit
from data_tools.sources.jsonstream import parse, read_lists


def file_names(split: ConvertedSplit, image_ids: Collection[int]) -> dict[int, str]:
    """Return the file name of each of some images; `image ID` where the set does not tell it."""
    wanted = {int(number) for number in image_ids}
    names = {number: f"image {number}" for number in wanted}
    try:
        lists = read_lists(split.annotations_path, ["images"])
        for raw in lists.entries["images"]:
            entry = parse(raw)
            name = entry.get("file_name") if isinstance(entry, dict) else None
            if isinstance(name, str) and name and entry.get("id") in wanted:
                names[entry["id"]] = name
    except (DataError, ValueError, RecursionError, TypeError):
        pass  # a name is no reason to stop; verify says what is wrong with the file
    return names
