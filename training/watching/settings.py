"""Settings of what a run tells while it trains.

The log is `log.py`, TensorBoard `tensorboard.py`; when pictures are drawn is said by `triggers.py`.
"""

from __future__ import annotations

from dataclasses import dataclass

from data_tools.core.settings_fields import require, setting


@dataclass
class LogSettings:
    """What a run tells while it trains."""

    every_steps: int = setting(10, "steps between log lines; the first and last are always logged")
    tensorboard: bool = setting(True, "write TensorBoard events to OUTPUT/tensorboard")
    # Those of ssd300 take 0.85 s (resnet50 2.3 s) and 0.8 MB: 0.2 % of the time at 0.1 s a step,
    # and nothing to notice at the 5 s of a CPU. An epoch of COCO on one device has 3664 steps.
    histograms_every: int = setting(
        5000, "steps between weight histograms in TensorBoard, also of the last step; 0 = never"
    )
    pictures: int = setting(8, "images on the prediction pictures of an evaluation; 0 = none")

    def __post_init__(self) -> None:
        require(self.every_steps >= 1, "log.every_steps", self.every_steps, "a count >= 1")
        require(self.histograms_every >= 0, "log.histograms_every", self.histograms_every, ">= 0")
        require(self.pictures >= 0, "log.pictures", self.pictures, "a count >= 0")
