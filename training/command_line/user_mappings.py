"""Settings with names of the user's own below them, as `dataset.merge={vehicle: [car, bus]}`: their
form.

Hydra takes new names only after a plus, and answers a wrong form with its own types; here both are
mended before it sees them. Everything else of a command line is `overrides.py`.
"""

from __future__ import annotations

import dataclasses
import typing

from data_tools.core.errors import SettingError
from training.command_line.text_values import mapping, split_outside, unquoted


def free_settings(settings_class: type, prefix: str = "") -> dict[str, bool]:
    """Return the settings that map names of the user's own, and whether to lists (else to
    numbers).
    """
    settings: dict[str, bool] = {}
    for name, hint in typing.get_type_hints(settings_class).items():
        if dataclasses.is_dataclass(hint):
            settings |= free_settings(typing.cast(type, hint), f"{prefix}{name}.")
        elif typing.get_origin(hint) is dict:
            kind = typing.get_args(hint)[1]
            if not dataclasses.is_dataclass(
                kind
            ):  # `splits` has settings of its own below its names
                settings[prefix + name] = typing.get_origin(kind) is list
    return settings


def check_free(prefix: str, key: str, value: str, free: dict[str, bool]) -> tuple[str, str, str]:
    """Check the form of an override, and return it in the form that Hydra takes.

    Args:
        prefix: "", "+", "++" or "~", as given.
        key: The key behind it.
        value: The text after `=`.
        free: From `free_settings`.

    Returns:
        Prefix, key and value. `SETTING.NAME=VALUE` becomes `SETTING={NAME: VALUE}`, since Hydra's
        keys have letters of ASCII only and end at a point; what it adds to stays, and needs no
        plus.

    Raises:
        SettingError: If the value is no mapping from names to lists, or to numbers.
    """
    setting = next((name for name in free if f"{key}.".startswith(f"{name}.")), None)
    if setting is None or prefix == "~" or value in ("", "null", "{}") or "${" in value:
        return prefix, key, value
    content = mapping(value)
    values = [value] if key != setting else list((content or {"": ""}).values())
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
    if key != setting:
        name = key[len(setting) + 1 :]
        return prefix or "++", setting, f"{{{_in_quotes(name)}: {value}}}"
    return prefix or "++", key, value


def _in_quotes(name: str) -> str:
    quote = '"' if "'" in name else "'"
    return name if unquoted(name) != name else f"{quote}{name}{quote}"


def _fits(value: str, is_list: bool) -> bool:
    if is_list:
        inside = value[1:-1] if value[:1] == "[" and value[-1:] == "]" else None
        return inside is not None and not any(
            part[:1] in ("[", "{") for part in split_outside(inside)
        )
    try:
        float(value)
    except ValueError:
        return False
    return True
