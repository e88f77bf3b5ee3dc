"""From a command line to typed settings to one function call: the only module that knows Hydra.

The settings' meaning and checks live next to the code that uses them; `--help` is in `help_text.py`.
"""

from __future__ import annotations

import difflib
import importlib
import os
import re
import sys
from collections.abc import Sequence
from typing import Any

from data_tools.errors import SettingError, UserError
from training.help_text import GROUPS_PATH, field_types, group_choices, render_help
from training.signals import hold_ctrl_c

# Hydra leaves no folder and no log file of its own: each command owns its output folder.
_HYDRA_OVERRIDES = (
    "hydra.output_subdir=null",
    "hydra.run.dir=.",
    "hydra.sweep.dir=outputs/multirun",
    "hydra.sweep.subdir=.",
    "hydra/job_logging=none",
    "hydra/hydra_logging=none",
)

COMPUTING = ("train", "eval", "predict", "export")
"""Commands that run compiled code, see `hold_ctrl_c`. Others wait for their processes and must wake up at once."""

_ALIASES = {"train": {"checkpoint": "init.checkpoint"}}
"""Short names of settings whose own name is a group: command -> name -> full key."""

_PLAIN_VALUE = re.compile(r"[\w./:@%+\-]*")


def load_object(path: str) -> Any:
    """Import `module:name` and return the object."""
    module, name = path.split(":")
    return getattr(importlib.import_module(module), name)


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
    groups = group_choices()
    flags, overrides = [], []
    multirun = "-m" in arguments or "--multirun" in arguments
    # Sweeps list several choices, and folders of the user's own may hold more than `conf/` does.
    open_groups = multirun or any("searchpath" in a or "--config-dir" in a for a in arguments)
    for argument in arguments:
        if argument.startswith("-"):
            flags.append(argument)
            continue
        prefixed, equals, value = argument.partition("=")
        key = prefixed.lstrip("+~")
        prefix = prefixed[: len(prefixed) - len(key)]
        if not equals and not prefix.startswith("~"):
            raise SettingError(f"{argument!r}: expected KEY=VALUE. List the keys: --help")
        if value and not value.startswith(("{", "[")):
            key = _ALIASES.get(command, {}).get(key, key)
        if not key.startswith("hydra"):
            _check_key(command, key, prefix, types, groups)
            if key in groups and not open_groups:
                _check_choice(key, value, groups[key])
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
            raise SettingError(f"experiment: write +experiment=..., one of {groups['experiment']}.")
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


def compose(command: str, settings: str, arguments: Sequence[str]) -> Any:
    """Compose a command's settings without running it (tests, notebooks).

    Args:
        command: Primary file in `conf/`, for instance `train`.
        settings: `module:Class` of the settings dataclass.
        arguments: Overrides as on the command line.

    Returns:
        An instance of the settings class.

    Raises:
        SettingError: If a key or value is not accepted.
    """
    from hydra import compose as hydra_compose
    from hydra import initialize_config_dir
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    settings_class = load_object(settings)
    _, overrides = prepare_overrides(command, settings_class, arguments)
    _store_schema(command, settings_class)
    try:
        with initialize_config_dir(str(GROUPS_PATH), version_base="1.3"):
            return _typed(hydra_compose(command, overrides))
    except (HydraException, OmegaConfBaseException) as error:
        raise SettingError(_first_cause(error)) from error


def _store_schema(command: str, settings_class: type) -> None:
    from hydra.core.config_store import ConfigStore

    ConfigStore.instance().store(name=f"{command}_schema", node=settings_class)


def _typed(config: Any) -> Any:
    from omegaconf import OmegaConf
    from omegaconf.errors import MissingMandatoryValue

    try:
        return OmegaConf.to_object(config)
    except MissingMandatoryValue as error:
        key = getattr(error, "full_key", None) or str(error)
        raise SettingError(f"{key}: required. Give it as {key}=VALUE.") from error


def _first_cause(error: BaseException) -> str:
    parts = [str(error)]
    while error.__cause__ is not None:
        error = error.__cause__
        # The innermost text is OmegaConf's own, before it has put in what it speaks of.
        if str(error) not in parts[-1] and "$VALUE" not in str(error):
            parts.append(str(error))
    return "\n".join(parts)


def run_command(command: str, settings: str, action: str) -> None:
    """Run a root command: compose its settings, call its function, end with an exit code.

    A `UserError` is printed as `error: ...` without a traceback and ends with 1; Ctrl-C ends with 130.
    An integer that the function returns is the exit code.

    Args:
        command: The command's name, which is its primary file in `conf/`.
        settings: `module:Class` of its settings dataclass.
        action: `module:function` that takes the settings; imported only once the settings are good.
    """
    arguments = sys.argv[1:]
    if command in COMPUTING:
        hold_ctrl_c()  # first of all: what is imported below starts threads
    settings_class = load_object(settings)
    if "--help" in arguments or "-h" in arguments:
        _show(render_help(command, settings_class))
        return
    try:
        flags, overrides = prepare_overrides(command, settings_class, arguments)
    except UserError as error:
        _fail(error)
    from training.runtime import prepare_environment

    prepare_environment()
    import hydra
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    codes: list[int] = []

    def task(config: Any) -> None:
        try:
            result = load_object(action)(_typed(config))
        except UserError as error:
            _fail(error)
        except KeyboardInterrupt:
            print("\ninterrupted", file=sys.stderr)
            raise SystemExit(130) from None
        codes.append(result if isinstance(result, int) else 0)

    _store_schema(command, settings_class)
    sys.argv = [sys.argv[0], *flags, *_HYDRA_OVERRIDES, *overrides]
    start = hydra.main(version_base="1.3", config_path=str(GROUPS_PATH), config_name=command)(task)
    try:
        start()
    except (HydraException, OmegaConfBaseException) as error:
        # Hydra prints these itself, but raises them under a debugger and where lines are counted.
        _fail(SettingError(_first_cause(error)))
    _leave(max(codes, default=0))


def _show(text: str) -> None:
    try:
        print(text, flush=True)
    except BrokenPipeError:  # `--help | head` has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _fail(error: UserError) -> Any:
    if os.environ.get("HYDRA_FULL_ERROR") == "1":
        raise error
    print(f"error: {error}", file=sys.stderr)
    raise SystemExit(1)


def _leave(code: int) -> None:
    if code:
        raise SystemExit(code)
