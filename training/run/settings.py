"""Settings of a run's course: when it ends before its recipe does.

What a run does after each step is in `save_and_evaluate.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional

from data_tools.core.settings_fields import require_positive, setting

# Optional[...] instead of `X | None` below: OmegaConf reads these annotations.


@dataclass
class EarlyStopSettings:
    """When a run ends before its recipe does, because it gets no better (Prechelt, Early Stopping -
    But When?).
    """

    patience: Optional[float] = setting(
        None, "epochs without a better AP at an evaluation after which to stop; empty = never"
    )

    def __post_init__(self) -> None:
        require_positive("early_stop.patience", self.patience)
