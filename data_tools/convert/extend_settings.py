"""What an extended set must have in common with the set it grows from: settings that decide rows,
classes.

The images are the business of `extend.py`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from data_tools.convert.plan import differences
from data_tools.convert.settings import ConvertSettings, ImageSettings, PolicySettings
from data_tools.core.errors import DataError
from data_tools.core.json_dataclass import build
from data_tools.core.sample import ClassInfo
from data_tools.core.settings_fields import require
from data_tools.shards.manifest import ConvertedSplit
from data_tools.shards.schema import FORMAT
from data_tools.sources.classes import ClassMap
from data_tools.sources.settings import DatasetSettings


def like_parent(
    settings: ConvertSettings, parents: Mapping[str, ConvertedSplit]
) -> ConvertSettings:
    """Return the settings that a set was made with; only the source's folder is the user's to give.

    Raises:
        DataError: If the set does not say, or its splits were made in different ways.
    """
    require(
        bool(settings.dataset.root),
        "dataset.root",
        settings.dataset.root,
        "the folder of the raw data set that the set was made from",
    )
    made = [split.manifest.settings for split in parents.values()]
    try:
        parts = [{k: m[k] for k in ("dataset", "image", "policy")} for m in made]
        if any(part != parts[0] for part in parts):
            raise ValueError("its splits were made with different settings")
        source = {"root": settings.dataset.root, "endpoint": settings.dataset.endpoint}
        dataset = build(DatasetSettings, {**parts[0]["dataset"], **source})
        image = build(ImageSettings, {**parts[0]["image"], "hashes": settings.image.hashes})
        policy = build(PolicySettings, parts[0]["policy"])
    except (KeyError, ValueError) as error:
        raise DataError(
            f"extend={settings.extend} retry=true: the set does not say how it was made ({error}). "
            "Name the raw data set instead of retry=true: dataset=KIND dataset.root=DIR."
        ) from error
    return replace(settings, dataset=dataset, image=image, policy=policy)


def refuse_other_settings(settings: ConvertSettings, parents: Mapping[str, ConvertedSplit]) -> None:
    """Refuse settings under which new rows would be made in another way than the old ones.

    Raises:
        DataError: Naming the keys and both values, or that the set is one of the published tools.
    """
    now = _deciding(settings.content())
    for name, split in parents.items():
        if split.manifest.format != FORMAT or not split.manifest.settings:
            raise DataError(
                f"extend={settings.extend}: split {name} holds shards of the published tools, "
                "which have no place for what new rows need. Convert the raw data set anew."
            )
        lines = differences(_deciding(split.manifest.settings), now)
        if lines:
            listed = "\n".join(f"  {line}" for line in lines)
            raise DataError(
                f"extend={settings.extend}: its split {name} was made with other "
                f"settings:\n{listed}\n"
                "Give those of the set, so that old and new rows are made alike."
            )


def _deciding(content: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "image": content["image"],
        "policy": content["policy"],
        "dataset": {"keep_empty": content["dataset"]["keep_empty"]},
    }


def with_parent(
    source: ClassMap, parents: Mapping[str, ConvertedSplit], chosen: Sequence[str]
) -> ClassMap:
    """Give the classes of a source the labels and category ids that a set has for their names.

    Args:
        source: The source's classes.
        parents: The splits of the set, which all have the same classes.
        chosen: `dataset.classes`: only classes named there are added behind those of the set,
            unless the source has the set's classes first anyway.

    Raises:
        DataError: If the source has a class that the set has not.
    """
    classes = list(next(iter(parents.values())).classes)
    old = [entry.name for entry in classes]
    extra = [entry for entry in source.classes if entry.name not in old]
    in_order = [entry.name for entry in source.classes[: len(old)]] == old
    refused = [e.name for e in extra if e.name not in chosen] if not in_order else []
    if refused:
        kept = [entry.name for entry in source.classes if entry.name in old]
        raise DataError(
            f"the source has classes that the set has not: {', '.join(refused[:10])}. The labels "
            f"of the set's {len(old)} classes stay, so new ones come last: name them, "
            f"'dataset.classes=[{','.join([*kept, *refused])}]', or leave them out, "
            f"'dataset.classes=[{','.join(kept)}]'."
        )
    taken = {entry.category_id for entry in classes}
    for entry in extra:
        number = entry.category_id if entry.category_id not in taken else max(taken) + 1
        taken.add(number)
        classes.append(ClassInfo(len(classes) + 1, entry.name, number))
    label = {entry.name: entry.label for entry in classes}
    names = {entry.label: entry.name for entry in source.classes}
    label_of = {number: label[names[old_label]] for number, old_label in source.label_of.items()}
    return ClassMap(tuple(classes), label_of)
