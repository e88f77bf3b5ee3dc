"""Text settings as they were typed: a path `1.10`, a class `true`, any alphabet, quoted for Hydra's
grammar.

Left alone, that grammar reads `out=1.10` as the number 1.1 and knows no letters outside ASCII. What
is typed here is decided by the setting's own type; numbers and truth values stay as they are. Which
settings there are is checked in `overrides.py`.
"""

from __future__ import annotations

import dataclasses
import re
import typing
from typing import Any

from data_tools.core.errors import SettingError

_SWEEP = re.compile(r"\s*(choice|range|interval|glob|shuffle|sort|tag)\s*\(")
_PLAIN_NAME = re.compile(r"(?!null$|true$|false$|inf$|nan$)[A-Za-z_][A-Za-z0-9_-]*", re.IGNORECASE)
_ENCODED_NAME = re.compile(r"name_([0-9a-f]+)_as_typed")


def as_typed(hint: Any, value: str) -> str:
    """Return the value of an override such that Hydra takes its texts as they were typed.

    Text that is wholly in quotes loses them, as in Hydra; a list's texts need them around commas
    only.

    Args:
        hint: Type of the setting, `list[str]` for instance.
        value: What stands behind the `=`.

    Returns:
        The value in Hydra's grammar. It says the same to `decoded_names` and Hydra; unchanged where
        the setting holds no text, or the value is not of the setting's form (Hydra then says so).

    Raises:
        SettingError: If quotes or brackets of a list or mapping do not close.
    """
    hint, optional = _without_none(hint)
    if hint is str:
        return value if optional and value == "null" else _quoted(unquoted(value))
    inside = _inside(value, "[]")
    if typing.get_origin(hint) is list and inside is not None:
        kind = typing.get_args(hint)[0]
        return f"[{', '.join(as_typed(kind, part) for part in split_outside(inside))}]"
    inside = _inside(value, "{}")
    if inside is None:
        return value
    if typing.get_origin(hint) is dict:
        kind = typing.get_args(hint)[1]
        pairs = [(encoded_name(name), kind, text) for name, text in _pairs(inside)]
    elif dataclasses.is_dataclass(hint):
        hints = typing.get_type_hints(hint)
        pairs = [(name, hints.get(name), text) for name, text in _pairs(inside)]
    else:
        return value
    return "{" + ", ".join(f"{name}: {as_typed(kind, text)}" for name, kind, text in pairs) + "}"


def sweep_as_typed(hint: Any, value: str) -> str:
    """Return the same for a sweep (`--multirun`), where commas part the values of the runs."""
    if _SWEEP.match(value):
        return value
    return ",".join(as_typed(hint, part) for part in split_outside(value))


def mapping(value: str) -> dict[str, str] | None:
    """Return `{name: value, ...}` with its names and the text of its values as typed; None if it is
    none.
    """
    inside = _inside(value, "{}")
    return None if inside is None else dict(_pairs(inside))


def encoded_name(name: str) -> str:
    """Return a name of the user's own as one that Hydra's grammar takes in a mapping."""
    return name if _PLAIN_NAME.fullmatch(name) else f"name_{name.encode().hex()}_as_typed"


def decoded_names(text: str) -> str:
    """Return a text with every name of `encoded_name` as it was typed."""
    return _ENCODED_NAME.sub(lambda match: bytes.fromhex(match[1]).decode(), text)


def unquoted(text: str) -> str:
    r"""Return text without the quotes that wrap all of it; anything else as it is.

    >>> unquoted("'a, b'"), unquoted("it's"), unquoted("'a' or 'b'")
    ('a, b', "it's", "'a' or 'b'")
    """
    if _end_of_quotes(text, 0) != len(text):
        return text
    quote = text[0]
    return re.sub(
        rf"(\\+)({quote}|$)",
        lambda match: match[1][: len(match[1]) // 2] + match[2],
        text[1:-1],
    )


def split_outside(text: str) -> list[str]:
    """Split a text at commas outside of quotes and brackets, and strip the parts of blanks.

    Raises:
        SettingError: If quotes or brackets do not close.
    """
    parts, start, depth, k = [], 0, 0, 0
    while k < len(text):
        if text[k] in "'\"" and not text[start:k].strip() and depth == 0:
            end = _end_of_quotes(text, k)
            k = end if end and text[end:].lstrip()[:1] in ("", ",", ":") else k + 1
            continue
        if text[k] in "'\"" and depth and text[:k].rstrip()[-1:] in ("[", "{", ",", ":"):
            k = _end_of_quotes(text, k) or k + 1
            continue
        depth += (text[k] in "[{") - (text[k] in "]}")
        if depth < 0:
            break
        if text[k] == "," and depth == 0:
            parts.append(text[start:k].strip())
            start = k + 1
        k += 1
    if depth:
        raise SettingError(
            f"{text}: brackets do not close. Put text that holds some in quotes, as ['a [b', c]."
        )
    rest = text[start:].strip()
    return [*parts, rest] if parts or rest else []


def _pairs(inside: str) -> list[tuple[str, str]]:
    pairs = []
    for part in split_outside(inside):
        end = _end_of_quotes(part, 0) or 0
        colon = part.find(":", end)
        if colon < 0:
            raise SettingError(f"{{{inside}}}: expected NAME: VALUE in place of {part!r}")
        pairs.append((unquoted(part[:colon].strip()), part[colon + 1 :].strip()))
    return pairs


def _inside(value: str, brackets: str) -> str | None:
    value = value.strip()
    wrapped = len(value) > 1 and value[0] == brackets[0] and value[-1] == brackets[1]
    return value[1:-1] if wrapped else None


def _end_of_quotes(text: str, start: int) -> int | None:
    """Index behind the closing quote of the one at `start`; None if there is none."""
    if text[start : start + 1] not in ("'", '"') or start >= len(text):
        return None
    k = start + 1
    while k < len(text):
        if text[k] == text[start]:
            before = text[start + 1 : k]
            if (len(before) - len(before.rstrip("\\"))) % 2 == 0:
                return k + 1
        k += 1
    return None


def _quoted(text: str) -> str:
    """Quote for Hydra, where backslashes are doubled before a quote and nowhere else."""
    escaped = re.sub(r"(\\*)'", lambda match: match[1] * 2 + r"\'", text)
    trailing = len(escaped) - len(escaped.rstrip("\\"))
    return f"'{escaped}{chr(92) * trailing}'"


def _without_none(hint: Any) -> tuple[Any, bool]:
    inner = [part for part in typing.get_args(hint) if part is not type(None)]
    if typing.get_origin(hint) is typing.Union and len(inner) == 1:
        return inner[0], True
    return hint, False
