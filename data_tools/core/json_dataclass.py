"""Plain values from files - manifests, plans, cards, black boxes - as dataclasses, every type
checked.

What the values mean is checked by the dataclasses themselves; what a file is called in a message is
its reader's matter.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import math
import types
import typing
from pathlib import Path
from typing import Any, TypeVar

from data_tools.core.errors import SettingError

T = TypeVar("T")

MOST = 2**63
"""Whole numbers are stored in 64 bits; one beyond that is a slip, and breaks array code far from
here."""

_SHOWN = 60


def read_json(path: Path, most_bytes: int | None = None) -> Any:
    """Read a JSON file, UTF-8 with or without a mark of the byte order.

    Args:
        path: The file.
        most_bytes: A larger one is refused unread; None = any size.

    Raises:
        OSError: If it cannot be read.
        ValueError: If it is no JSON, nested without end, or too large.
    """
    if most_bytes is not None and path.stat().st_size > most_bytes:
        raise ValueError(f"it has {path.stat().st_size} bytes, expected at most {most_bytes}")
    return parse_json(path.read_text(encoding="utf-8-sig"))


def parse_json(text: str | bytes) -> Any:
    """Parse JSON.

    Raises:
        ValueError: If it is none, or nested without end.
    """
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("its brackets are nested too deep") from None


def build(kind: type[T], value: Any, where: str = "") -> T:
    """Make a dataclass of plain values, as `dataclasses.asdict` and JSON leave them.

    Fields that are missing take their defaults; lists become tuples where the field is one.

    Args:
        kind: The dataclass; its fields may be plain types, dataclasses, and lists, tuples and dicts
            of such.
        value: A dict.
        where: Name in front of the fields' own in messages, for instance `model`.

    Returns:
        An instance of `kind`.

    Raises:
        ValueError: If a field is missing, unknown, or of another type; the message names it.
    """
    made: T = _build(kind, value, where)
    return made


def _build(hint: Any, value: Any, where: str) -> Any:
    if hint is Any:
        return value
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        if value is None and type(None) in arguments:
            return None
        (hint,) = (part for part in arguments if part is not type(None))
        return _build(hint, value, where)
    if dataclasses.is_dataclass(hint) and isinstance(value, dict):
        return _build_dataclass(typing.cast(type, hint), value, where)
    if origin in (list, tuple) and isinstance(value, (list, tuple)):
        return origin(_build(arguments[0], v, f"{where}[{k}]") for k, v in enumerate(value))
    if origin is dict and isinstance(value, dict):
        return {k: _build(arguments[1], v, f"{where}.{k}") for k, v in value.items()}
    if hint is float and type(value) is int:
        value = float(value) if abs(value) < MOST else math.inf
    # JSON has no whole numbers and no truth values that are not these very types.
    if type(value) is not hint:
        raise ValueError(f"{where or 'it'}: {shown(value)}, expected {in_words(hint)}")
    problem = number_problem(value)
    if problem:
        raise ValueError(f"{where}: {shown(value)}, expected {problem}")
    return value


def _build_dataclass(kind: type, values: dict[str, Any], where: str) -> Any:
    hints = _hints(kind)
    prefix = f"{where}." if where else ""
    arguments = {}
    for field in dataclasses.fields(kind):
        if field.name in values:
            arguments[field.name] = _build(
                hints[field.name], values[field.name], prefix + field.name
            )
        elif field.default is field.default_factory is dataclasses.MISSING:
            raise ValueError(f"{prefix}{field.name}: missing")
    unknown = sorted(set(values) - set(arguments))
    if unknown:
        known = ", ".join(sorted(field.name for field in dataclasses.fields(kind)))
        raise ValueError(f"{prefix}{unknown[0]}: unknown, expected one of {known}")
    return kind(**arguments)


@functools.cache
def _hints(kind: type) -> dict[str, Any]:
    """Types of a dataclass's fields; they are compiled from text, as slow as all the rest."""
    return typing.get_type_hints(kind)


def check_numbers(settings: Any, prefix: str = "") -> None:
    """Refuse numbers in a settings object that are none: NaN, infinite, or beyond 64 bits.

    Raises:
        SettingError: Naming the setting.
    """
    if dataclasses.is_dataclass(settings):
        for field in dataclasses.fields(settings):
            check_numbers(getattr(settings, field.name), f"{prefix}.{field.name}".lstrip("."))
    elif isinstance(settings, dict):
        for key, value in settings.items():
            check_numbers(value, f"{prefix}.{key}")
    elif isinstance(settings, (list, tuple)):
        for value in settings:
            check_numbers(value, prefix)
    else:
        problem = number_problem(settings)
        if problem:
            raise SettingError(f"{prefix}={shown(settings)}: expected {problem}.")


def number_problem(value: Any) -> str:
    """Say what is expected in place of a number that is none; empty if the value is fine."""
    if isinstance(value, float) and not math.isfinite(value):
        return "a finite number"
    if isinstance(value, int) and not -MOST <= value < MOST:
        return "a whole number of at most 64 bits"
    return ""


def first_line(error: BaseException) -> str:
    r"""Return the first line of what an error says: libraries go on for pages.

    >>> first_line(ValueError("one.\ntwo")), first_line(ValueError())
    ('one', 'ValueError')
    """
    text = str(getattr(error, "msg", None) or error).strip()
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if not lines:
        return type(error).__name__
    # A line that ends in a colon says nothing without the next.
    whole = " ".join(lines[:2]) if lines[0].endswith(":") else lines[0]
    return whole.rstrip(".")


def shown(value: Any) -> str:
    """Return a value for a message, cut short.

    >>> shown("a" * 100)
    "'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa..."
    """
    # Beyond some thousand digits Python refuses to turn a number into text at all.
    huge = isinstance(value, int) and abs(value) > 10**_SHOWN
    text = f"a number of {value.bit_length()} bits" if huge else repr(value)
    return text if len(text) <= _SHOWN else text[:_SHOWN] + "..."


def in_words(hint: Any) -> str:
    """Say what a type accepts, in words.

    >>> in_words(list[float]), in_words(bool)
    ('a list, such as [1.5,2]', 'true or false')
    """
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        inner = next(part for part in arguments if part is not type(None))
        return f"{in_words(inner)}, or null"
    simple = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}
    if hint in simple:
        return simple[hint]
    if origin in (list, tuple):
        examples = {float: "[1.5,2]", int: "[300,300]", str: "[a,b]"}
        return f"a list, such as {examples.get(arguments[0], '[[1,2],[3]]')}"
    if dataclasses.is_dataclass(hint):
        names = [field.name for field in dataclasses.fields(hint)]
        more = ", ..." if len(names) > 4 else ""
        return f"settings of its own ({', '.join(names[:4])}{more})"
    return "a mapping, such as {a: 1}" if origin is dict else getattr(hint, "__name__", str(hint))
