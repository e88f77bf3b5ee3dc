"""The run's folder: what may stand in it before a run, and the settings and summary it gets.

Checkpoints are `checkpoints/checkpoint.py`, log lines `log.py`, pictures
`training/run/evaluator.py`.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]

from data_tools.core.errors import SettingError
from data_tools.core.files import write_atomic
from data_tools.core.lock import Held, hold
from training.process.disk_errors import disk_errors
from training.settings import TrainSettings
from training.watching.curves import write_training_curves
from training.watching.log import EVALUATIONS, LOG, read_log

SUMMARY = "summary.json"
LOCK = "run.lock"
"""Held by the training at work in the folder; what a killed one leaves of it means nothing."""
OWN = (LOG, EVALUATIONS, SUMMARY, "checkpoints", "tensorboard", "blackbox", "settings.yaml",
       "metrics.json",
       "predictions.png", "curves.png", "first_weights.parity.json")  # fmt: skip


def check_folder(settings: TrainSettings) -> list[str]:
    """Refuse to mix two runs in one folder, or to throw away what the new run starts from.

    Returns:
        Names of an earlier run's files in the folder.

    Raises:
        SettingError: If an earlier run is in it and neither `resume` nor `overwrite` is set, or
            `overwrite` would remove the file of the first weights.
    """
    output = Path(settings.output)
    earlier = [name for name in OWN if (output / name).exists()]
    if earlier and not settings.resume and not settings.overwrite:
        raise SettingError(
            f"output={output}: holds an earlier run ({', '.join(earlier)}). Go on with it "
            "(resume=true), throw it away (overwrite=true), or choose another output."
        )
    init = settings.init
    for key, file in (("init.checkpoint", init.checkpoint), ("init.backbone", init.backbone)):
        doomed = [(output / name).resolve() for name in earlier if settings.overwrite and file]
        if any(Path(file or "").resolve().is_relative_to(path) for path in doomed):
            raise SettingError(
                f"{key}={file}: lies in output={output}, whose earlier run overwrite=true would "
                "throw away together with this file. Choose another output, or copy the file "
                "elsewhere first."
            )
    return earlier


@contextlib.contextmanager
def locked_run(output: Path) -> Iterator[None]:
    """Make a run's folder and hold its lock: two trainings in one folder would ruin each other's
    files.

    Raises:
        SettingError: If another training is at work there, or the folder cannot be made or locked.
    """
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(hold(output / LOCK, Path.unlink))
        except Held as held:
            raise SettingError(
                f"output={output}: another training is at work there ({held.holder}). Wait until "
                "it has ended, or choose another output."
            ) from None
        except OSError as error:
            raise SettingError(
                f"output={output}: cannot be made and locked ({error.strerror}). Choose another."
            ) from error
        yield


def refuse_live_run(output: Path) -> None:
    """Refuse a folder in which another training is at work.

    Raises:
        SettingError: If there is one.
    """
    if (output / LOCK).exists():
        with locked_run(output):
            pass


def remove_earlier(settings: TrainSettings) -> None:
    """With `overwrite`, remove an earlier run's files, and only those.

    Call it when the new run is built: a mistake in its settings must not cost the old one.

    Raises:
        SettingError: If a file cannot be removed.
    """
    output = Path(settings.output)
    for name in check_folder(settings):
        path = output / name
        if not settings.overwrite:
            continue
        try:
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
        except OSError as error:
            raise SettingError(
                f"output={output} overwrite=true: {error.filename} cannot be removed "
                f"({error.strerror}). Choose another output."
            ) from error


def write_settings(settings: TrainSettings, output: Path) -> None:
    """Write `settings.yaml`, with every setting as it was used.

    Raises:
        DiskError: If the disk is full or fails.
    """
    content = yaml.safe_dump(dataclasses.asdict(settings), sort_keys=False, allow_unicode=True)
    with disk_errors(output / "settings.yaml"):
        write_atomic(output / "settings.yaml", content)


def write_summary(output: Path, summary: dict[str, Any]) -> None:
    """Write `summary.json` and draw the curves of loss, rate and AP from the log.

    Raises:
        DiskError: If the disk is full or fails.
    """
    with disk_errors(output / SUMMARY):
        write_atomic(output / SUMMARY, json.dumps(summary, indent=1) + "\n")
    lines = [
        line
        for name in (LOG, EVALUATIONS)
        if (output / name).is_file()
        for line in read_log(output / name)
    ]
    if lines:
        with disk_errors(output / "curves.png"):
            write_training_curves(output / "curves.png", lines)
