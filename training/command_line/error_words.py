"""What goes wrong outside of our own checks, in words: settings that Hydra refuses, files, memory.

Our own checks say what they have to say themselves.
"""

from __future__ import annotations

import contextlib
import dataclasses
import re
import resource
import sys
import typing
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from data_tools.core.errors import UserError
from data_tools.core.json_dataclass import first_line, in_words, shown
from data_tools.core.words import printable

REFUSED = (UserError, OSError, MemoryError)
"""What a user can mend: a message is enough. Anything else is our mistake and keeps its
traceback."""

_WANT_OF_MEMORY = (
    *(
        "std::bad_alloc",
        "failed to map segment",
        "Cannot allocate memory",
        "can't start new thread",
    ),
    *(
        "Memory not enough",
        "Malloc for kernel",
        "MallocForOutputs",
        "Resource temporarily unavailable",
    ),
)

_LAUNCHERS = {
    "joblib": "joblib",
    "submitit_local": "submitit",
    "submitit_slurm": "submitit",
    "ray": "ray",
    "ray_aws": "ray",
}
"""Hydra's launchers of several runs at a time -> the extra of `setup.cfg` that has the package."""

_LONGEST = 1500
_LONGEST_MESSAGE = 6000
"""What data say of themselves can be long, and the end of it helps nobody."""


def in_plain_words(
    error: BaseException,
    given_as: Mapping[str, str],
    settings_class: type,
    flags: Sequence[str] = (),
) -> str:
    """Say what is wrong with the settings that Hydra or OmegaConf refused.

    Args:
        error: What was raised.
        given_as: The overrides in Hydra's grammar, and each as it was typed.
        settings_class: The command's settings.
        flags: Hydra's flags of the command line.

    Returns:
        The setting, the value that was given, and what it accepts.
    """
    causes = _causes(error)
    text = getattr(error, "override", None)  # Hydra's grammar could not read this one
    key = str(text).partition("=")[0] if text else _key_of(causes)
    overrides = list(given_as.values())
    key = key or _flat_list(overrides, settings_class)
    text = given_as.get(str(text), text)
    given = str(text) if text else next((o for o in reversed(overrides) if _names(o, key)), "")
    hint = hint_of(settings_class, key.lstrip("+~"))
    reason = first_line(causes[-1])
    chosen = re.match(r"Multiple values for (\w+)|(\w+) appears more than once", reason)
    if chosen:
        group = chosen[1] or chosen[2]
        return f"{group}: is chosen already. Leave out the +: {group}=NAME."
    package = next((c.name for c in causes if isinstance(c, ImportError) and c.name), None)
    plugin = re.match(r"Unknown plugin class : '(\w+(?:\.\w+)?)", reason)
    package = plugin[1] if plugin else package
    if package is not None:
        return (
            f"{shown(' '.join([*flags, *overrides]))[1:-1]}: needs the Python package {package!r}, "
            "which is not installed. Install it with pip, or leave the setting out."
        )
    launcher = next((o for o in overrides if o.startswith("hydra/launcher=")), "")
    absent = re.match(r"In 'hydra/config': Could not find 'hydra/launcher/(\w+)'", reason)
    if absent and absent[1] in _LAUNCHERS:
        extra = _LAUNCHERS[absent[1]]
        return (
            f"hydra/launcher={absent[1]}: needs the Python package hydra-{extra}-launcher, which "
            f"is not installed: pip install hydra-{extra}-launcher (the extra {extra!r} of "
            "setup.cfg). Without a launcher, --multirun does one run after the other."
        )
    if absent:
        return f"{reason}. Launchers: basic, {', '.join(_LAUNCHERS)}."
    if launcher and not type(error).__module__.startswith(("hydra", "omegaconf")):
        return (
            f"{launcher}: the launcher refused ({reason[:_LONGEST]}). On one machine "
            "hydra/launcher=joblib and hydra/launcher=submitit_local need no cluster."
        )
    if not type(error).__module__.startswith(("hydra", "omegaconf")):
        what = shown(" ".join([*flags, *overrides]))[1:-1]
        return (
            f"{what}: not accepted ({reason}): a value is of the wrong kind, "
            "or a flag out of place."
        )
    if "nterpolation" in type(causes[0]).__name__ or "interpolation" in reason:
        head = shown(given)[1:-1] if given else key
        return (
            f"{head}: {reason}. ${{name}} takes the value of another setting; "
            "for the text itself write \\${."
        )
    if hint is not None and key:
        quoted = ". Quote text with other characters, as 'KEY=\"a, b\"'" if text else ""
        return f"{given or key}: expected {in_words(hint)}{quoted}."[:_LONGEST]
    if text:
        return f"{text}: cannot be read. Quote values with other characters, as 'KEY=\"a, b\"'."[
            :_LONGEST
        ]
    return (f"{given}: {reason}" if given else reason)[:_LONGEST]


def hint_of(settings_class: type, key: str) -> Any:
    """Return the type of a setting, also of one inside a dict or list; None if there is no such
    setting.
    """
    hint: Any = settings_class
    for part in key.replace("[", ".").replace("]", "").split("."):
        arguments = [a for a in typing.get_args(hint) if a is not type(None)]
        if typing.get_origin(hint) is typing.Union:
            hint, arguments = arguments[0], [*typing.get_args(arguments[0])]
        if dataclasses.is_dataclass(hint):
            hint = typing.get_type_hints(hint).get(part)
        elif typing.get_origin(hint) in (dict, list):
            hint = arguments[-1]
        else:
            return None
    return hint


def message(error: Exception) -> str:
    """Return what a command prints of an error that its user can mend: one clean paragraph."""
    return f"error: {printable(in_words_of_system(error))[:_LONGEST_MESSAGE]}"


@contextlib.contextmanager
def clear_errors() -> Iterator[None]:
    """End the process with a clear message and 1 where something the user gave is wrong, or the
    machine refuses.

    For commands without Hydra; also a decorator of their `main`.
    """
    try:
        yield
    except REFUSED as error:
        print(message(error), file=sys.stderr)
        raise SystemExit(1) from None


def in_words_of_system(error: Exception) -> str:
    """Say what the machine refused; other errors say it themselves."""
    if isinstance(error, MemoryError):
        limit = resource.getrlimit(resource.RLIMIT_AS)[0]
        reason = first_line(error)[:200] if str(error) else "the machine gave no more"
        if limit != resource.RLIM_INFINITY:
            return (
                f"not enough memory ({reason}): this shell allows {limit >> 20} MB of addresses "
                "(ulimit -v). Raise the limit (training takes 4 GB and more), or use smaller "
                "batches, images or counts."
            )
        return f"not enough memory ({reason}). Use smaller batches, images or counts."
    if isinstance(error, OSError) and error.strerror:
        where = f"{shown(error.filename)[1:-1]}: " if error.filename else ""
        return (
            f"{where}{error.strerror}. Look at the path, its rights and the free space of the disk."
        )
    return str(error)


def is_want_of_memory(error: BaseException) -> bool:
    """Whether memory was refused, by whatever name a library gives it."""
    if isinstance(error, MemoryError):
        return True
    text = str(error)
    return any(words in text for words in _WANT_OF_MEMORY)


def _causes(error: BaseException) -> list[BaseException]:
    causes = [error]
    cause = error.__cause__
    # Under a tracer or debugger OmegaConf raises an error from itself: the chain is a ring.
    while cause is not None and cause not in causes:
        causes.append(cause)
        cause = cause.__cause__
    return causes


def _key_of(causes: Sequence[BaseException]) -> str:
    for cause in causes:
        key = getattr(cause, "full_key", None)
        if key:
            return str(key)
    return ""


def _flat_list(overrides: Sequence[str], settings_class: type) -> str:
    """Return the last setting that is a list of lists and was given something else; OmegaConf does
    not say which it means.
    """
    for override in reversed(overrides):
        key, _, value = override.partition("=")
        hint = hint_of(settings_class, key.lstrip("+~"))
        inner = typing.get_args(hint)[:1] if typing.get_origin(hint) is list else ()
        parts = value.strip().removeprefix("[").removesuffix("]")
        if inner and typing.get_origin(inner[0]) is list and not parts.lstrip().startswith("["):
            return key
    return ""


def _names(override: str, key: str) -> bool:
    name = override.partition("=")[0].lstrip("+~")
    return bool(key) and (name == key or key.startswith((f"{name}.", f"{name}[")))
