"""The names that a command line may use: settings of a dataclass tree, groups of `conf/` and their
choices.

Reads only dataclasses and the names of files; what the words of a command line become is in
`overrides.py`.
"""

from __future__ import annotations

import dataclasses
import typing
from pathlib import Path
from typing import Any

GROUPS_PATH = Path(__file__).resolve().parents[2] / "conf"


def group_choices() -> dict[str, list[str]]:
    """Return the groups of `conf/` and the choices each offers."""
    choices: dict[str, list[str]] = {}
    for file in sorted(GROUPS_PATH.glob("*/*.yaml")):
        choices.setdefault(file.parent.name, []).append(file.stem)
    return choices


def field_types(settings_class: type, prefix: str = "") -> dict[str, Any]:
    """Return every key of a settings tree with its plain type: str, dict, a settings class, or
    object.

    `Optional[str]` counts as str: what matters is how its text is to be quoted.
    """
    types: dict[str, Any] = {}
    hints = typing.get_type_hints(settings_class)
    for field in dataclasses.fields(settings_class):
        hint = hints[field.name]
        inner = [part for part in typing.get_args(hint) if part is not type(None)]
        if typing.get_origin(hint) is typing.Union and len(inner) == 1:
            hint = inner[0]
        key = prefix + field.name
        if dataclasses.is_dataclass(hint):
            types[key] = hint
            types.update(field_types(typing.cast(type, hint), key + "."))
        else:
            origin = typing.get_origin(hint) or hint
            types[key] = origin if origin in (str, dict) else object
    return types


def settings_named_as_groups(command: str, settings_class: type) -> set[str]:
    """Return the settings of a command that bear a group's name, where the command has no such
    group: the `model` of `predict.py`.
    """
    return {*group_choices()} & {*field_types(settings_class)} - {*groups_of(command)}


def groups_of(command: str) -> dict[str, list[str]]:
    """Return the groups of `conf/` that a command can choose from, and the choices of each."""
    primary = (GROUPS_PATH / f"{command}.yaml").read_text(encoding="utf-8")
    return {
        group: names
        for group, names in group_choices().items()
        if f"\n  - {group}:" in primary or (group == "experiment" and command == "train")
    }
