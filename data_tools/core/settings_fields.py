"""How settings are declared and checked: one helper for fields, a few for `__post_init__`.

The settings themselves live next to the code that uses them; this module knows none of them.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Collection
from typing import Any

from data_tools.core.errors import SettingError

MISSING = "???"
"""The value of a setting that has no default; Hydra calls it mandatory."""


def setting(default: Any, help: str) -> Any:
    """Declare a settings field with its default and the line that `--help` prints.

    Args:
        default: The default value. Lists, dicts and settings objects are copied for each instance.
        help: What the setting means, with its unit and accepted values.

    Returns:
        A dataclass field.
    """
    if isinstance(default, (list, dict)) or dataclasses.is_dataclass(default):
        return dataclasses.field(
            default_factory=lambda: copy.deepcopy(default), metadata={"help": help}
        )
    return dataclasses.field(default=default, metadata={"help": help})


def old_name(of: str, empty: Any) -> Any:
    """Declare a field that takes another setting's value under a name that was documented once.

    The class's `__post_init__` hands the value on; `--help` does not show it.

    Args:
        of: Full key of the setting, for instance `pipeline.workers`.
        empty: Value that means "not given".

    Returns:
        A dataclass field.
    """
    return dataclasses.field(default=empty, metadata={"help": f"old name of {of}", "old": of})


def require(condition: bool, key: str, got: Any, accepted: str) -> None:
    """Raise a `SettingError` that names the key, the value got and the values accepted.

    Args:
        condition: What must hold.
        key: The setting's full key, for instance `optim.lr`.
        got: The value that was given.
        accepted: The accepted values in words, for instance `a number > 0`.

    Raises:
        SettingError: If `condition` is false.
    """
    if not condition:
        raise SettingError(f"{key}={got!r}: expected {accepted}.")


def require_choice(key: str, got: Any, choices: Collection[Any]) -> None:
    """Raise a `SettingError` unless `got` is one of `choices`."""
    require(got in choices, key, got, "one of " + ", ".join(str(c) for c in choices))


def require_positive(key: str, got: float | None) -> None:
    """Raise a `SettingError` unless `got` is None or a number above zero."""
    require(got is None or got > 0, key, got, "a number > 0")
