"""What `python convert.py` runs: the converter, with the chosen model's default boxes for the
audit.

The conversion itself is in `data_tools`, which knows no models; this is the seam between the two.
"""

from __future__ import annotations

from data_tools.command import run as convert
from data_tools.convert.settings import ConvertSettings
from training.nets.anchors import default_boxes
from training.nets.settings import model_settings


def run(settings: ConvertSettings) -> int:
    """Run the converter's command and return its exit code.

    Raises:
        UserError: If the settings, the data or the disk do not allow it.
    """
    boxes = None
    if settings.check:
        boxes = default_boxes(model_settings(settings.check_model))
    return convert(settings, boxes)
