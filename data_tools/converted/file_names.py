"""The names of a converted split's images as their source has them, for captions that a person can follow.

The full ground truth is read elsewhere; here only the list of images is looked at, up to where it is known enough.
"""

from __future__ import annotations

from collections.abc import Collection

from data_tools.core.errors import DataError
from data_tools.shards.manifest import ConvertedSplit
from data_tools.sources.jsonstream import JsonStream


def file_names(split: ConvertedSplit, image_ids: Collection[int]) -> dict[int, str]:
    """Return the file name of each of some images; `image ID` where the set does not tell it."""
    wanted = {int(number) for number in image_ids}
    names = {number: f"image {number}" for number in wanted}
    left = set(wanted)
    try:
        for key, entry in JsonStream(split.annotations_path).entries():
            if not left or key == "annotations":
                break
            if key == "images" and isinstance(entry, dict) and entry.get("id") in left:
                left.discard(entry["id"])
                if isinstance(entry.get("file_name"), str) and entry["file_name"]:
                    names[entry["id"]] = entry["file_name"]
    except DataError:
        pass  # a name is no reason to stop; verify says what is wrong with the file
    return names
