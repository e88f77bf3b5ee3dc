"""`python -m training.report`: versions, device and settings, for a bug report.

It reads what is there and changes nothing; a run's own block of facts is `watching/announce.py`.
"""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Sequence

from training.command_line.error_words import clear_errors
from training.process.runtime import prepare_environment, versions

VARIABLES = ("ONEDNN_MAX_CPU_ISA", "GLOG_v", "DEVICE_ID", "RANK_TABLE_FILE", "OMP_NUM_THREADS",
             "MS_NODE_TIMEOUT")  # fmt: skip


def report(overrides: Sequence[str] = ()) -> list[tuple[str, str]]:
    """Gather the facts as (name, text) rows.

    Args:
        overrides: Settings as for `train.py`, to be shown as they compose; none shows none.
    """
    from data_tools import __version__

    given = {name: os.environ[name] for name in VARIABLES if name in os.environ}
    rows = [
        ("project", __version__),
        ("system", f"{platform.platform()}, {os.cpu_count()} cores"),
        *versions().items(),
    ]
    rows += [(name, f"{value} (set before)") for name, value in given.items()]
    rows += [("environment", note) for note in prepare_environment().notes]
    rows.append(("device", device_check()))
    if overrides:
        import yaml  # type: ignore[import-untyped]

        from training.command_line.configure import compose

        settings = compose("train", "training.settings:TrainSettings", overrides)
        import dataclasses

        rows.append(("settings", "\n" + yaml.safe_dump(dataclasses.asdict(settings), indent=2)))
    return rows


def device_check() -> str:
    """Compute one convolution and say whether that worked."""
    try:
        import mindspore as ms
        import numpy as np
        from mindspore import nn

        from training.process.runtime import start_device
        from training.process.settings import RuntimeSettings

        start_device(RuntimeSettings())
        images = ms.Tensor(np.ones((1, 3, 16, 16), np.float32))
        shape = nn.Conv2d(3, 4, 3, pad_mode="same")(images).shape
    except Exception as error:  # a report must say what is broken, whatever it is
        return f"CPU: failed: {type(error).__name__}: {str(error).splitlines()[0]}"
    return f"CPU: a convolution gives {shape}, as it should"


@clear_errors()
def main() -> None:
    """Print the report."""
    for name, text in report(sys.argv[1:]):
        print(f"{name:>24}  {text}")


if __name__ == "__main__":
    main()
