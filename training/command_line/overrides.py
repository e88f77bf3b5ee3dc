"""The words of a command line: every one names a setting, a group, or Hydra's own; text is quoted for Hydra.

What the values are is checked by the settings themselves, see `configure.py`.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from typing import Any

from data_tools.core.errors import SettingError
from training.command_line.error_words import printable
from training.command_line.help_text import field_types, group_choices
from training.command_line.user_mappings import check_free, free_settings

_ALIASES = {"train": {"checkpoint": "init.checkpoint"}}
"""Short names of settings whose own name is a group: command -> name -> full key."""

_FLAGS_WITH_VALUE = (
    *("--cfg", "-c", "--package", "-p", "--config-path", "-cp", "--config-name", "-cn"),
    *("--config-dir", "-cd", "--experimental-rerun"),
)
"""Hydra's flags whose value may stand behind them as a word of its own."""

_PLAIN_VALUE = re.compile(r"[\w./:@%+\-]*")


def prepare_overrides(
    command: str, settings_class: type, arguments: Sequence[str]
) -> tuple[list[str], list[str]]:
    """Split a command line into Hydra's flags and overrides, checked and quoted.

    Every override must name a setting, a group of `conf/`, or Hydra's own key. Text values that hold
    blanks, commas or `=` (paths, as people have them) are quoted for Hydra's grammar.

    Args:
        command: The command's name, which is its primary file in `conf/`.
        settings_class: Its settings dataclass.
        arguments: The command line without the program's name.

    Returns:
        The flags and the overrides.

    Raises:
        SettingError: If an override names no setting or no choice of a group; close names are suggested.
    """
    types = field_types(settings_class)
    groups, free = group_choices(), free_settings(settings_class)
    flags, overrides = [], []
    multirun = "-m" in arguments or "--multirun" in arguments
    # Sweeps list several choices, and folders of the user's own may hold more than `conf/` does.
    open_groups = multirun or any("searchpath" in a or "--config-dir" in a for a in arguments)
    words = iter(arguments)
    for argument in words:
        if argument in _FLAGS_WITH_VALUE:
            value = next(words, "")
            if not value or value.startswith("-") or "=" in value:
                raise SettingError(f"{argument}: expected a word behind it, as in --cfg job.")
            argument = f"{argument}={value}"
        if argument.startswith("-"):
            flags.append(argument)
            continue
        if argument != printable(argument) or "\n" in argument:
            raise SettingError(
                f"{printable(argument)}: holds characters that are no text (of control, or not UTF-8)."
            )
        prefixed, equals, value = argument.partition("=")
        key = prefixed.lstrip("+~")
        prefix = prefixed[: len(prefixed) - len(key)]
        if not equals and not prefix.startswith("~"):
            raise SettingError(
                f"{argument!r}: expected KEY=VALUE. List the keys: python {command}.py --help"
            )
        if value and not value.startswith(("{", "[")):
            key = _ALIASES.get(command, {}).get(key, key)
        if not key.startswith("hydra"):
            _check_key(command, key, prefix, types, groups)
            if key in groups and not open_groups:
                _check_choice(key, value, groups[key])
        if not multirun:
            prefix = check_free(prefix, key, value, free)
        if types.get(key) is str and not multirun:
            value = _quoted(value)
        overrides.append(f"{prefix}{key}{equals}{value}")
    return flags, overrides


def _check_key(
    command: str, key: str, prefix: str, types: dict[str, Any], groups: dict[str, list[str]]
) -> None:
    # A dict-valued setting has free keys below it, as `optim.lr_factors.feature=0.1`.
    free = any(kind is dict and key.startswith(f"{name}.") for name, kind in types.items())
    if key in types or key in groups or free:
        if key == "experiment" and not prefix:
            raise SettingError(
                f"experiment: write +experiment=..., one of {', '.join(groups['experiment'])}."
            )
        return
    names = sorted({*types, *groups})
    close = difflib.get_close_matches(key, names, n=3)
    # `max_step` of `optim.max_step` is compared as well: people forget the group.
    close += [name for name in names if name.split(".")[-1] == key.split(".")[-1]]
    hint = f" Did you mean {' or '.join(dict.fromkeys(close))}?" if close else ""
    raise SettingError(f"{key}: no such setting.{hint} List them: python {command}.py --help")


def _check_choice(group: str, value: str, choices: list[str]) -> None:
    name = value.strip("'\"")
    if name in choices or name in ("", "null") or name.startswith(("{", "[", "$")):
        return
    close = difflib.get_close_matches(name, choices, n=3)
    hint = f" Did you mean {' or '.join(close)}?" if close else ""
    raise SettingError(f"{group}={name}: expected one of {', '.join(choices)}.{hint}")


def _quoted(value: str) -> str:
    if value in ("null", "???") or value[:1] in ("'", '"') or "${" in value:
        return value
    if _PLAIN_VALUE.fullmatch(value):
        return value
    escaped = value.replace("\\", "\\\\").replace("'", "\\'") if "'" in value else value
    return f"'{escaped}'"
