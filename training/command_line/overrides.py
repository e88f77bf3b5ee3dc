"""The words of a command line: every one names a setting, a group, or Hydra's own.

How texts keep the form they were typed in is in `text_values.py`; what the values are is checked by
the settings themselves, see `configure.py`.
"""

from __future__ import annotations

import difflib
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from data_tools.core.errors import SettingError
from data_tools.core.words import printable
from training.command_line.error_words import hint_of
from training.command_line.setting_names import field_types, groups_of
from training.command_line.text_values import as_typed, sweep_as_typed
from training.command_line.user_mappings import check_free, free_settings

_ALIASES = {"train": {"checkpoint": "init.checkpoint"}}
"""Short names of settings whose own name is a group: command -> name -> full key."""

_FLAGS_WITH_VALUE = (
    *("--cfg", "-c", "--package", "-p", "--config-path", "-cp", "--config-name", "-cn"),
    *("--config-dir", "-cd", "--experimental-rerun"),
)
"""Hydra's flags whose value may stand behind them as a word of its own."""

_INFO_FLAGS = ("--info", "-i")
_INFO = ("all", "config", "defaults", "defaults-tree", "plugins", "searchpath")
"""What Hydra's `--info` tells; a word behind it, or nothing."""


@dataclass(frozen=True)
class Prepared:
    """A command line for Hydra.

    Attributes:
        flags: Hydra's flags.
        overrides: Overrides in Hydra's grammar.
        given: Each of them as it was typed, for messages.
    """

    flags: list[str]
    overrides: list[str]
    given: dict[str, str]


def prepare_overrides(command: str, settings_class: type, arguments: Sequence[str]) -> Prepared:
    """Split a command line into Hydra's flags and overrides, checked, with texts as typed.

    Every override must name a setting, a group that the command has, or Hydra's own key.

    Args:
        command: The command's name, which is its primary file in `conf/`.
        settings_class: Its settings dataclass.
        arguments: The command line without the program's name.

    Raises:
        SettingError: If an override names no setting or no choice of a group; close names are
            suggested.
    """
    types = field_types(settings_class)
    groups, free = groups_of(command), free_settings(settings_class)
    prepared = Prepared([], [], {})
    multirun = "-m" in arguments or "--multirun" in arguments
    # Sweeps list several choices, and folders of the user's own may hold more than `conf/` does.
    open_groups = multirun or any("searchpath" in a or "--config-dir" in a for a in arguments)
    words = iter(_joined_info(arguments))
    for argument in words:
        if argument in _FLAGS_WITH_VALUE:
            value = next(words, "")
            if not value or value.startswith("-") or "=" in value:
                raise SettingError(f"{argument}: expected a word behind it, as in --cfg job.")
            argument = f"{argument}={value}"
        if argument.startswith("-"):
            prepared.flags.append(argument)
            continue
        if any(unicodedata.category(character) in ("Cc", "Cs") for character in argument):
            raise SettingError(
                f"{printable(argument)}: holds characters that are no text (of control, or not "
                "UTF-8)."
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
        given = f"{prefix}{key}{equals}{value}"
        hint = hint_of(settings_class, key)
        if multirun:
            value = sweep_as_typed(hint, value)
        else:
            prefix, key, value = check_free(prefix, key, value, free)
            value = as_typed(hint_of(settings_class, key), value)
        word = f"{prefix}{key}{equals}{value}"
        prepared.overrides.append(word)
        prepared.given[word] = given
    return prepared


def _joined_info(arguments: Sequence[str]) -> list[str]:
    words: list[str] = []
    for k, argument in enumerate(arguments):
        before = arguments[k - 1] if k else ""
        if argument in _INFO_FLAGS:
            following = arguments[k + 1] if k + 1 < len(arguments) else ""
            words.append(f"{argument}={following if following in _INFO else 'all'}")
        elif not (before in _INFO_FLAGS and argument in _INFO):
            words.append(argument)
    return words


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
