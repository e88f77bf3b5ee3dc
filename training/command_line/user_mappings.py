"""Settings with names of the user's own below them, as `dataset.merge={vehicle: [car, bus]}`: their form.

Hydra takes new names only after a plus, and answers a wrong form with its own types; here both are mended
before it sees them. Everything else of a command line is `overrides.py`.
"""

from __future__ import annotations

import dataclasses
import typing
from typing import Any

from data_tools.core.errors import SettingError


def free_settings(settings_class: type, prefix: str = "") -> dict[str, bool]:
    """Return the settings that map names of the user's own, and whether to lists (else to numbers)."""
    found: dict[str, bool] = {}
    for name, hint in typing.get_type_hints(settings_class).items():
        if dataclasses.is_dataclass(hint):
            found |= free_settings(typing.cast(type, hint), f"{prefix}{name}.")
        elif typing.get_origin(hint) is dict:
            kind = typing.get_args(hint)[1]
            if not dataclasses.is_dataclass(
                kind
            ):  # `splits` has settings of its own below its names
                found[prefix + name] = typing.get_origin(kind) is list
    return found


def check_free(prefix: str, key: str, value: str, free: dict[str, bool]) -> str:
    """Check the form of an override, and return the prefix with which Hydra takes it.

    Args:
        prefix: "", "+", "++" or "~", as given.
        key: The key behind it.
        value: The text after `=`.
        free: From `free_settings`.

    Returns:
        `prefix`, or "++" where new names were given without a plus.

    Raises:
        SettingError: If the value is no mapping from names to lists, or to numbers.
    """
    setting = next((name for name in free if f"{key}.".startswith(f"{name}.")), None)
    if setting is None or prefix == "~" or value in ("", "null", "{}") or "${" in value:
        return prefix
    import yaml  # type: ignore[import-untyped]  # here, so that `--help` need not wait for it

    try:
        content = yaml.safe_load(value)
    except yaml.YAMLError:
        return prefix  # Hydra's grammar says where it breaks off
    values = [content]
    if key == setting:
        values = list(content.values()) if isinstance(content, dict) else [None]
    if not all(_fits(each, free[setting]) for each in values):
        form, example = (
            ("[NAME, ...]", "{vehicle: [car, bus]}")
            if free[setting]
            else ("NUMBER", "{backbone: 0.1}")
        )
        raise SettingError(
            f"{key}={value}: expected {setting}={{NAME: {form}, ...}} or {setting}.NAME={form}, "
            f"for instance '+{setting}={example}'"
        )
    return prefix or "++"


def _fits(value: Any, is_list: bool) -> bool:
    if is_list:
        return isinstance(value, list) and not any(isinstance(v, (list, dict)) for v in value)
    try:
        float(value)  # as YAML reads it, 1e-3 is a text
    except (TypeError, ValueError):
        return False
    return True
