"""What a safetensors file of weights says of itself in its header: network, classes, data, for a
copy without its card.

MindSpore's own `.ckpt` has no field for it: whoever reads one expects parameters and nothing else.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from data_tools.core.errors import CheckpointError
from data_tools.core.json_dataclass import build, parse_json, shown
from data_tools.core.sample import ClassInfo
from training.checkpoints.checkpoint import Card
from training.nets.settings import ModelSettings, settings_from_dict

KEY = "ssd-weights/1"


@dataclass(frozen=True)
class HeaderCard:
    """The part of a card that detecting needs.

    Args:
        model: The network's settings.
        num_classes: Classes with background.
        classes: Names and ids by label; empty if unknown.
        data_fingerprint: Fingerprint of the data it was trained on.
    """

    model: ModelSettings
    num_classes: int
    classes: tuple[ClassInfo, ...]
    data_fingerprint: str


def header_of(card: Card) -> dict[str, str]:
    """Return what goes into the header of a card's weights.

    One entry only: the library writes several in an order that differs from process to process, and
    the same weights should make the same file.
    """
    keys = ("model", "num_classes", "classes", "data_fingerprint")
    return {KEY: json.dumps({key: getattr(card, key) for key in keys})}


def read_header_card(path: Path, metadata: Mapping[str, Any]) -> HeaderCard | None:
    """Read back what `header_of` made.

    Args:
        path: The file, for messages.
        metadata: The header's `__metadata__`.

    Returns:
        None if the header says nothing of the kind.

    Raises:
        CheckpointError: If what it says is damaged.
    """
    if KEY not in metadata:
        return None
    try:
        known = parse_json(metadata[KEY])
        num_classes = known["num_classes"]
        classes = tuple(build(ClassInfo, entry, "classes") for entry in known["classes"])
        if type(num_classes) is not int or len(classes) not in (0, num_classes - 1):
            raise ValueError(f"{len(classes)} classes, but num_classes={shown(num_classes)}")
        model = settings_from_dict(known["model"])
        return HeaderCard(model, num_classes, classes, str(known["data_fingerprint"]))
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        what = f"{error} is missing" if isinstance(error, KeyError) else str(error)
        raise CheckpointError(
            f"{path}: what its header says of the network is damaged ({what}). Copy it again."
        ) from error
