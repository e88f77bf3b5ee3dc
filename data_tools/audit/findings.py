"""What the audit found in one split, as plain numbers and arrays.

Found in `audit.py`; written as a table in `report.py` and drawn in `picture.py`.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from data_tools.sources.defects import Defect


@dataclass(frozen=True)
class Advice:
    """Something that would help to learn a data set.

    Args:
        title: What, in a few words.
        overrides: Settings of `train.py` that do it.
        words: What it costs, or why.
        before: Share of the objects that default boxes reach now, of `all` and of each size that
            there is; empty where it is not about that.
        after: The share then.
    """

    title: str
    overrides: list[str]
    words: str
    before: dict[str, float] = field(default_factory=dict)
    after: dict[str, float] = field(default_factory=dict)


@dataclass
class SplitAudit:
    """What was found in one split.

    Args:
        name: The split's name.
        found: Counts of the source.
        defects: Every defect with what the policy does about it.
        files: One line a file: name, id, height, width, boxes.
        sides_px: Rows (height, width) of the images that are kept.
        counts: Boxes of each image that is kept.
        boxes_rel: Rows `[y1, x1, y2, x2]` in 0..1 of the images' sizes.
        areas_px: Area of each box in pixels.
        names: Names of the classes, label 1 first.
        labels: Label of each box.
        iscrowd: Whether each box is a crowd region.
        annotation_ids: The id of each box.
    """

    name: str
    found: dict[str, int]
    defects: list[Defect] = field(default_factory=list)
    files: list[tuple[str, int, int, int, int]] = field(default_factory=list)
    sides_px: list[tuple[int, int]] = field(default_factory=list)
    counts: list[int] = field(default_factory=list)
    boxes_rel: npt.NDArray[np.float64] = field(default_factory=lambda: np.zeros((0, 4)))
    areas_px: npt.NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))
    names: list[str] = field(default_factory=list)
    labels: npt.NDArray[np.int32] = field(default_factory=lambda: np.zeros(0, np.int32))
    iscrowd: npt.NDArray[np.bool_] = field(default_factory=lambda: np.zeros(0, np.bool_))
    annotation_ids: npt.NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))

    def starts(self) -> npt.NDArray[np.int64]:
        """Return where the boxes of each image start, and where the last ones end: (I + 1,)."""
        return np.concatenate([[0], np.cumsum(self.counts)]).astype(np.int64)

    def image_of_box(self) -> npt.NDArray[np.int64]:
        """Return the row of the image that each box belongs to: (B,)."""
        return np.repeat(np.arange(len(self.counts)), self.counts)
