"""`python -m training.report`: versions, device and settings, for a bug report; `--ascend`: is a
host ready?

It reads what is there and changes nothing; a run's own block of facts is `watching/announce.py`.
"""

from __future__ import annotations

import dataclasses
import os
import platform
import sys
from collections.abc import Sequence

import numpy as np
import yaml  # type: ignore[import-untyped]

from data_tools import __version__
from data_tools.core.cores import core_count
from training.command_line.configure import compose
from training.command_line.error_words import clear_errors
from training.process.ascend_checks import Check, check_host
from training.process.ascend_host import look_at_host
from training.process.runtime import prepare_environment, start_device, versions
from training.process.settings import RuntimeSettings

VARIABLES = ("ONEDNN_MAX_CPU_ISA", "GLOG_v", "DEVICE_ID", "RANK_TABLE_FILE", "OMP_NUM_THREADS",
             "MS_NODE_TIMEOUT")  # fmt: skip


def report(overrides: Sequence[str] = ()) -> list[tuple[str, str]]:
    """Gather the facts as (name, text) rows.

    Args:
        overrides: Settings as for `train.py`, to be shown as they compose; none shows none.
    """
    given = {name: os.environ[name] for name in VARIABLES if name in os.environ}
    rows = [
        ("project", __version__),
        (
            "system",
            f"{platform.platform()}, {os.cpu_count()} cores, of which {core_count()} are ours",
        ),
        *versions().items(),
    ]
    rows += [(name, f"{value} (set before)") for name, value in given.items()]
    rows += [("environment", note) for note in prepare_environment().notes]
    rows.append(("device", device_check()))
    if overrides:
        settings = compose("train", "training.settings:TrainSettings", overrides)

        rows.append(("settings", "\n" + yaml.safe_dump(dataclasses.asdict(settings), indent=2)))
    return rows


def device_check() -> str:
    """Compute one convolution and say whether that worked."""
    try:
        import mindspore as ms
        from mindspore import nn

        start_device(RuntimeSettings())
        images = ms.Tensor(np.ones((1, 3, 16, 16), np.float32))
        shape = nn.Conv2d(3, 4, 3, pad_mode="same")(images).shape
    except Exception as error:  # a report must say what is broken, whatever it is
        return f"CPU: failed: {type(error).__name__}: {str(error).splitlines()[0]}"
    return f"CPU: a convolution gives {shape}, as it should"


def ascend_report(checks: Sequence[Check]) -> list[str]:
    """Return a line for each thing that was looked for, and the command that mends it where it is
    missing.

    Args:
        checks: What was found, see `training/process/ascend_checks.py`.
    """
    lines = []
    for check in checks:
        mark = "ok" if check.fine else ("MISSING" if check.needed else "advice")
        lines.append(f"{mark:>8}  {check.name}: {check.found}")
        if not check.fine:
            lines.append(f"{'':>8}    {check.remedy}")
    missing = sum(check.needed and not check.fine for check in checks)
    lines.append(
        f"{missing} of {len(checks)} things are missing: mend them from the top"
        if missing
        else "this host is ready: go on with docs/ascend.md, step 4"
    )
    return lines


@clear_errors()
def main() -> None:
    """Print the report; with `--ascend` only what a host of Ascend cards has and lacks, exit code 1
    if it lacks.
    """
    if sys.argv[1:] == ["--ascend"]:
        checks = check_host(look_at_host())
        print("\n".join(ascend_report(checks)))
        sys.exit(any(check.needed and not check.fine for check in checks))
    for name, text in report(sys.argv[1:]):
        print(f"{name:>24}  {text}")


if __name__ == "__main__":
    main()
