"""What `convert.py` does: chooses the mode that the settings ask for and runs it.

Each mode has a home of its own; nothing is converted, checked or drawn here.
"""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path

import numpy.typing as npt

from data_tools.audit.audit import Advise, run_audit
from data_tools.convert.convert import run_convert
from data_tools.convert.extend import run_extend
from data_tools.convert.merge import run_merge
from data_tools.convert.settings import ConvertSettings
from data_tools.converted.diff import run_diff
from data_tools.converted.leaks import run_leaks
from data_tools.converted.preview import run_preview
from data_tools.converted.unpack import run_unpack
from data_tools.converted.upgrade import run_upgrade
from data_tools.converted.verify import run_verify
from data_tools.sources.data_yaml import with_data_yaml
from data_tools.sources.recognise import recognised
from data_tools.sources.settings import LOOKING_KINDS


def run(
    settings: ConvertSettings,
    default_boxes: npt.ArrayLike | None = None,
    advise: Advise | None = None,
) -> int:
    """Do what the settings ask for: convert, extend, audit, verify, merge, compare, look for leaks,
    preview, unpack or upgrade.

    Args:
        settings: Settings of the command.
        default_boxes: (A, 4) `[cy, cx, h, w]` relative default boxes of `check_model`, for the
            audit's coverage; None leaves it out.
        advise: The audit's adviser, which knows models; None gives no advice.

    Returns:
        The exit code: 0, or 1 where verification found something.

    Raises:
        UserError: If something that the user gave is wrong.
    """
    if settings.verify:
        return run_verify(Path(settings.verify))
    if settings.preview:
        return run_preview(settings)
    if settings.diff:
        return run_diff(settings)
    if settings.leaks:
        return run_leaks(settings)
    if settings.upgrade:
        return run_upgrade(settings)
    if settings.unpack:
        return run_unpack(settings)
    if settings.merge:
        return run_merge(settings)
    if settings.dataset.kind in LOOKING_KINDS:
        dataset, words = recognised(settings.dataset, asdict(settings.policy))
        print(words)
        settings = replace(settings, dataset=dataset)
    # From here on the raw data set is read: a data.yaml says where its splits lie.
    settings = replace(settings, dataset=with_data_yaml(settings.dataset))
    if settings.extend:
        return run_extend(settings)
    if settings.check:
        return run_audit(settings, default_boxes, advise)

    return run_convert(settings)
