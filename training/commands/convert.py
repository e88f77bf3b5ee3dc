"""What `python convert.py` runs: the converter, with the chosen model's default boxes and what is
advised from them for the audit.

The conversion itself is in `data_tools`, which knows no models; this is the seam between the two.
"""

from __future__ import annotations

from functools import partial

from data_tools.command import run as convert
from data_tools.convert.settings import ConvertSettings
from training.insight.data_advice import advise
from training.nets.anchors import default_boxes
from training.nets.settings import model_settings


def run(settings: ConvertSettings) -> int:
    """Run the converter's command and return its exit code.

    Raises:
        UserError: If the settings, the data or the disk do not allow it.
    """
    if not settings.check:
        return convert(settings)
    model = model_settings(settings.check_model)
    return convert(settings, default_boxes(model), partial(advise, model=model))
