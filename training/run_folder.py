"""The run's folder: what may stand in it before a run, and the settings and summary it gets.

Checkpoints are `checkpoint.py`, log lines `watch.py`, pictures `evaluator.py`.
"""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

from data_tools.errors import SettingError
from data_tools.files import write_atomic
from training.settings import TrainSettings
from training.watch import EVALUATIONS, LOG, read_log

SUMMARY = "summary.json"
OWN = (LOG, EVALUATIONS, SUMMARY, "checkpoints", "tensorboard", "blackbox", "settings.yaml", "metrics.json",
       "predictions.png", "curves.png")  # fmt: skip


def check_folder(settings: TrainSettings) -> list[str]:
    """Refuse to mix two runs in one folder.

    Returns:
        Names of an earlier run's files in the folder.

    Raises:
        SettingError: If an earlier run is in it and neither `resume` nor `overwrite` is set.
    """
    output = Path(settings.output)
    earlier = [name for name in OWN if (output / name).exists()]
    if earlier and not settings.resume and not settings.overwrite:
        raise SettingError(
            f"output={output}: holds an earlier run ({', '.join(earlier)}). Go on with it "
            "(resume=true), throw it away (overwrite=true), or choose another output."
        )
    return earlier


def prepare_folder(settings: TrainSettings) -> None:
    """Make the run's folder; `overwrite` removes an earlier run's files, and only those.

    Raises:
        SettingError: If an earlier run is in the way, or the folder cannot be made.
    """
    output = Path(settings.output)
    for name in check_folder(settings):
        path = output / name
        if settings.overwrite:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SettingError(
            f"output={output}: cannot be made ({error.strerror}). Choose another."
        ) from error


def write_settings(settings: TrainSettings, output: Path) -> None:
    """Write `settings.yaml`, with every setting as it was used."""
    import yaml  # type: ignore[import-untyped]

    content = yaml.safe_dump(dataclasses.asdict(settings), sort_keys=False, allow_unicode=True)
    write_atomic(output / "settings.yaml", content)


def write_summary(output: Path, summary: dict[str, Any]) -> None:
    """Write `summary.json` and draw the curves of loss, rate and AP from the log."""
    write_atomic(output / SUMMARY, json.dumps(summary, indent=1) + "\n")
    lines = [
        line
        for name in (LOG, EVALUATIONS)
        if (output / name).is_file()
        for line in read_log(output / name)
    ]
    if lines:
        from training.curves import write_training_curves

        write_training_curves(output / "curves.png", lines)
