"""From a command line to typed settings to one function call: the only module that knows Hydra.

The settings' meaning and checks live next to the code that uses them; `--help` is in
`help_text.py`.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import os
import signal
import sys
import typing
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NoReturn

from data_tools.core.errors import SettingError, UserError
from data_tools.core.json_dataclass import check_numbers, first_line
from training.command_line.error_words import REFUSED, in_plain_words, message
from training.command_line.help_text import render_help, topic_of
from training.command_line.mindspore_words import cut_stack, failure_of_machine
from training.command_line.overrides import Prepared, prepare_overrides
from training.command_line.setting_names import GROUPS_PATH, group_choices, settings_named_as_groups
from training.command_line.terminal import safe_streams
from training.command_line.text_values import decoded_names
from training.command_line.user_mappings import free_settings
from training.command_line.yaml_texts import no_groups, plain_texts, source_of_files
from training.process.signals import hold_ctrl_c

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
"""Commands that run compiled code, see `hold_ctrl_c`. Others wait for their processes and must wake
up at once.
"""

OF_ONE_CALL = (
    "max_steps",
    "max_minutes",
    "schedule_to",
    "overwrite",
    "preview",
    "summary",
    "replay",
)
"""Settings of a run that are said for one call of it, and not taken over by the next."""

_PRINTING_FLAGS = ("--cfg", "-c", "--info", "-i")
"""Hydra's flags that print and run nothing."""

_STORED: dict[str, type] = {}
"""Command -> the settings class that Hydra's store holds for it; whoever loads it gets a copy."""

_FULL_ERROR = "HYDRA_FULL_ERROR"
"""Set to 1 by a user who wants the traceback of a clean error too."""


def load_object(path: str) -> Any:
    """Import `module:name` and return the object."""
    module, name = path.split(":")
    return getattr(importlib.import_module(module), name)


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

    settings_class = load_object(settings)
    prepared = prepare_overrides(command, settings_class, arguments)
    _store_schema(command, settings_class)
    try:
        reading = _reading(command, settings_class)
        with reading, initialize_config_dir(str(GROUPS_PATH), version_base="1.3"):
            config = hydra_compose(command, prepared.overrides)
    except Exception as error:
        # Hydra lets others than its own through where a value is of an unexpected kind.
        raise SettingError(in_plain_words(error, prepared.given, settings_class)) from error
    return _settings_from(config, prepared, settings_class)


def _store_schema(command: str, settings_class: type) -> None:
    from hydra.core.config_store import ConfigStore

    # Hydra makes a node of the class first, which takes a quarter of the time of composing.
    if _STORED.get(command) is not settings_class:
        ConfigStore.instance().store(name=f"{command}_schema", node=settings_class)
        _STORED[command] = settings_class


@contextlib.contextmanager
def _reading(command: str, settings_class: type) -> Iterator[None]:
    """How Hydra reads `conf/`: scalars as typed, and no group in place of a setting of its name."""
    from hydra.core.plugins import Plugins
    from hydra.plugins.config_source import ConfigSource
    from omegaconf import OmegaConf

    source = source_of_files(Plugins.instance().discover(ConfigSource))
    hidden = settings_named_as_groups(command, settings_class)
    with plain_texts(source, OmegaConf), no_groups(source, hidden):
        yield


def _settings_from(config: Any, prepared: Prepared, settings_class: type) -> Any:
    from omegaconf import OmegaConf
    from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException

    _decode_names(config, settings_class)
    if "resume" in config and config.resume:
        config = _with_saved(config, prepared, settings_class)
    try:
        settings = OmegaConf.to_object(config)
    except MissingMandatoryValue as error:
        key = getattr(error, "full_key", None) or str(error)
        raise SettingError(f"{key}: required. Give it as {key}=VALUE.") from error
    except OmegaConfBaseException as error:
        raise SettingError(in_plain_words(error, prepared.given, settings_class)) from error
    if not isinstance(settings, settings_class):
        # Another primary file, or one that leaves the schema out.
        raise SettingError(f"the settings are not those of {settings_class.__name__}. See --help")
    check_numbers(settings)
    return settings


def _with_saved(config: Any, prepared: Prepared, settings_class: type) -> Any:
    """Lay what was given over the settings that lie in the run's folder, so that `resume=true`
    alone goes on.

    Whoever chooses a group or a recipe gives the settings as at the start, and nothing is taken
    over.
    """
    import yaml  # type: ignore[import-untyped]
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    keys = [word.partition("=")[0].lstrip("+~") for word in prepared.overrides]
    path = Path(config.output) / "settings.yaml"
    if not path.is_file() or any(key.split("@")[0] in group_choices() for key in keys):
        return config
    try:
        saved = yaml.safe_load(path.read_text(encoding="utf-8"))
        for key in OF_ONE_CALL:
            saved.pop(key, None)
        merged = OmegaConf.merge(OmegaConf.structured(settings_class), saved)
        for key in keys:
            if not key.startswith("hydra"):
                OmegaConf.update(merged, key, OmegaConf.select(config, key), merge=False)
    except (
        OSError,
        ValueError,
        TypeError,
        AttributeError,
        yaml.YAMLError,
        OmegaConfBaseException,
    ) as error:
        raise SettingError(
            f"{path}: the settings of the run cannot be taken over ({first_line(error)}). Give all "
            "of them again, with the recipe or model=NAME, as at the start."
        ) from error
    print(f"resume: what is not given here is as in {path}", flush=True)
    return merged


def _decode_names(config: Any, settings_class: type) -> None:
    """Give the user's own names, encoded for Hydra's grammar, the form they were typed in."""
    from omegaconf import OmegaConf

    for setting in free_settings(settings_class):
        content = OmegaConf.select(config, setting)
        if content:
            plain = typing.cast("dict[str, Any]", OmegaConf.to_container(content))
            names = {decoded_names(str(name)): value for name, value in plain.items()}
            OmegaConf.update(config, setting, names, merge=False)


def run_command(command: str, settings: str, action: str) -> None:
    """Run a root command: compose its settings, call its function, end with an exit code.

    A `UserError` is printed as `error: ...` without a traceback and ends with 1, and so is what the
    machine refuses (a file, memory); Ctrl-C ends with 130. An integer that the function returns is
    the exit code.

    Args:
        command: The command's name, which is its primary file in `conf/`.
        settings: `module:Class` of its settings dataclass.
        action: `module:function` that takes the settings; imported only once the settings are good.
    """
    arguments = sys.argv[1:]
    if command in COMPUTING:
        hold_ctrl_c()  # first of all: what is imported below starts threads
    settings_class = load_object(settings)
    try:
        if "--help" in arguments or "-h" in arguments:
            _show(render_help(command, settings_class, topic_of(arguments)))
            return
        prepared = prepare_overrides(command, settings_class, arguments)
    except UserError as error:
        _fail(error, os.environ.get(_FULL_ERROR) == "1")
    from training.process.runtime import prepare_environment

    prepare_environment()
    import hydra

    codes: list[int] = []
    raised: list[BaseException] = []
    fully = os.environ.get(_FULL_ERROR) == "1"
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # names in data may be no text at all

    def task(config: Any) -> None:
        try:
            with safe_streams():
                result = load_object(action)(_settings_from(config, prepared, settings_class))
        except KeyboardInterrupt:
            print("\ninterrupted", file=sys.stderr)
            raise SystemExit(130) from None
        except BrokenPipeError:
            _end_of_pipe()
        except Exception as error:
            if isinstance(error, REFUSED):
                _fail(error, fully)
            failure = failure_of_machine(error)
            if failure is not None:
                _fail(failure, fully)
            raised.append(error if fully else cut_stack(error))
            raise
        codes.append(result if isinstance(result, int) else 0)

    _store_schema(command, settings_class)
    sys.argv = [sys.argv[0], *prepared.flags, *_HYDRA_OVERRIDES, *prepared.overrides]
    try:
        start = hydra.main(version_base="1.3", config_path=str(GROUPS_PATH), config_name=command)
        reading = _reading(command, settings_class)
        with _raising_hydra(), _decoded_output(prepared.flags), reading:
            start(task)()
    except Exception as error:
        if raised or fully:
            raise  # our own mistake: with its traceback
        _fail(
            SettingError(in_plain_words(error, prepared.given, settings_class, prepared.flags)),
            fully,
        )
    if max(codes, default=0):
        raise SystemExit(max(codes))


def _show(text: str) -> None:
    try:
        print(text, flush=True)
    except BrokenPipeError:  # `--help | head` has seen enough
        _close_output()


def _close_output() -> None:
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _end_of_pipe() -> NoReturn:
    """End as other programs do whose reader has left (`eval.py ... | head`): without a word, as by
    SIGPIPE.
    """
    _close_output()
    raise SystemExit(128 + signal.SIGPIPE)


@contextlib.contextmanager
def _decoded_output(flags: Sequence[str]) -> Iterator[None]:
    """Where Hydra only prints settings (`--cfg job`), print names as they were typed."""
    if not any(flag.partition("=")[0] in _PRINTING_FLAGS for flag in flags):
        yield
        return
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        yield
    _show(decoded_names(printed.getvalue()).rstrip("\n"))


@contextlib.contextmanager
def _raising_hydra() -> Iterator[None]:
    """Let Hydra raise what goes wrong instead of printing half a traceback and leaving."""
    before = os.environ.get(_FULL_ERROR)
    os.environ[_FULL_ERROR] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ[_FULL_ERROR]
        else:
            os.environ[_FULL_ERROR] = before


def _fail(error: Exception, fully: bool) -> NoReturn:
    if fully:
        raise error
    print(message(error), file=sys.stderr)
    raise SystemExit(1)
